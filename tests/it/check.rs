//! `partway check`: which damage and which unfinished work it finds, and what it repairs.

use std::{fs, path::Path, sync::Arc};

use partway::{
    client::{Client, NewUpload},
    service::{CheckOptions, Finding, Report},
};

use crate::support::{Cli, Server, TestApp, file_bytes};

pub(crate) async fn look(app: &TestApp) -> Report {
    app.service.check(CheckOptions::default()).await.unwrap()
}

pub(crate) async fn repair(app: &TestApp) -> Report {
    app.service.check(CheckOptions { repairs: true, ..CheckOptions::default() }).await.unwrap()
}

pub(crate) async fn compare(app: &TestApp) -> Report {
    let on_read = Some(Arc::new(|_, _| ()) as Arc<dyn Fn(u64, u64) + Send + Sync>);
    app.service.check(CheckOptions { on_read, ..CheckOptions::default() }).await.unwrap()
}

pub(crate) fn found(findings: &[Finding], text: &str) -> usize {
    findings.iter().filter(|finding| finding.what.contains(text)).count()
}

/// Changes one byte of a file. Keeps its size and its time of modification.
pub(crate) fn flip(path: &Path) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[12] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

#[tokio::test]
async fn unfinished_work_of_a_crash_is_no_damage_and_can_be_repaired() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let (uploading, stored) = (app.storage().join("uploading"), app.storage().join("stored"));
    // As after a crash between the rename and the commit of a finalize.
    let cut = user.create(25).await;
    let cut_id = cut["session_id"].as_str().unwrap();
    user.put_parts(cut_id, &file, 1..=3).await;
    fs::rename(uploading.join(cut_id), stored.join(cut["file"]["file_id"].as_str().unwrap())).unwrap();
    // As after a crash between the commit of an abort and the removal of the bytes.
    let aborted = user.create_id(25).await;
    user.delete(&format!("/uploads/sessions/{aborted}")).await.expect(204);
    fs::write(uploading.join(&aborted), "x").unwrap();

    let report = look(&app).await;
    assert_eq!((report.problems.len(), report.unfinished.len(), report.repaired.len()), (0, 2, 0), "{report:?}");
    assert_eq!(found(&report.unfinished, cut_id) + found(&report.unfinished, &aborted), 2);
    let report = repair(&app).await;
    assert_eq!((report.problems.len(), report.unfinished.len(), report.repaired.len()), (0, 0, 2), "{report:?}");
    assert_eq!(user.status(cut_id).await["status"], "COMPLETE");
    assert!(!uploading.join(&aborted).exists());
    let report = look(&app).await;
    assert_eq!((report.problems.len(), report.unfinished.len(), report.files), (0, 0, 1), "{report:?}");
}

#[tokio::test]
async fn lost_bytes_are_reported_and_a_repair_fails_the_session() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put(&id, 1, "0123456789").await.expect(201);
    fs::remove_file(app.storage().join("uploading").join(&id)).unwrap();
    assert_eq!(found(&look(&app).await.problems, &id), 1);
    assert_eq!(user.status(&id).await["status"], "IN_PROGRESS", "a check without repair changes nothing");
    let report = repair(&app).await;
    assert_eq!((report.problems.len(), found(&report.repaired, &id)), (0, 1), "{report:?}");
    assert_eq!(user.status(&id).await["status_reason"], "bytes_lost");
}

#[tokio::test]
async fn an_invalid_row_hides_no_other() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let [first, _, last] = [user.upload(&file).await, user.upload(&file).await, user.upload(&file).await];
    app.execute(
        "UPDATE upload_session SET status = 'NONSENSE' WHERE id = (SELECT id FROM upload_session ORDER BY id LIMIT 1)",
    )
    .await;
    app.execute(
        "UPDATE upload_file SET metadata = '{' WHERE id = (SELECT id FROM upload_file ORDER BY id DESC LIMIT 1)",
    )
    .await;
    let report = look(&app).await;
    let id = |session: &serde_json::Value| session["session_id"].as_str().unwrap().to_owned();
    assert_eq!(found(&report.problems, &id(&first)), 1, "{report:?}");
    assert_eq!(found(&report.problems, &id(&last)), 1, "{report:?}");
    assert_eq!(found(&report.problems, "metadata"), 2, "of the session and of the file: {report:?}");
    assert_eq!(found(&report.problems, "no row"), 0, "their files still have rows: {report:?}");
    assert_eq!((report.sessions, report.problems.len()), (3, 3));
}

#[tokio::test]
async fn bytes_without_a_row_are_reported_and_never_removed() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let unknown = "01890000-0000-7000-8000-000000000000";
    let places = ["uploading", "stored"].map(|folder| app.storage().join(folder).join(unknown));
    for place in &places {
        fs::write(place, "x").unwrap();
    }
    assert_eq!(found(&repair(&app).await.problems, "no row refers to it"), 2);
    app.service.sweep().await;
    assert!(places.iter().all(|place| place.exists()));
}

#[tokio::test]
async fn changed_bytes_are_found_only_by_their_digests() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    let user = app.user("ann").await;
    let done = user.upload(&file_bytes(25)).await;
    let whole = user.upload(&file_bytes(95)).await;
    let open = user.create_id(25).await;
    user.put_parts(&open, &file_bytes(25), [2]).await;
    assert!(compare(&app).await.problems.is_empty());
    let stored = app.storage().join("stored").join(done["file"]["file_id"].as_str().unwrap());
    flip(&stored);
    flip(&app.storage().join("uploading").join(&open));
    assert!(look(&app).await.problems.is_empty());
    let report = compare(&app).await;
    assert_eq!(report.problems.len(), 2, "{report:?}");
    assert_eq!(found(&report.problems, "parts 2 do not have"), 2);
    assert_eq!(found(&report.problems, whole["file"]["file_id"].as_str().unwrap()), 0);
}

/// Runs the real command: first beside a running server, then on a database with a damaged page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_runs_beside_a_server_and_continues_after_a_damaged_page() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PARTWAY_DATABASE", ""), ("PARTWAY_CHUNK_SIZE", "10")];
    let server = Server::start(folder.path(), &settings);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    for number in 0..300 {
        let key = number.to_string();
        let name = format!("{number}{}", "x".repeat(200));
        client.create(&NewUpload::named(&name, 25, &key)).await.unwrap();
    }
    let data = folder.path().to_str().unwrap();
    let check = |more: &[&str]| {
        let checked = Cli::new(&[&["check", "--data", data][..], more].concat()).on_sqlite().run();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (checked.status.code(), text(&checked.stdout), text(&checked.stderr))
    };
    assert_eq!(check(&["--digests"]).0, Some(0));
    let (code, _, stderr) = check(&["--repair"]);
    assert!(code == Some(1) && stderr.contains("in use by another"), "{stderr}");
    server.signal(rustix::process::Signal::TERM);
    server.wait();

    let database = folder.path().join("partway.db");
    let mut bytes = fs::read(&database).unwrap();
    // A page in the middle of the files' rows, whose names are long. If SQLite split a page, another page still has a
    // copy of it.
    let name = format!("150{}", "x".repeat(200));
    for page in bytes.chunks_mut(4096) {
        const LEAF_OF_A_TABLE: u8 = 13;
        if page[0] == LEAF_OF_A_TABLE && page.windows(name.len()).any(|window| window == name.as_bytes()) {
            page.fill(0);
        }
    }
    fs::write(&database, bytes).unwrap();
    let (code, stdout, stderr) = check(&[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("problem: database: ") && stdout.contains("problem: session "), "{stdout}");
    assert!(stderr.contains("300 sessions"), "{stderr}");
    assert!(stdout.lines().filter(|line| line.starts_with("problem: session ")).count() < 50, "{stdout}");
}

/// After every command, also after one that failed, a copy of `partway.db` alone is complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_leaves_the_database_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PARTWAY_DATABASE", "")];
    let data = folder.path().to_str().unwrap();
    // Another socket has this address, so the server does not start.
    let other = Server::start(&folder.path().join("other"), &settings);
    let commands: [&[&str]; 6] = [
        &["token", "list"],
        &["token", "revoke", "01890000-0000-7000-8000-000000000000"],
        &["migrate"],
        &["check"],
        &["adopt"],
        &["serve", "--listen", &other.address],
    ];
    for command in commands {
        Server::start(folder.path(), &settings).kill();
        let log = folder.path().join("partway.db-wal");
        assert!(log.exists(), "a killed server leaves its write-ahead log");
        Cli::new(&[command, &["--data", data]].concat()).on_sqlite().run();
        assert!(!log.exists(), "{command:?}");
    }
}
