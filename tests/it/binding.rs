//! The binding of a database to its storage.

use std::{fs, path::Path, sync::Arc};

use futures_util::future::join_all;
use partway::{
    app::{self, App},
    client::{Client, NewUpload},
    config::Config,
    domain::SystemClock,
};
use serde_json::json;

use crate::support::{Cli, Server, database_url, storage_url};

const SQLITE: [(&str, &str); 2] = [("PARTWAY_DATABASE", ""), ("PARTWAY_CHUNK_SIZE", "10")];

/// Fills a server's data folder with one partial upload.
async fn create_partial_upload(data: &Path) -> String {
    let server = Server::start(data, &SQLITE);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let id = client.create(&NewUpload::named("a", 20, "k")).await.unwrap().session_id;
    assert_eq!(server.put(&server.first_token, &id, 1, b"0123456789"), Some(201));
    server.kill();
    id
}

fn refusal(command: &str, data: &Path, database: &Path) -> String {
    let data = data.to_str().unwrap();
    let mut args = vec![command, "--data", data, "--database", database.to_str().unwrap()];
    if command == "serve" {
        args.extend(["--listen", "127.0.0.1:0"]);
    }
    let refused = Cli::new(&args).on_sqlite().run();
    assert!(!refused.status.success(), "{command}");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!message.contains("internal"), "{message}");
    message
}

#[tokio::test]
async fn the_server_refuses_another_database_and_deletes_no_upload() {
    let folder = tempfile::tempdir().unwrap();
    let id = create_partial_upload(folder.path()).await;
    let uploading = folder.path().join("files/uploading").join(&id);
    let kept = fs::read_to_string(folder.path().join("files/partway.id")).unwrap();
    let message = refusal("serve", folder.path(), &folder.path().join("other.db"));
    assert!(
        message.contains("no storage id") && message.contains(kept.trim()) && message.contains("partway adopt"),
        "{message}"
    );
    assert!(uploading.exists());
    // A folder without an id, as from an older version, with a new database.
    fs::remove_file(folder.path().join("files/partway.id")).unwrap();
    let message = refusal("serve", folder.path(), &folder.path().join("third.db"));
    assert!(message.contains("do not belong together"), "{message}");
    assert!(uploading.exists());
}

#[tokio::test]
async fn the_server_refuses_another_folder_until_adopt_binds_it() {
    let folder = tempfile::tempdir().unwrap();
    create_partial_upload(folder.path()).await;
    let files = folder.path().join("files");
    fs::remove_file(files.join("partway.id")).unwrap();
    let database = folder.path().join("partway.db");
    for command in ["serve", "check"] {
        assert!(refusal(command, folder.path(), &database).contains("the storage has no storage id"));
    }
    let data = folder.path().to_str().unwrap();
    assert!(Cli::new(&["adopt", "--data", data]).on_sqlite().run().status.success());
    let _starts = Server::start(folder.path(), &SQLITE);
}

#[tokio::test]
async fn a_token_can_be_created_before_the_first_start_and_an_interrupted_first_start_completes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for command in [&["migrate"][..], &["token", "create", "--owner", "ann"]] {
        assert!(Cli::new(&[command, &["--data", data]].concat()).on_sqlite().run().status.success());
    }
    fs::write(folder.path().join(".started"), "").unwrap();
    Server::start(folder.path(), &SQLITE).kill();
    fs::remove_file(folder.path().join("files/partway.id")).unwrap();
    Server::start(folder.path(), &SQLITE).kill();
    assert!(folder.path().join("files/partway.id").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_concurrently_on_an_empty_storage_agree_on_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::from_defaults(&json!({ "data": folder.path() })).unwrap();
    config.stores.database = database_url(folder.path()).unwrap_or_default();
    config.stores.storage = storage_url(folder.path()).unwrap_or_default();
    config.stores.database_connections = 4;
    if config.stores.database.is_empty() {
        // On SQLite, one server migrates first, because a lock file refuses the others. On PostgreSQL, all migrate at once.
        app::migrate(&config).await.unwrap().close().await;
    }
    let start = || async { App::open(&config, Arc::new(SystemClock)).await.map(|app| app.service) };
    for started in join_all((0..4).map(|_| start())).await {
        started.unwrap().sweep().await;
    }
    start().await.unwrap();
}
