//! Lost bytes: how each operation detects them, and what then happens to the session or file.

use std::{fs, path::PathBuf};

use chrono::TimeDelta;
use partway::{
    client::{Client, NewUpload},
    service::{CheckOptions, FileSha256},
};
use serde_json::json;

use crate::support::{Answer, Cli, Server, TestApp, TestUser, crc64nvme, file_bytes};

/// A session with parts of 10, 10 and 5 bytes, of which `parts` have arrived, and the path of its file.
async fn partial_upload(parts: &[u32]) -> (TestApp, TestUser, String, PathBuf) {
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
    assert!(app.bytes_on_disk().is_empty(), "the server frees the remaining bytes");
    let problems = app.service.check(CheckOptions::default()).await.unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

/// The server must not create the file again for a later part: finalize would take the new file's holes for parts.
#[tokio::test]
async fn a_part_request_detects_a_deleted_or_truncated_file() {
    for number in [1, 2] {
        let (app, user, id, file) = partial_upload(&[1]).await;
        fs::remove_file(file).unwrap();
        assert_lost(&user.put(&id, number, file_bytes(25)[(number as usize - 1) * 10..][..10].to_vec()).await);
        assert_failed(&app, &user, &id).await;

        let (app, user, id, file) = partial_upload(&[1]).await;
        fs::File::options().write(true).open(file).unwrap().set_len(12).unwrap();
        assert_lost(&user.put(&id, number, file_bytes(25)[(number as usize - 1) * 10..][..10].to_vec()).await);
        assert_failed(&app, &user, &id).await;
    }
}

#[tokio::test]
async fn finalize_detects_a_deleted_or_truncated_file() {
    let (app, user, id, file) = partial_upload(&[1, 2, 3]).await;
    fs::remove_file(file).unwrap();
    assert_lost(&user.finalize(&id).await);
    assert_failed(&app, &user, &id).await;
    assert_lost(&user.finalize(&id).await);

    let (app, user, id, file) = partial_upload(&[1, 2, 3]).await;
    fs::File::options().write(true).open(file).unwrap().set_len(24).unwrap();
    assert_lost(&user.finalize(&id).await);
    assert_failed(&app, &user, &id).await;
}

#[tokio::test]
async fn the_sweep_detects_a_deleted_file_and_leaves_other_sessions_open() {
    let (app, user, id, file) = partial_upload(&[2]).await;
    let others = [user.create_id(25).await, user.create_id(25).await];
    user.put(&others[0], 1, "0123456789").await.expect(201);
    let whole = user.create(5).await;
    user.put(whole["session_id"].as_str().unwrap(), 1, "01234").await.expect(201);
    // The state after a crash between the rename and the commit.
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

#[tokio::test]
async fn a_sweep_looks_at_some_open_sessions_and_the_next_one_goes_on() {
    let app = TestApp::on_disk_with(|config| config.limits.max_open_sessions = 1_000).await;
    let user = app.user("ann").await;
    let mut files = Vec::new();
    for _ in 0..150 {
        let id = user.create_id(25).await;
        user.put(&id, 1, "0123456789").await.expect(201);
        files.push(app.storage().join("uploading").join(id));
    }
    fs::remove_file(&files[149]).unwrap();
    assert_eq!(app.service.sweep().await.lost, 0);
    assert_eq!(app.service.sweep().await.lost, 1);
    // It has seen all, and begins again.
    fs::remove_file(&files[0]).unwrap();
    assert_eq!(app.service.sweep().await.lost, 1);
}

/// The database was restored from a backup in which a session that was finalized later is still open.
#[tokio::test]
async fn a_complete_file_survives_even_if_its_session_is_still_open() {
    let (app, user, id, file) = partial_upload(&[1]).await;
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
async fn a_download_of_a_deleted_or_truncated_file_fails_with_bytes_lost() {
    let app = TestApp::on_disk().await;
    let user = app.user("ann").await;
    let bytes = file_bytes(25);
    let file = user.upload(&bytes).await["file"]["file_id"].as_str().unwrap().to_owned();
    let (path, stored) = (format!("/files/{file}/content"), app.storage().join("stored").join(&file));
    fs::File::options().write(true).open(&stored).unwrap().set_len(24).unwrap();
    for _ in ["truncated", "deleted"] {
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

/// The second case is a folder without `uploading/`, as after the restore that docs/operations.md describes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upload_command_starts_a_new_session_if_the_server_lost_the_bytes() {
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
        assert!(String::from_utf8_lossy(&uploaded.stdout).contains(&crc64nvme(&bytes)));
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
    // The first upload's stored file is gone too, so the client must not rely on its finished session.
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
    // Writes in place, like another process that changes the file.
    std::io::Write::write_all(&mut fs::File::options().write(true).open(file).unwrap(), &bytes).unwrap();
}

#[tokio::test]
async fn finalize_detects_damaged_bytes() {
    // The server hashes the file before the damage, after it (it loses the hash in the restart), or not at all.
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
            // Damage by the disk itself does not change the modification time.
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
async fn finalize_detects_damage_after_the_last_part_and_accepts_a_changed_modification_time() {
    let (app, user, id, path) = partial_upload(&[2, 1, 3]).await;
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let touched = user.create_id(25).await;
    user.put_parts(&touched, &file_bytes(25), [1, 2, 3]).await;
    let other = fs::File::options().write(true).open(app.storage().join("uploading").join(&touched)).unwrap();
    other.set_modified(std::time::UNIX_EPOCH).unwrap();
    damage(&path);
    assert_lost(&user.finalize(&id).await);
    let done = user.finalize(&touched).await.expect(200).json();
    assert_eq!(done["file"]["crc64nvme"], crc64nvme(&file_bytes(25)));
}

/// The state after a crash between the rename and the commit.
#[tokio::test]
async fn finalize_detects_damage_of_a_file_that_was_already_renamed() {
    let (app, user, id, path) = partial_upload(&[1, 2, 3]).await;
    app.expect_damage();
    let stored = app.storage().join("stored").join(user.status(&id).await["file"]["file_id"].as_str().unwrap());
    fs::rename(path, &stored).unwrap();
    damage(&stored);
    assert_lost(&user.finalize(&id).await);
}

/// A folder can be unmounted for a while. No bytes are lost then.
#[tokio::test]
async fn a_missing_storage_folder_makes_requests_unavailable_and_ends_no_session() {
    let (app, user, id, _) = partial_upload(&[1]).await;
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

/// After the restore of an older database, the complete file may be the only copy.
#[tokio::test]
async fn a_missing_folder_for_stored_files_ends_no_session() {
    let (app, user, id, _) = partial_upload(&[1, 2, 3]).await;
    let [stored, away] = ["stored", "away"].map(|name| app.storage().join(name));
    fs::rename(&stored, &away).unwrap();
    assert_eq!(user.finalize(&id).await.problem(), (500, "INTERNAL".to_owned()));
    fs::rename(away, stored).unwrap();
    assert_eq!(user.finalize(&id).await.expect(200).json()["file"]["crc64nvme"], crc64nvme(&file_bytes(25)));
}

#[tokio::test]
async fn the_sweep_frees_lost_parts_and_keeps_a_complete_file() {
    let (app, user, id, uploading) = partial_upload(&[1]).await;
    app.expect_damage();
    let file_id = user.status(&id).await["file"]["file_id"].as_str().unwrap().to_owned();
    fs::remove_file(&uploading).unwrap();
    assert_lost(&user.put(&id, 2, file_bytes(25)[10..20].to_vec()).await);
    // The state after a crash before the server freed the bytes.
    let stored = app.storage().join("stored").join(file_id);
    fs::write(&stored, file_bytes(25)).unwrap();
    fs::write(&uploading, b"left over").unwrap();
    app.execute("UPDATE upload_session SET bytes_freed = FALSE").await;
    app.service.sweep().await;
    assert!(stored.exists() && !uploading.exists());
}
