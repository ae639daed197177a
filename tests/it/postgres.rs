//! Behaviour on PostgreSQL only. `scripts/test-services` runs these tests.

use std::{task::Poll, time::Duration};

use futures_util::{StreamExt, future::join_all};
use migration::{Migrator, MigratorTrait};
use partway::{
    app::migrate,
    domain::{OwnerName, Principal, SessionId},
};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{task::JoinHandle, time::timeout};

use crate::support::{Deadline, Proxy, TestApp, TestUser, execute};

/// The time in which the server must have recovered.
const SOON: Duration = Duration::from_secs(15);
/// The time in which every request must get a response.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of the test to the schema of the server.
async fn beside(app: &TestApp) -> PgConnection {
    PgConnection::connect(&app.config.stores.database).await.unwrap()
}

/// The URL of the same database with another user and another address.
fn by(url: &str, user: &str, address: &str) -> String {
    let (_, path) = url.split_once("://").unwrap().1.split_once('/').unwrap();
    format!("postgres://{user}@{address}/{path}")
}

fn address_of(url: &str) -> &str {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0
}

/// How many connections wait for a lock on a row of this table.
async fn waiting_for_row(table: &str, connection: &mut PgConnection) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND pid IN (SELECT pid FROM pg_locks WHERE relation = $1::regclass)";
    sqlx::query_scalar(waiting).bind(table).fetch_one(connection).await.unwrap()
}

/// Sends and creates something, in less time than that after which requests that wait for a lock give up, which is 5 s.
async fn works_at_speed(user: &TestUser, id: &str) {
    let at_speed = async {
        for number in 1..=20 {
            user.put(id, number, "0123456789").await.expect(201);
        }
        for _ in 0..5 {
            user.create_id(1).await;
        }
    };
    timeout(Duration::from_secs(4), at_speed).await.unwrap();
}

/// Creates this many sessions at the same time.
fn creating(user: &TestUser, sessions: usize) -> Vec<JoinHandle<String>> {
    let create = |user: TestUser| tokio::spawn(async move { user.create_id(1).await });
    (0..sessions).map(|_| create(user.clone())).collect()
}

fn schema_of(url: &str) -> &str {
    url.split_once("search_path]=").unwrap().1
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_status_read_does_not_wait_for_a_transaction_that_has_locked_the_row() {
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
async fn a_lock_timeout_is_503_and_nothing_is_recorded() {
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
async fn servers_that_start_at_the_same_time_migrate_once() {
    let app = TestApp::on_disk().await;
    let mut other = beside(&app).await;
    let schema = schema_of(&app.config.stores.database);
    let recreate = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}");
    other.execute(sqlx::AssertSqlSafe(recreate)).await.unwrap();
    // Set this up before there is any table, so that it counts every migration that a server records.
    let count = format!(
        "SET search_path TO {schema};
         CREATE TABLE applied (version text);
         CREATE TABLE seaql_migrations (version varchar PRIMARY KEY, applied_at bigint NOT NULL);
         CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO {schema}.applied VALUES (NEW.version); RETURN NEW; END $$;
         CREATE TRIGGER count_it BEFORE INSERT ON seaql_migrations FOR EACH ROW EXECUTE FUNCTION count_it()"
    );
    other.execute(sqlx::AssertSqlSafe(count)).await.unwrap();
    for started in join_all((0..4).map(|_| migrate(&app.config))).await {
        started.unwrap();
    }
    let applied: Vec<String> = sqlx::query_scalar("SELECT version FROM applied").fetch_all(&mut other).await.unwrap();
    let all: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(applied, all);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_server_without_the_right_to_change_the_schema_starts_if_no_migration_is_missing() {
    let app = TestApp::on_disk().await;
    // The test drops the tables.
    app.expect_damage();
    let (url, schema) = (app.config.stores.database.clone(), schema_of(&app.config.stores.database));
    let role = format!("{schema}_server");
    let rights = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    );
    execute(url.clone(), rights);
    let mut limited = app.config.clone();
    limited.stores.database = by(&url, &role, address_of(&url));
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
async fn clients_do_not_notice_lost_connections_and_get_503_while_the_database_is_away() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
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
async fn a_watcher_gets_changes_that_happened_while_its_server_could_not_listen() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let watching = app.with_database(by(&url, "partway", &proxy.address)).await;
    let ann = Principal::of_owner(OwnerName::parse("ann").unwrap());
    let session = SessionId(id.parse().unwrap());
    let mut states = std::pin::pin!(watching.service.watch(&ann, session).await.unwrap());
    let mut of_all = std::pin::pin!(watching.service.watch_all(&ann, None).await.unwrap().1);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 1);
    assert_eq!(of_all.next().await.unwrap().unwrap().state.session.version, 1);
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 2);
    assert_eq!(of_all.next().await.unwrap().unwrap().state.session.version, 2);

    let target = proxy.close().await;
    user.put(&id, 2, "0123456789").await.expect(201);
    let created = user.create_id(25).await;
    proxy.open(target);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 3);
    assert_eq!(of_all.next().await.unwrap().unwrap().state.session.version, 3);
    assert_eq!(of_all.next().await.unwrap().unwrap().state.session.id.to_string(), created);
}

/// As if the host of the database hangs: no bytes arrive, and TCP reports no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_database_that_does_not_answer_is_503_in_time_and_is_used_again_when_it_answers() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let app = app.with_database(by(&url, "partway", &proxy.address)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.status(&id).await;

    proxy.be_silent();
    // More requests of each kind than connections.
    let path = format!("/uploads/sessions/{id}");
    let asking = (0..8).map(|_| user.get(&path));
    let sending = (0..8).map(|number| user.put(&id, number % 2 + 1, "0123456789"));
    let creating =
        (0..8).map(|_| user.post("/uploads/sessions", json!({ "original_filename": "a", "total_size_bytes": 1 })));
    let following = (0..8).map(|_| user.get("/events"));
    let anonymous = app.anonymous();
    let answers = futures_util::future::join5(
        join_all(asking),
        join_all(sending),
        join_all(creating),
        join_all(following),
        anonymous.get("/ready"),
    );
    let (asked, sent, created, followed, ready) = timeout(PATIENCE, answers).await.unwrap();
    assert_eq!(ready.status, 503);
    for answer in asked.iter().chain(&created).chain(&followed) {
        assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
    }
    for answer in sent {
        // Two requests send the same part, so one of them takes over.
        assert!([503, 409].contains(&answer.status.as_u16()), "{answer:?}");
    }

    proxy.speak();
    anonymous.get("/ready").await.expect(200);
    assert_eq!(user.status(&id).await["version"], 1);
    user.put(&id, 1, "0123456789").await.expect(201);
    user.create_id(25).await;
}

/// As if the address moves to another host: new connections work, and the old ones get no answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn requests_get_new_connections_if_the_old_ones_do_not_answer() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let app = app.with_database(by(&url, "partway", &proxy.address)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    // Every connection is in use at this moment, or was in use less than a second ago.
    join_all((0..8).map(|_| user.get("/uploads/sessions"))).await;
    let (asking, giving_up) = (user.clone(), user.clone());
    let under_way = tokio::spawn(async move { join_all((0..8).map(|_| asking.get("/uploads/sessions"))).await });
    proxy.be_silent();
    proxy.speak();
    // A client that disconnects early makes the server abandon a statement.
    let impatient = (0..8).map(|_| timeout(Duration::from_millis(100), giving_up.get("/uploads/sessions")));
    join_all(impatient).await;

    timeout(SOON, user.put(&id, 1, "0123456789")).await.unwrap().expect(201);
    timeout(SOON, under_way).await.unwrap().unwrap();
    let all = join_all((0..8).map(|_| user.get("/uploads/sessions")));
    for answer in timeout(Duration::from_secs(2), all).await.unwrap() {
        answer.expect(200);
    }
    app.anonymous().get("/ready").await.expect(200);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_watcher_gets_changes_after_its_connection_stopped_answering() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    let watching = app.with_database(by(&url, "partway", &proxy.address)).await;
    let ann = Principal::of_owner(OwnerName::parse("ann").unwrap());
    let session = SessionId(id.parse().unwrap());
    let mut states = std::pin::pin!(watching.service.watch(&ann, session).await.unwrap());
    states.next().await.unwrap().unwrap();
    user.put(&id, 1, "0123456789").await.expect(201);
    assert_eq!(states.next().await.unwrap().unwrap().session.version, 2);

    proxy.be_silent();
    proxy.speak();
    user.put(&id, 2, "0123456789").await.expect(201);
    let heard = timeout(SOON, states.next()).await.unwrap().unwrap();
    assert_eq!(heard.unwrap().session.version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_session_that_another_transaction_has_locked_delays_only_its_own_parts() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let (locked, free) = (user.create_id(200).await, user.create_id(500).await);
    let mut other = beside(&app).await;
    let mut tx = other.begin().await.unwrap();
    tx.execute(sqlx::AssertSqlSafe(format!("SELECT id FROM upload_session WHERE id = '{locked}' FOR UPDATE")))
        .await
        .unwrap();
    // More requests than connections, of several kinds.
    let waiting: Vec<_> = (1..=20)
        .map(|number| {
            let (user, locked) = (user.clone(), locked.clone());
            tokio::spawn(async move {
                match number {
                    20 => user.delete(&format!("/uploads/sessions/{locked}")).await,
                    number => user.put(&locked, number, "0123456789").await,
                }
            })
        })
        .collect();
    works_at_speed(&user, &free).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    tx.rollback().await.unwrap();
    for waiting in waiting {
        // One of the requests is the abort. The requests after it find an aborted session.
        let answer = waiting.await.unwrap();
        assert!([201, 204, 409].contains(&answer.status.as_u16()), "{answer:?}");
    }
    assert_eq!(user.status(&locked).await["status"], "ABORTED");
}

/// As if another node hangs after it has changed an account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn an_account_that_another_transaction_has_locked_delays_only_its_own_owner() {
    let app = TestApp::on_disk().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.create_id(1).await;
    let id = bob.create_id(500).await;
    let mut other = beside(&app).await;
    let mut tx = other.begin().await.unwrap();
    tx.execute("SELECT owner FROM account WHERE owner = 'ann' FOR UPDATE").await.unwrap();
    let waiting = creating(&ann, 20);
    works_at_speed(&bob, &id).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    tx.rollback().await.unwrap();
    join_all(waiting).await.into_iter().for_each(|created| drop(created.unwrap()));
}

/// PostgreSQL wakes those that wait for a row in their order, but each of them only for a short time. If all requests of a node
/// waited there, some would never get it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn of_the_requests_of_a_node_that_change_one_account_one_waits_in_postgresql() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.create_id(1).await;
    let (mut holding, mut looking) = (beside(&app).await, beside(&app).await);
    let mut tx = holding.begin().await.unwrap();
    tx.execute("SELECT owner FROM account FOR UPDATE").await.unwrap();
    // One on each connection for writes.
    let creating = creating(&user, 3);
    let mut seen = 0;
    let look = async || {
        let waiting = waiting_for_row("account", &mut looking).await;
        assert!(waiting <= 1, "{waiting} connections wait for the row");
        seen += waiting;
        seen >= 10
    };
    Deadline::new().until("requests that wait for the row", look).await;
    tx.rollback().await.unwrap();
    join_all(creating).await.into_iter().for_each(|created| drop(created.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn requests_that_change_one_account_end_together_if_the_database_does_not_answer() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let proxy = Proxy::to(address_of(&url)).await;
    let user = app.user("ann").await;
    user.create_id(1).await;
    let (mut holding, mut looking) = (beside(&app).await, beside(&app).await);
    let mut tx = holding.begin().await.unwrap();
    tx.execute("SELECT owner FROM account FOR UPDATE").await.unwrap();
    let app = app.with_database(by(&url, "partway", &proxy.address)).await;
    let creating: Vec<_> = (0..8)
        .map(|_| {
            let user = user.at(&app);
            tokio::spawn(async move {
                let body = json!({ "original_filename": "a", "total_size_bytes": 1 });
                user.post("/uploads/sessions", body).await.status
            })
        })
        .collect();
    // One request on each of the three connections for writes has inserted its session.
    let are_ready = async || {
        let inserted = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = 'upload_session'::regclass \
                        AND mode = 'RowExclusiveLock'";
        let ready: i64 = sqlx::query_scalar(inserted).fetch_one(&mut looking).await.unwrap();
        ready == 3 && waiting_for_row("account", &mut looking).await > 0
    };
    Deadline::new().until("requests that wait for the account", are_ready).await;
    proxy.be_silent();
    for created in timeout(SOON, join_all(creating)).await.unwrap() {
        assert_eq!(created.unwrap(), 503);
    }
    tx.rollback().await.unwrap();
}

/// A node that assigns positions all the time can keep the lock from this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_reader_waits_for_no_lock_once_another_node_has_assigned_the_positions() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(0).await;
    user.finalize(&id).await.expect(200);
    let (mut holding, mut numbering) = (beside(&app).await, beside(&app).await);
    let mut tx = holding.begin().await.unwrap();
    tx.execute("SELECT id FROM instance FOR UPDATE").await.unwrap();
    let reading = tokio::spawn(async move { user.get("/events").await });
    let waits = async || waiting_for_row("instance", &mut numbering).await > 0;
    Deadline::new().until("the reader to wait for the lock", waits).await;
    numbering.execute("UPDATE event SET position = 1").await.unwrap();
    let page = timeout(Duration::from_secs(4), reading).await.unwrap().unwrap().expect(200).json();
    assert_eq!(page["events"][0]["data"]["session_id"], id);
    tx.rollback().await.unwrap();
}

/// Polls the request this often, and then drops it, as a client that disconnects does. Returns whether it had ended before.
async fn cancel_after(polls: usize, request: impl Future) -> bool {
    let (mut request, mut polled) = (std::pin::pin!(request), 0);
    std::future::poll_fn(move |context| {
        polled += 1;
        match request.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled >= polls => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A connection that is still in a transaction would keep the writes of later requests in it, and lose them.
#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_request_that_is_dropped_at_any_point_leaves_no_connection_in_a_transaction() {
    let app = TestApp::on_disk().await;
    let url = app.config.stores.database.clone();
    let name = schema_of(&url);
    let other = app.with_database(format!("{url}&application_name={name}")).await;
    let user = app.user("ann").await.at(&other);
    user.create_id(1).await;
    let mut looking = beside(&app).await;
    for polls in 1.. {
        let body = json!({ "original_filename": "a", "total_size_bytes": 1 });
        if cancel_after(polls, user.post("/uploads/sessions", body)).await {
            assert!(polls > 5, "the request was polled only {polls} times");
            break;
        }
        let are_idle = async || {
            let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
            let open: i64 = sqlx::query_scalar(open).bind(name).fetch_one(&mut looking).await.unwrap();
            open == 0
        };
        // PostgreSQL would end such a connection after 10 s, with the writes.
        let deadline = Deadline::new();
        let idle = deadline.until("connections without a transaction", are_idle);
        timeout(Duration::from_secs(5), idle).await.unwrap_or_else(|_| panic!("in a transaction after {polls} polls"));
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/test-services"]
async fn a_migration_has_no_timeout() {
    let app = TestApp::on_disk().await;
    let mut other = beside(&app).await;
    let schema = schema_of(&app.config.stores.database);
    let recreate = format!("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}");
    other.execute(sqlx::AssertSqlSafe(recreate)).await.unwrap();
    let mut tx = other.begin().await.unwrap();
    tx.execute("CREATE TABLE upload_file (id int)").await.unwrap();
    let migrating = tokio::spawn({
        let config = app.config.clone();
        async move { migrate(&config).await }
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    let is_waiting = async || {
        assert!(!migrating.is_finished());
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *tx).await.unwrap() > 0
    };
    Deadline::new().until("the migration to wait", is_waiting).await;
    // Longer than the time-out of any other statement.
    tx.execute("SELECT pg_sleep(0.5)").await.unwrap();
    tx.rollback().await.unwrap();
    migrating.await.unwrap().unwrap();
}
