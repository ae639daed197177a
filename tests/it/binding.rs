//! Database and storage belong to each other.

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

/// A server's folder with one upload under way.
async fn upload_under_way(data: &Path) -> String {
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
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!said.contains("internal"), "{said}");
    said
}

#[tokio::test]
async fn another_database_is_refused_and_no_upload_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let id = upload_under_way(folder.path()).await;
    let uploading = folder.path().join("files/uploading").join(&id);
    let kept = fs::read_to_string(folder.path().join("files/partway.id")).unwrap();
    let said = refusal("serve", folder.path(), &folder.path().join("other.db"));
    assert!(said.contains("no storage id") && said.contains(kept.trim()) && said.contains("partway adopt"), "{said}");
    assert!(uploading.exists());
    // A folder of a version that kept no id, and a new database.
    fs::remove_file(folder.path().join("files/partway.id")).unwrap();
    let said = refusal("serve", folder.path(), &folder.path().join("third.db"));
    assert!(said.contains("do not belong together"), "{said}");
    assert!(uploading.exists());
}

#[tokio::test]
async fn another_folder_is_refused_until_it_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    upload_under_way(folder.path()).await;
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
async fn a_token_can_be_made_before_the_first_start_and_a_cut_first_start_is_finished() {
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
async fn servers_that_start_at_once_on_nothing_end_with_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::from_defaults(&json!({ "data": folder.path() })).unwrap();
    config.stores.database = database_url(folder.path()).unwrap_or_default();
    config.stores.storage = storage_url(folder.path()).unwrap_or_default();
    config.stores.database_connections = 4;
    if config.stores.database.is_empty() {
        // On PostgreSQL they do this at once, too; on SQLite a lock file keeps others away.
        app::migrate(&config).await.unwrap().close().await;
    }
    let start = || async { App::open(&config, Arc::new(SystemClock)).await.map(|app| app.service) };
    for started in join_all((0..4).map(|_| start())).await {
        started.unwrap().sweep().await;
    }
    start().await.unwrap();
}
