//! Bytes that are gone, and whoever notices it first.

use std::{fs, path::PathBuf};

use chrono::TimeDelta;
use partway::{
    client::{Client, NewUpload},
    service::{CheckOptions, FileSha256},
};
use serde_json::json;

use crate::support::{Answer, Cli, Server, TestApp, TestUser, file_bytes, sha256_hex};

/// Three parts of ten bytes but for the last, and some of them sent.
async fn under_way(parts: &[u32]) -> (TestApp, TestUser, String, PathBuf) {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let id = user.create_id(25).await;
    user.put_parts(&id, &file_bytes(25), parts.iter().copied()).await;
    let file = app.storage().join("uploading").join(&id);
    (app, user, id, file)
}

fn assert_lost(answer: &Answer) {
    assert_eq!(answer.problem(), (409, "SESSION_CLOSED".to_owned()));
    assert_eq!(answer.json()["status_reason"], "bytes_lost");
}

async fn assert_failed(app: &TestApp, user: &TestUser, id: &str) {
    let session = user.status(id).await;
    assert_eq!((&session["status"], &session["status_reason"]), (&json!("FAILED"), &json!("bytes_lost")));
    assert_eq!(session["file"]["status"], "FAILED");
    assert!(app.bytes_on_disk().is_empty(), "what is left is freed");
    let problems = app.service.check(CheckOptions::default()).await.unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

/// Found by an attack: with the file gone, the next part made a new one, and finalize took its holes for parts.
#[tokio::test]
async fn a_part_notices_that_the_others_are_gone_or_cut() {
    for number in [1, 2] {
        let (app, user, id, file) = under_way(&[1]).await;
        fs::remove_file(file).unwrap();
        assert_lost(&user.put(&id, number, file_bytes(25)[(number as usize - 1) * 10..][..10].to_vec()).await);
        assert_failed(&app, &user, &id).await;

        let (app, user, id, file) = under_way(&[1]).await;
        fs::File::options().write(true).open(file).unwrap().set_len(12).unwrap();
        assert_lost(&user.put(&id, number, file_bytes(25)[(number as usize - 1) * 10..][..10].to_vec()).await);
        assert_failed(&app, &user, &id).await;
    }
}

#[tokio::test]
async fn finalize_notices_it() {
    let (app, user, id, file) = under_way(&[1, 2, 3]).await;
    fs::remove_file(file).unwrap();
    assert_lost(&user.finalize(&id).await);
    assert_failed(&app, &user, &id).await;
    assert_lost(&user.finalize(&id).await);

    let (app, user, id, file) = under_way(&[1, 2, 3]).await;
    fs::File::options().write(true).open(file).unwrap().set_len(24).unwrap();
    assert_lost(&user.finalize(&id).await);
    assert_failed(&app, &user, &id).await;
}

#[tokio::test]
async fn the_sweep_notices_it_and_leaves_the_others_alone() {
    let (app, user, id, file) = under_way(&[2]).await;
    let others = [user.create_id(25).await, user.create_id(25).await];
    user.put(&others[0], 1, "0123456789").await.expect(201);
    let whole = user.create(5).await;
    user.put(whole["session_id"].as_str().unwrap(), 1, "01234").await.expect(201);
    // As left behind by a crash between the rename and the commit.
    let stored = app.storage().join("stored").join(whole["file"]["file_id"].as_str().unwrap());
    fs::rename(app.storage().join("uploading").join(whole["session_id"].as_str().unwrap()), stored).unwrap();
    fs::remove_file(file).unwrap();
    assert_eq!(app.service.sweep().await.lost, 1);
    assert_eq!(app.service.sweep().await.lost, 0);
    assert_eq!(user.status(&id).await["status_reason"], "bytes_lost");
    for (id, status) in [(&*others[0], "IN_PROGRESS"), (&others[1], "INIT")] {
        assert_eq!(user.status(id).await["status"], status);
    }
    user.finalize(whole["session_id"].as_str().unwrap()).await.expect(200);
}

/// A database that was restored to an earlier time, when a session that was finalized since was still open.
#[tokio::test]
async fn a_complete_file_is_kept_whatever_its_session_says() {
    let (app, user, id, file) = under_way(&[1]).await;
    app.expect_damage();
    let file_id = user.status(&id).await["file"]["file_id"].as_str().unwrap().to_owned();
    let stored = app.storage().join("stored").join(file_id);
    fs::rename(file, &stored).unwrap();
    assert_lost(&user.put(&id, 2, "0123456789").await);
    app.advance(TimeDelta::days(30));
    app.service.sweep().await;
    assert!(stored.exists());
}

#[tokio::test]
async fn a_stored_file_that_is_gone_or_cut_is_told_as_such() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let bytes = file_bytes(25);
    let file = user.upload(&bytes).await["file"]["file_id"].as_str().unwrap().to_owned();
    let (path, stored) = (format!("/files/{file}/content"), app.storage().join("stored").join(&file));
    fs::File::options().write(true).open(&stored).unwrap().set_len(24).unwrap();
    for _ in ["cut", "gone"] {
        assert_eq!(user.get(&path).await.problem(), (410, "BYTES_LOST".to_owned()));
        for range in ["bytes=0-3", "bytes=24-24"] {
            let request = user.request("GET", &path).header("range", range).body("".into()).unwrap();
            assert_eq!(user.send(request).await.problem(), (410, "BYTES_LOST".to_owned()));
        }
        let head = user.request("HEAD", &path).body("".into()).unwrap();
        assert_eq!(user.send(head).await.status.as_u16(), 410);
        assert_eq!(user.get(&format!("/files/{file}")).await.expect(200).json()["status"], "STORED");
        assert_eq!(app.service.check(CheckOptions::default()).await.unwrap().problems.len(), 1);
        let _ = fs::remove_file(&stored);
    }
    fs::write(&stored, &bytes).unwrap();
    assert_eq!(user.get(&path).await.expect(200).bytes, bytes);
}

/// A folder that came back without `uploading/`, as after the restore that docs/operations.md describes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploader_begins_anew_by_itself_when_its_bytes_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("a.bin"));
    let bytes = file_bytes(95);
    fs::write(&file, &bytes).unwrap();
    let settings = [("PARTWAY_CHUNK_SIZE", "10")];
    let server = Server::start(&data, &settings);
    let token = server.first_token.clone();
    let upload = |server: &Server| {
        let uploaded = Cli::new(&["upload", file.to_str().unwrap()]).to(server, &token).run();
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
        assert!(String::from_utf8_lossy(&uploaded.stdout).contains(&sha256_hex(&bytes)));
    };
    let client = Client::new(&server.url, &token).unwrap();
    let begin = async |key: &str| {
        let id = client.create(&NewUpload::named("a.bin", 95, key)).await.unwrap().session_id;
        assert_eq!(server.put(&token, &id, 1, &bytes[..10]), Some(201));
        id
    };
    let id = begin("while it runs").await;
    fs::remove_file(data.join("files/uploading").join(&id)).unwrap();
    upload(&server);
    assert_eq!(client.session(&id).await.unwrap().status_reason.as_deref(), Some("bytes_lost"));

    let (id, address) = (begin("while it is stopped").await, server.address.clone());
    server.kill();
    fs::remove_dir_all(data.join("files/uploading")).unwrap();
    // The finished one of before is no reason to believe that the file is stored.
    let stored = || fs::read_dir(data.join("files/stored")).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(stored().next().unwrap()).unwrap();
    let server = Server::start_on(&address, &data, &settings);
    upload(&server);
    assert_eq!(fs::read(stored().next().unwrap()).unwrap(), bytes);
    assert_eq!(server.put(&token, &id, 1, &bytes[..10]), Some(409));
}

/// Flips two bytes of part 1.
fn damage(file: &std::path::Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[3..5].iter_mut().for_each(|byte| *byte ^= 1);
    // In place: what writes to the file is told by the file alone.
    std::io::Write::write_all(&mut fs::File::options().write(true).open(file).unwrap(), &bytes).unwrap();
}

#[tokio::test]
async fn damage_is_not_finalized() {
    // Whether the parts were hashed before, are after it, or never.
    for (file_sha256, is_restarted) in
        [(FileSha256::Always, false), (FileSha256::Always, true), (FileSha256::OnRequest, false)]
    {
        let app = TestApp::on_disk_with(|config| config.limits.file_sha256 = file_sha256).await;
        let user = app.user("ann").await;
        let file = file_bytes(25);
        let id = user.create_id(25).await;
        let path = app.storage().join("uploading").join(&id);
        user.put_parts(&id, &file, [1, 3]).await;
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        damage(&path);
        if is_restarted {
            // As a disk does it: nothing tells of it but the bytes.
            fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        }
        user.put_parts(&id, &file, [2]).await;
        let (app, user) = match is_restarted {
            true => {
                let app = app.restarted().await;
                let router = app.router.clone();
                (app, TestUser { router, ..user })
            }
            false => (app, user),
        };
        assert_lost(&user.finalize(&id).await);
        assert_failed(&app, &user, &id).await;
    }
}

#[tokio::test]
async fn damage_after_the_last_part_is_not_finalized_either_and_a_touch_does_no_harm() {
    let (app, user, id, path) = under_way(&[2, 1, 3]).await;
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let touched = user.create_id(25).await;
    user.put_parts(&touched, &file_bytes(25), [1, 2, 3]).await;
    let other = fs::File::options().write(true).open(app.storage().join("uploading").join(&touched)).unwrap();
    other.set_modified(std::time::UNIX_EPOCH).unwrap();
    damage(&path);
    assert_lost(&user.finalize(&id).await);
    let done = user.finalize(&touched).await.expect(200).json();
    assert_eq!(done["file"]["sha256"], sha256_hex(&file_bytes(25)));
}

/// As left behind by a crash between the rename and the commit.
#[tokio::test]
async fn damage_of_a_file_that_is_complete_already_is_found_too() {
    let (app, user, id, path) = under_way(&[1, 2, 3]).await;
    app.expect_damage();
    let stored = app.storage().join("stored").join(user.status(&id).await["file"]["file_id"].as_str().unwrap());
    fs::rename(path, &stored).unwrap();
    damage(&stored);
    assert_lost(&user.finalize(&id).await);
}

/// A folder that is not mounted for a while has lost nothing.
#[tokio::test]
async fn a_storage_that_is_not_there_ends_no_session() {
    let (app, user, id, _) = under_way(&[1]).await;
    let stored = user.upload(b"0123456789").await;
    let content = format!("/files/{}/content", stored["file"]["file_id"].as_str().unwrap());
    let away = app.folder().join("away");
    fs::rename(app.storage(), &away).unwrap();
    assert_eq!(app.service.sweep().await.lost, 0);
    assert_eq!(user.put(&id, 2, "0123456789").await.problem(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(user.get(&content).await.problem(), (503, "UNAVAILABLE".to_owned()));
    fs::rename(&away, app.storage()).unwrap();
    app.service.sweep().await;
    user.put_parts(&id, &file_bytes(25), [2, 3]).await;
    user.finalize(&id).await.expect(200);
    user.get(&content).await.expect(200);
}

/// A complete file may be all that is left, as after the restore of an older database.
#[tokio::test]
async fn the_sweep_frees_lost_parts_and_keeps_a_complete_file() {
    let (app, user, id, uploading) = under_way(&[1]).await;
    app.expect_damage();
    let file_id = user.status(&id).await["file"]["file_id"].as_str().unwrap().to_owned();
    fs::remove_file(&uploading).unwrap();
    assert_lost(&user.put(&id, 2, file_bytes(25)[10..20].to_vec()).await);
    // As if the server had been killed before it freed the bytes.
    let stored = app.storage().join("stored").join(file_id);
    fs::write(&stored, file_bytes(25)).unwrap();
    fs::write(&uploading, b"left").unwrap();
    app.execute("UPDATE upload_session SET bytes_freed = FALSE").await;
    app.service.sweep().await;
    assert!(stored.exists() && !uploading.exists());
}
