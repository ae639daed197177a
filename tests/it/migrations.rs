//! This version opens a database of an earlier version, with all its data.

use std::collections::BTreeSet;

use entity::{
    account, api_token, download_link, event, instance, move_part, move_upload, upload_file, upload_part,
    upload_session, upload_token, webhook, webhook_delivery,
};
use migration::{Migrator, MigratorTrait};
use partway::{
    domain::{OwnerName, Principal},
    service::CheckOptions,
};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, EntityName, IdenStatic, Iterable};
use serde_json::{Value, json};

use crate::support::{TestApp, TestUser, crc64nvme, file_bytes, sha256_hex};

/// Creates a session with some of its parts, a stored file, and an aborted session. Every version can store these.
async fn fill(user: &TestUser, file: &[u8]) -> [String; 3] {
    let under_way = user.create_id(file.len()).await;
    user.put_parts(&under_way, file, [1, 3]).await;
    let stored = user.create_id(file.len()).await;
    user.put_parts(&stored, file, 1..=3).await;
    user.finalize(&stored).await.expect(200);
    let aborted = user.create_id(1_000).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    [under_way, stored, aborted]
}

/// The data that no migration may change.
async fn known(user: &TestUser, sessions: &[String; 3]) -> Vec<Value> {
    let mut all = Vec::new();
    for id in sessions {
        let mut status = user.status(id).await;
        // Earlier versions do not have these.
        status["file"]["composite_sha256"].take();
        status["file"]["crc64nvme"].take();
        all.push(status);
    }
    let same = user.get("/uploads/sessions?original_filename=a.bin&total_size_bytes=25").await.expect(200).json();
    all.push(same["sessions"].as_array().unwrap().len().into());
    all.push(user.get("/uploads/sessions").await.expect(200).json()["sessions"].as_array().unwrap().len().into());
    all
}

/// The bytes and the open sessions of an owner's account.
async fn used(app: &TestApp, owner: &str) -> (u64, u64) {
    let account = app.service.account(&Principal::of_owner(OwnerName::parse(owner).unwrap())).await.unwrap();
    (account.bytes_used, account.open_sessions)
}

async fn connect(app: &TestApp) -> DatabaseConnection {
    let url = match app.config.stores.database.as_str() {
        "" => format!("sqlite://{}/partway.db", app.folder().display()),
        url => url.to_owned(),
    };
    Database::connect(url).await.unwrap()
}

/// Reverts the newest migrations. The schema is then that of an earlier version.
async fn go_back(app: &TestApp, steps: u32) {
    let database = connect(app).await;
    Migrator::down(&database, Some(steps)).await.unwrap();
    if database.execute_unprepared("SELECT 1 FROM instance").await.is_err() {
        // That version did not write an id into its storage either.
        std::fs::remove_file(app.storage().join("partway.id")).unwrap();
    }
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_database_of_each_earlier_version_can_be_opened_with_its_data() {
    let all = u32::try_from(Migrator::migrations().len()).unwrap();
    for steps in 1..all {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let file = file_bytes(25);
        let sessions = fill(&user, &file).await;
        app.user("bob").await.create_id(7).await;
        let before = known(&user, &sessions).await;
        go_back(&app, steps).await;

        let app = app.restarted().await;
        let user = TestUser { router: app.router.clone(), token: user.token };
        assert!(app.storage().join("partway.id").exists(), "{steps} migrations ago");
        app.service.sweep().await;
        assert_eq!(known(&user, &sessions).await, before, "{steps} migrations ago");
        assert_eq!(used(&app, "ann").await, (2 * 25, 1), "{steps} migrations ago");
        assert_eq!(used(&app, "bob").await, (7, 1), "{steps} migrations ago");
        assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, [], "{steps} migrations ago");
        user.put_parts(&sessions[0], &file, [2]).await;
        let finalized = user.finalize(&sessions[0]).await.expect(200).json();
        let has_checksums = !Migrator::migrations()
            .iter()
            .rev()
            .take(steps as usize)
            .any(|reverted| reverted.name().ends_with("add_crc64nvme"));
        // The parts that a version without checksums received have none.
        let checksum = has_checksums.then(|| crc64nvme(&file));
        assert_eq!(finalized["file"]["crc64nvme"], json!(checksum), "{steps} migrations ago");
        for session in &sessions[..2] {
            let file_id = user.status(session).await["file"]["file_id"].as_str().unwrap().to_owned();
            let asked = user.post(&format!("/files/{file_id}/sha256"), json!({})).await.expect(200).json();
            let digests = (&asked["sha256"], &asked["crc64nvme"]);
            assert_eq!(digests, (&json!(sha256_hex(&file)), &json!(crc64nvme(&file))), "{steps} migrations ago");
        }
        assert_eq!(used(&app, "ann").await, (2 * 25, 0), "{steps} migrations ago");
    }
}

#[test]
fn migrations_are_listed_in_the_order_of_their_names() {
    let names: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    assert!(names.is_sorted(), "{names:?}");
}

async fn columns_in_database(database: &DatabaseConnection, table: &str) -> BTreeSet<String> {
    let statement = match database.get_database_backend() {
        sea_orm::DbBackend::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
        _ => format!(
            "SELECT column_name::text AS name FROM information_schema.columns \
             WHERE table_name = '{table}' AND table_schema = current_schema()"
        ),
    };
    let statement = sea_orm::Statement::from_string(database.get_database_backend(), statement);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", "name").unwrap()).collect()
}

fn columns_of<C: Iterable + IdenStatic>() -> BTreeSet<String> {
    C::iter().map(|column| column.as_str().to_owned()).collect()
}

#[tokio::test]
async fn the_entities_have_the_columns_of_the_tables() {
    let app = TestApp::new().await;
    let database = connect(&app).await;
    for (table, columns) in [
        (upload_session::Entity.table_name(), columns_of::<upload_session::Column>()),
        (upload_file::Entity.table_name(), columns_of::<upload_file::Column>()),
        (upload_part::Entity.table_name(), columns_of::<upload_part::Column>()),
        (api_token::Entity.table_name(), columns_of::<api_token::Column>()),
        (upload_token::Entity.table_name(), columns_of::<upload_token::Column>()),
        (download_link::Entity.table_name(), columns_of::<download_link::Column>()),
        (account::Entity.table_name(), columns_of::<account::Column>()),
        (event::Entity.table_name(), columns_of::<event::Column>()),
        (instance::Entity.table_name(), columns_of::<instance::Column>()),
        (move_upload::Entity.table_name(), columns_of::<move_upload::Column>()),
        (move_part::Entity.table_name(), columns_of::<move_part::Column>()),
        (webhook::Entity.table_name(), columns_of::<webhook::Column>()),
        (webhook_delivery::Entity.table_name(), columns_of::<webhook_delivery::Column>()),
    ] {
        assert_eq!(columns_in_database(&database, table).await, columns, "{table}");
    }
}
