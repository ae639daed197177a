//! What is true of PostgreSQL alone. Run by `scripts/test-services`.

use futures_util::{StreamExt, future::join_all};
use partway::{
    app::migrate,
    config::Config,
    domain::{OwnerName, Principal, SessionId},
};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{Proxy, TestApp, execute};

/// A connection beside the server's own, to the same schema.
async fn beside(app: &TestApp) -> PgConnection {
    PgConnection::connect(&app.config.database).await.unwrap()
}

/// The same database by another way: user and address of the URL replaced.
fn by(url: &str, user: &str, address: &str) -> String {
    let (_, path) = url.split_once("://").unwrap().1.split_once('/').unwrap();
    format!("postgres://{user}@{address}/{path}")
}

fn address_of(url: &str) -> &str {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0
}

fn schema_of(url: &str) -> &str {
    url.split_once("search_path]=").unwrap().1
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_status_read_does_not_wait_for_a_transaction_that_has_the_row() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let mut other = beside(&app).await;
    let mut tx = other.begin().await.unwrap();
    tx.execute("SELECT id FROM upload_session FOR UPDATE").await.unwrap();
    let putting = tokio::spawn({
        let (user, id) = (user.clone(), id.clone());
        async move { user.put(&id, 1, "0123456789").await }
    });
    assert_eq!(user.status(&id).await["version"], 1);
    assert_eq!(user.get("/uploads/sessions").await.expect(200).json()["sessions"][0]["version"], 1);
    tx.rollback().await.unwrap();
    putting.await.unwrap().expect(201);
    assert_eq!(user.status(&id).await["version"], 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_lock_that_is_not_had_in_time_is_503_and_nothing_is_recorded() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let mut other = beside(&app).await;
    let mut tx = other.begin().await.unwrap();
    tx.execute("SELECT id FROM upload_session FOR UPDATE").await.unwrap();
    let answer = user.put(&id, 1, "0123456789").await;
    assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
    tx.rollback().await.unwrap();
    assert_eq!(user.status(&id).await["received_parts"], json!([]));
    user.put(&id, 1, "0123456789").await.expect(201);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn servers_that_start_at_once_migrate_once() {
    let app = TestApp::on_disk().await;
    let mut other = beside(&app).await;
    let schema = schema_of(&app.config.database);
    let anew = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}");
    other.execute(sqlx::AssertSqlSafe(anew)).await.unwrap();
    for started in join_all((0..4).map(|_| migrate(&app.config))).await {
        started.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_server_without_the_right_to_change_the_schema_starts_when_there_is_nothing_to_change() {
    let app = TestApp::on_disk().await;
    let (url, schema) = (app.config.database.clone(), schema_of(&app.config.database));
    let role = format!("{schema}_server");
    let rights = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    );
    execute(url.clone(), rights);
    let limited = Config { database: by(&url, &role, address_of(&url)), ..app.config.clone() };
    migrate(&limited).await.unwrap();

    execute(
        url.clone(),
        format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {role}"),
    );
    let refused = format!("{:#}", migrate(&limited).await.unwrap_err());
    assert!(refused.contains("partway migrate") && refused.contains("permission denied"), "{refused}");
    execute(url, format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn lost_connections_are_not_noticed_and_a_lost_database_is_503_until_it_is_back() {
    let app = TestApp::on_disk().await;
    let url = app.config.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let app = app.with_database(by(&url, "partway", &proxy.address)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    for number in 1..=3 {
        proxy.cut().await;
        user.put(&id, number, &b"0123456789"[..if number == 3 { 5 } else { 10 }]).await.expect(201);
        proxy.cut().await;
        assert_eq!(user.status(&id).await["completed_parts"], number);
    }

    let target = proxy.close().await;
    for answer in [user.get(&format!("/uploads/sessions/{id}")).await, user.finalize(&id).await] {
        assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(app.anonymous().get("/ready").await.status, 503);
    proxy.open(target);
    user.finalize(&id).await.expect(200);
    app.anonymous().get("/ready").await.expect(200);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_watcher_hears_of_what_happened_while_its_server_could_not_listen() {
    let app = TestApp::on_disk().await;
    let url = app.config.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let watching = app.with_database(by(&url, "partway", &proxy.address)).await;
    let ann = Principal { owner: OwnerName::parse("ann").unwrap(), token_id: uuid::Uuid::nil() };
    let session = SessionId(id.parse().unwrap());
    let mut states = std::pin::pin!(watching.service.watch(&ann, session).await.unwrap());
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 1);
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 2);

    let target = proxy.close().await;
    user.put(&id, 2, "0123456789").await.expect(201);
    proxy.open(target);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 3);
}
