//! The removal of the part records of sessions that ended long ago, and what needs them afterwards.

use std::fs;

use chrono::TimeDelta;
use futures_util::future::join_all;
use partway::service::{CheckOptions, FileSha256};
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use crate::support::{Cli, Server, TestApp, TestUser, composite, crc64nvme, file_bytes, sha256_hex};

const RETENTION: TimeDelta = TimeDelta::days(30);
const ROWS: &str = "SELECT COUNT(*) FROM upload_part";

async fn removed(app: &TestApp) -> u64 {
    app.service.sweep().await.parts_removed
}

fn id(session: &Value) -> &str {
    session["session_id"].as_str().unwrap()
}

/// A session that ended without a file, with one part.
async fn aborted(user: &TestUser) -> String {
    let id = user.create_id(25).await;
    user.put(&id, 2, "0123456789").await.expect(201);
    user.delete(&format!("/uploads/sessions/{id}")).await.expect(204);
    id
}

#[tokio::test]
async fn part_records_are_removed_some_time_after_the_end_of_their_session() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let done = user.upload(&file_bytes(25)).await;
    let empty = user.upload(b"").await;
    let aborted = aborted(&user).await;
    let before = user.status(&aborted).await;
    let open = user.create_id(25).await;
    user.put(&open, 1, "0123456789").await.expect(201);
    assert_eq!(app.number(ROWS).await, 5);

    app.advance(RETENTION - TimeDelta::seconds(1));
    assert_eq!(removed(&app).await, 0);
    app.advance(TimeDelta::seconds(2));
    assert_eq!(removed(&app).await, 3);
    assert_eq!(app.number(ROWS).await, 1, "those of the session that has expired just now");
    assert_eq!(removed(&app).await, 0);
    // Nothing else has changed.
    assert_eq!([user.status(id(&done)).await, user.status(id(&empty)).await], [done, empty]);
    assert_eq!(user.status(&aborted).await, before);
}

#[tokio::test]
async fn what_needs_removed_records_says_that_they_are_not_kept() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let done = user.upload(&file).await;
    app.advance(RETENTION * 2);
    let young = user.upload(&file).await;
    assert_eq!(removed(&app).await, 1);

    let path = format!("/uploads/sessions/{}", id(&done));
    let gone = (410, "PARTS_NOT_KEPT".to_owned());
    assert_eq!(user.get(&format!("{path}/parts")).await.problem(), gone);
    assert_eq!(user.get(&format!("{path}/parts?after=3")).await.problem(), gone);
    assert_eq!(user.get(&format!("{path}/parts/1")).await.problem(), gone);
    assert_eq!(user.get(&format!("{path}/parts/9")).await.problem(), (404, "NOT_FOUND".to_owned()));
    let conditional = user.request("PUT", &format!("{path}/parts/1")).header("if-none-match", "*");
    assert_eq!(user.send(conditional.body("0123456789".into()).unwrap()).await.problem(), gone);
    assert_eq!(user.put(id(&done), 1, "0123456789").await.problem(), (409, "SESSION_CLOSED".to_owned()));
    let young_path = format!("/uploads/sessions/{}", id(&young));
    assert_eq!(user.get(&format!("{young_path}/parts")).await.expect(200).json()["parts"].as_array().unwrap().len(), 3);

    // One session without records does not fail a list.
    let list = "{ uploadSessions(first: 5) { nodes { receivedPartsText parts(first: 2) { nodes { partNumber } } } } }";
    let nodes = user.data(list, json!({})).await["uploadSessions"]["nodes"].take();
    let parts = json!({ "nodes": [{ "partNumber": 1 }, { "partNumber": 2 }] });
    let wanted = json!([
        { "receivedPartsText": "1-3", "parts": parts },
        { "receivedPartsText": "1-3", "parts": null },
    ]);
    assert_eq!(nodes, wanted);

    let finalize = async |body: Value| user.post(&format!("{path}/finalize"), body).await;
    assert_eq!(finalize(json!({})).await.expect(200).json(), done);
    assert_eq!(
        finalize(json!({ "composite_sha256": composite(&file, 10).to_string() })).await.expect(200).json(),
        done
    );
    // The digests of the file prove its bytes without the records.
    let asked = finalize(json!({ "sha256": sha256_hex(&file) })).await.expect(200).json();
    assert_eq!(asked["file"]["sha256"], sha256_hex(&file));
    let content = user.get(&format!("/files/{}/content", done["file"]["file_id"].as_str().unwrap())).await;
    assert_eq!(content.expect(200).bytes, file);
}

#[tokio::test]
async fn a_known_digest_can_be_asked_after_the_removal_and_an_empty_file_has_an_empty_list() {
    let app = TestApp::on_disk_with(|config| config.limits.file_sha256 = FileSha256::Always).await;
    let user = app.user("ann").await;
    let file = file_bytes(25);
    let (done, empty) = (user.upload(&file).await, user.upload(b"").await);
    app.advance(RETENTION * 2);
    assert_eq!(removed(&app).await, 2);
    for (session, bytes) in [(&done, file.as_slice()), (&empty, b"")] {
        let finalize = format!("/uploads/sessions/{}/finalize", id(session));
        assert_eq!(user.post(&finalize, json!({ "sha256": sha256_hex(bytes) })).await.expect(200).json(), *session);
    }
    let path = format!("/uploads/sessions/{}/parts", id(&empty));
    assert_eq!(user.get(&path).await.expect(200).json()["parts"], json!([]));
    let query = "query($id: ID!) { uploadSession(id: $id) { parts { nodes { partNumber } } } }";
    let answer = user.data(query, json!({ "id": id(&empty) })).await;
    assert_eq!(answer["uploadSession"]["parts"]["nodes"], json!([]));
}

/// The states that a server leaves that is killed during the removal.
#[tokio::test]
async fn an_interrupted_removal_continues() {
    for (statements, removed_by_sweep) in [
        (["UPDATE upload_session SET part_rows = 'REMOVING'", "DELETE FROM upload_part WHERE FALSE"], 1),
        (["UPDATE upload_session SET part_rows = 'REMOVING'", "DELETE FROM upload_part WHERE part_number < 3"], 1),
        (["UPDATE upload_session SET part_rows = 'REMOVING'", "DELETE FROM upload_part"], 1),
        (["UPDATE upload_session SET part_rows = 'REMOVED'", "DELETE FROM upload_part"], 0),
    ] {
        let app = TestApp::on_disk().await;
        let user = app.user("ann").await;
        let done = user.upload(&file_bytes(25)).await;
        app.advance(RETENTION * 2);
        for statement in statements {
            app.execute(statement).await;
        }
        let path = format!("/uploads/sessions/{}/parts", id(&done));
        assert_eq!(user.get(&path).await.problem(), (410, "PARTS_NOT_KEPT".to_owned()), "{statements:?}");
        assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems, [], "{statements:?}");
        assert_eq!(removed(&app).await, removed_by_sweep, "{statements:?}");
        assert_eq!(app.number("SELECT COUNT(*) FROM upload_session WHERE part_rows = 'REMOVED'").await, 1);
        assert_eq!(app.number(ROWS).await, 0);
    }
}

#[tokio::test]
async fn if_several_servers_sweep_each_session_is_counted_once() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    for _ in 0..120 {
        aborted(&user).await;
    }
    let other = app.beside().await;
    for app in [&app, &other] {
        app.advance(RETENTION * 2);
    }
    let swept = join_all([&app, &other, &app, &other].map(removed)).await;
    assert_eq!(swept.iter().sum::<u64>(), 120, "{swept:?}");
    assert_eq!(app.number(ROWS).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_during_the_removal_gets_all_parts_or_is_told() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let mut readers = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(id(&user.upload(&file_bytes(25)).await).to_owned());
    }
    app.advance(RETENTION * 2);
    for id in ids {
        let user = user.clone();
        readers.push(tokio::spawn(async move {
            let query = "query($id: ID!) { uploadSession(id: $id) { parts { nodes { partNumber } } } }";
            loop {
                let parts = user.data(query, json!({ "id": id })).await["uploadSession"]["parts"].take();
                assert!(parts.is_null() || parts["nodes"].as_array().unwrap().len() == 3, "{parts}");
                let list = user.get(&format!("/uploads/sessions/{id}/parts")).await;
                if list.status == 410 {
                    return;
                }
                assert_eq!(list.expect(200).json()["parts"].as_array().unwrap().len(), 3);
                let part = user.get(&format!("/uploads/sessions/{id}/parts/2")).await;
                if part.status != 200 {
                    assert_eq!(part.problem(), (410, "PARTS_NOT_KEPT".to_owned()));
                }
            }
        }));
    }
    assert_eq!(removed(&app).await, 30);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn the_rows_of_a_large_session_are_removed_in_several_transactions() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.upload(&file_bytes(25)).await;
    app.advance(RETENTION * 2);
    app.execute(
        "WITH RECURSIVE more(number) AS (SELECT 10 UNION ALL SELECT number + 10 FROM more WHERE number < 40000) \
         INSERT INTO upload_part (session_id, part_number, size_bytes, sha256, storage_etag, received_at) \
         SELECT session_id, part_number + number, size_bytes, sha256, storage_etag, received_at FROM upload_part, more",
    )
    .await;
    assert_eq!(app.number(ROWS).await, 12_003);
    assert_eq!(removed(&app).await, 1);
    assert_eq!(app.number(ROWS).await, 0);
}

#[tokio::test]
async fn a_clock_that_jumps_by_years_removes_no_records_at_once() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    user.upload(&file_bytes(25)).await;
    assert_eq!(removed(&app).await, 0);
    app.advance(TimeDelta::days(3_650));
    assert_eq!(removed(&app).await, 0);
    app.advance(-TimeDelta::days(3_650));
    assert_eq!(removed(&app).await, 0);
    assert_eq!(app.number(ROWS).await, 3);
}

/// The client proves by the file's own digests that the server has this file. Without any digest it sends the file again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_recognizes_a_stored_file_after_the_removal() {
    const REMOVE: &str = "DELETE FROM upload_part; UPDATE upload_session SET part_rows = 'REMOVED'";
    let already = "Already stored";
    let unknown = "the server has no digests of it any more";
    for (statement, changes_file, is_new, note) in [
        ("", false, false, already),
        ("UPDATE upload_file SET composite_sha256 = NULL", false, false, already),
        ("UPDATE upload_file SET composite_sha256 = NULL, sha256 = NULL", false, true, unknown),
        ("", true, true, ""),
        ("UPDATE upload_file SET composite_sha256 = NULL", true, true, ""),
        (
            "UPDATE upload_file SET status = 'DELETED', location = NULL; UPDATE upload_session SET file_deleted = TRUE",
            false,
            true,
            "",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("a.bin"));
        let settings = [
            ("PARTWAY_DATABASE", ""),
            ("PARTWAY_STORAGE", ""),
            ("PARTWAY_CHUNK_SIZE", "1000"),
            ("PARTWAY_FILE_SHA256", "always"),
        ];
        let mut bytes = file_bytes(2_500);
        fs::write(&file, &bytes).unwrap();
        let server = Server::start(&data, &settings);
        let token = server.first_token.clone();
        let upload = |server: &Server| {
            let output = Cli::new(&["upload", file.to_str().unwrap()]).to(server, &token).run();
            assert!(output.status.success(), "{output:?}");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&output.stdout), text(&output.stderr))
        };
        let (first, _) = upload(&server);
        server.kill();
        let database = format!("sqlite://{}/partway.db", data.display());
        let mut connection = sqlx::SqliteConnection::connect(&database).await.unwrap();
        connection.execute(REMOVE).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
        if changes_file {
            bytes[1_700] ^= 1;
            fs::write(&file, &bytes).unwrap();
        }
        let server = Server::start(&data, &settings);
        let (second, printed) = upload(&server);
        let id = |printed: &str| printed.lines().next().unwrap().to_owned();
        assert_eq!(id(&first) != id(&second), is_new, "{statement} {changes_file}: {printed}");
        assert!(printed.contains(note), "{statement} {changes_file}: {printed}");
        assert!(second.contains(&crc64nvme(&bytes)) || !is_new, "{second}");
    }
}
