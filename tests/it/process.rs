//! The real binary as a process: start, signals and data folder.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
};

use partway::client::{Client, NewUpload};
use rustix::process::Signal;

use crate::support::{Cli, Deadline, Server, TestApp, crc64nvme, file_bytes, local_digests};

#[tokio::test]
async fn a_first_start_prints_a_token_that_works_and_a_second_start_prints_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    assert!(server.first_token.starts_with("pw_"));
    let client = Client::new(&server.url, &server.first_token).unwrap();
    client.create(&NewUpload::named("a", 5, "k")).await.unwrap();
    let token = server.first_token.clone();
    server.kill();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.sessions(&token, "INIT").len(), 1);
}

#[tokio::test]
async fn after_a_clean_stop_the_database_file_contains_everything() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sqlite = [("PARTWAY_DATABASE", "")];
    let server = Server::start(folder.path(), &sqlite);
    let token = server.first_token.clone();
    Client::new(&server.url, &token).unwrap().create(&NewUpload::named("a", 5, "k")).await.unwrap();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    std::fs::create_dir(copy.path().join("files")).unwrap();
    for file in ["partway.db", "files/partway.id", ".started"] {
        std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let server = Server::start(copy.path(), &sqlite);
    assert_eq!(server.sessions(&token, "INIT").len(), 1);
}

#[test]
fn a_second_server_on_the_same_folder_fails_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[]);
    let data = folder.path().to_str().unwrap();
    let refused = Cli::new(&["serve", "--listen", "127.0.0.1:0", "--data", data]).run();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another partway process"));
}

/// A regression test: with its own storage folder, a second server could start on the same database.
#[test]
fn a_second_server_on_the_same_database_fails_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[("PARTWAY_DATABASE", "")]);
    let data = folder.path().to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let storage = elsewhere.path().to_str().unwrap();
    let refused = Cli::new(&["serve", "--listen", "127.0.0.1:0", "--data", data, "--storage", storage]);
    let refused = refused.on_sqlite().run();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another partway process"));
}

#[tokio::test]
async fn a_database_from_a_newer_version_is_rejected() {
    let app = TestApp::on_disk().await;
    app.expect_damage();
    app.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_from_the_future', 0)")
        .await;
    for command in ["serve", "migrate", "check"] {
        let refused = Cli::new(&[command, "--data", app.folder().to_str().unwrap()]).run();
        assert!(!refused.status.success());
        let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(printed.contains("newer version") && printed.contains("from_the_future"), "{printed}");
    }
}

#[test]
fn settings_that_exceed_the_limits_of_an_object_store_are_rejected_at_the_start() {
    for (name, value) in [("PARTWAY_CHUNK_SIZE", "1MiB"), ("PARTWAY_MAX_PARTS", "10001")] {
        let refused = Cli::new(&["serve", "--storage", "s3://bucket/prefix"]).env(name, value).run();
        assert!(!refused.status.success());
        let printed = String::from_utf8_lossy(&refused.stderr).to_uppercase();
        assert!(printed.contains(name.trim_start_matches("PARTWAY_")), "{printed}");
    }
}

#[test]
fn the_error_for_an_invalid_setting_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for (name, value) in [("PARTWAY_CHUNK_SIZE", "0"), ("PARTWAY_CHUNKSIZE", "1"), ("PARTWAY_SESSION_TTL", "soon")] {
        let refused = Cli::new(&["serve", "--data", data]).env(name, value).run();
        assert!(!refused.status.success());
        let printed = String::from_utf8_lossy(&refused.stderr).to_uppercase();
        assert!(printed.contains(name.trim_start_matches("PARTWAY_")), "{printed}");
    }
    std::fs::write(folder.path().join("partway.toml"), "chunk_sice = 5").unwrap();
    let refused = Cli::new(&["serve", "--data", data]).in_folder(folder.path()).run();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chunk_sice"));
}

#[tokio::test]
async fn after_sigterm_a_running_part_completes_and_ready_returns_503() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let id = client.create(&NewUpload::named("a", 10, "k")).await.unwrap().session_id;
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "PUT /uploads/sessions/{id}/parts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        server.first_token
    );
    socket.write_all(head.as_bytes()).unwrap();
    // `100 Continue` shows that the handler reads the body, so the request is running.
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue"));
    socket.write_all(b"01234").unwrap();

    server.signal(Signal::TERM);
    let mut ready = String::new();
    let deadline = Deadline::new();
    while !ready.starts_with("HTTP/1.1 503") {
        deadline.wait_for("/ready to return 503");
        let mut probe = TcpStream::connect(&server.address).unwrap();
        probe.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        ready.clear();
        probe.read_to_string(&mut ready).unwrap();
    }
    assert!(ready.contains("UNAVAILABLE"), "{ready}");
    socket.write_all(b"56789").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
}

/// A regression test: with `stored` on its own volume, every finalize failed with 500 while `/ready` returned 200.
#[test]
fn storage_folders_on_two_file_systems_are_rejected_at_the_start() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("files/stored")).unwrap();
    let data = folder.path().to_str().unwrap();
    let refused = Cli::new(&["serve", "--listen", "127.0.0.1:0", "--data", data]).run();
    assert!(!refused.status.success());
    let printed = String::from_utf8_lossy(&refused.stderr);
    assert!(printed.contains("must be on one file system"), "{printed}");
}

/// As on hosts where no user may list the parent of the home folders. Root may list any folder, so as root this test proves
/// nothing.
#[test]
fn the_server_starts_in_a_folder_whose_parent_cannot_be_listed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let mode = |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o311);
    let server = Server::start(&folder.path().join("data"), &[]);
    assert_eq!(server.get("/ready").0, 200);
    drop(server);
    mode(0o700);
}

/// An update may change the default size of a part. A session that is open goes on in its own parts: by `PUT`, and by
/// `partway upload`, which sends only what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_session_keeps_its_part_size_when_the_default_changes() {
    const EARLIER: usize = 5 << 20;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_CHUNK_SIZE", "5MiB")]);
    let token = server.first_token.clone();
    let bytes = file_bytes(2 * EARLIER + 1_000);
    let part = |number: usize| bytes.chunks(EARLIER).nth(number - 1).unwrap();
    let create = async |server: &Server, name| {
        let client = Client::new(&server.url, &token).unwrap();
        client.create(&NewUpload::named(name, bytes.len() as u64, name)).await.unwrap()
    };
    let [by_put, by_upload] =
        [create(&server, "put.bin").await.session_id, create(&server, "upload.bin").await.session_id];
    for id in [&by_put, &by_upload] {
        assert_eq!(server.put(&token, id, 2, part(2)), Some(201));
    }
    server.kill();

    let server = Server::start(folder.path(), &[]);
    let client = Client::new(&server.url, &token).unwrap();
    let session = client.session(&by_put).await.unwrap();
    assert_eq!((session.chunk_size_bytes, session.total_parts), (EARLIER as u64, 3));
    for number in [1, 3] {
        assert_eq!(server.put(&token, &by_put, number, part(number)), Some(201));
    }
    let done = client.finalize(&by_put, local_digests(&bytes, EARLIER)).await.unwrap();
    assert_eq!(done.file.crc64nvme, Some(crc64nvme(&bytes)));

    let file = folder.path().join("upload.bin");
    std::fs::write(&file, &bytes).unwrap();
    let uploaded = Cli::new(&["upload", file.to_str().unwrap()]).to(&server, &token).run();
    let printed = String::from_utf8_lossy(&uploaded.stderr);
    assert!(printed.contains("the server has 1 of 3 parts"), "{printed}");
    assert_eq!(client.session(&by_upload).await.unwrap().status, "COMPLETE");

    let new = create(&server, "new.bin").await;
    assert_eq!((new.chunk_size_bytes, new.total_parts), (8 << 20, 2));
}
