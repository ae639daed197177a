//! Late, refused and failing puts: the real binary on a fake S3 store.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{FakeS3, Server, crc64nvme, exchange, file_bytes};

/// The smallest part size that S3 accepts, except for the last part.
const PART: usize = 5 * 1024 * 1024;

struct ServerOnS3 {
    s3: FakeS3,
    server: Server,
    _folder: TempDir,
}

impl ServerOnS3 {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let s3 = FakeS3::start().await;
        let server = start(folder.path(), &s3, &[]);
        Self { s3, server, _folder: folder }
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, text) = exchange(&self.server.address, method, path, &self.server.first_token, body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    fn create(&self, size: usize) -> String {
        let new = json!({ "original_filename": "f", "total_size_bytes": size }).to_string();
        let (status, session) = self.request("POST", "/uploads/sessions", new.as_bytes());
        assert_eq!(status, 201, "{session}");
        format!("/uploads/sessions/{}", session["session_id"].as_str().unwrap())
    }

    fn put(&self, session: &str, number: usize, file: &[u8]) -> (u16, Value) {
        self.request("PUT", &format!("{session}/parts/{number}"), file.chunks(PART).nth(number - 1).unwrap())
    }

    fn finalize(&self, session: &str) -> (u16, Value) {
        self.request("POST", &format!("{session}/finalize"), b"{}")
    }
}

fn start(folder: &Path, s3: &FakeS3, settings: &[(&str, &str)]) -> Server {
    Server::start(folder, &[&s3.settings()[..], &[("PARTWAY_CHUNK_SIZE", &PART.to_string())], settings].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalize_detects_a_late_put_and_asks_for_the_part_again() {
    let server = ServerOnS3::start().await;
    let file = file_bytes(2 * PART + 100);
    let session = server.create(file.len());
    for number in 1..=3 {
        assert_eq!(server.put(&session, number, &file).0, 201);
    }
    server.s3.put_late(1, &vec![7; PART]);
    server.s3.put_late(3, &file[2 * PART..]);
    let (status, problem) = server.finalize(&session);
    assert_eq!((status, &problem["code"]), (409, &json!("PARTS_MISSING")), "{problem}");
    assert_eq!(problem["missing_parts"], json!(["1", "3"]));
    let (_, status) = server.request("GET", &session, b"");
    assert_eq!((&status["received_parts"], &status["bytes_received"]), (&json!(["2"]), &json!(PART)));
    for number in [3, 1] {
        assert_eq!(server.put(&session, number, &file).0, 201);
    }
    let (status, done) = server.finalize(&session);
    assert_eq!((status, &done["file"]["crc64nvme"]), (200, &json!(crc64nvme(&file))), "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_can_send_a_replaced_part_again_with_other_bytes() {
    let server = ServerOnS3::start().await;
    let (before, after) = (file_bytes(100), vec![9; 100]);
    let session = server.create(100);
    assert_eq!(server.put(&session, 1, &before).0, 201);
    server.s3.put_late(1, &before);
    assert_eq!(server.finalize(&session).0, 409);
    assert_eq!(server.put(&session, 1, &after).0, 201);
    assert_eq!(server.finalize(&session).1["file"]["crc64nvme"], crc64nvme(&after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_put_fails_at_once_makes_the_server_not_ready_and_releases_the_lease() {
    let server = ServerOnS3::start().await;
    let file = file_bytes(100);
    let session = server.create(file.len());
    assert_eq!(server.request("GET", "/ready", b"").0, 200);
    server.s3.refuse_puts(true);
    for _ in 0..4 {
        let (status, problem) = server.put(&session, 1, &file);
        assert_eq!((status, &problem["code"]), (503, &json!("UNAVAILABLE")), "{problem}");
        assert_eq!(server.request("GET", "/ready", b"").0, 503);
    }
    server.s3.refuse_puts(false);
    assert_eq!(server.put(&session, 1, &file).0, 201, "the refused put released its lease");
    assert_eq!(server.request("GET", "/ready", b"").0, 200);
    assert_eq!(server.finalize(&session).1["file"]["crc64nvme"], crc64nvme(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_fails_if_the_store_has_dropped_its_upload() {
    let server = ServerOnS3::start().await;
    let file = file_bytes(PART + 100);
    let [by_part, by_finalize] = [server.create(file.len()), server.create(file.len())];
    for session in [&by_part, &by_finalize] {
        assert_eq!(server.put(session, 1, &file).0, 201);
    }
    assert_eq!(server.put(&by_finalize, 2, &file).0, 201);
    server.s3.drop_uploads();
    for (status, problem) in [server.put(&by_part, 2, &file), server.finalize(&by_finalize)] {
        assert_eq!((status, &problem["status_reason"]), (409, &json!("bytes_lost")), "{problem}");
    }
}

/// Each session goes on as its upload began, also after the store or the settings have changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_checks_each_part_if_it_can() {
    let plain = ServerOnS3::start().await;
    let file = file_bytes(PART + 100);
    let off = [("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")];
    plain.s3.refuse_checksums(true);
    let [without, first] = [plain.create(file.len()), plain.create(file.len())];
    for session in [&without, &first] {
        assert_eq!(plain.put(session, 1, &file).0, 201);
    }
    assert_eq!(plain.put(&first, 2, &file).0, 201);
    assert_eq!((plain.finalize(&first).0, plain.s3.checked_parts()), (200, 0));

    let ServerOnS3 { s3, server, _folder: folder } = plain;
    let token = server.first_token.clone();
    server.kill();
    s3.refuse_checksums(false);
    let restart = |settings: &[(&str, &str)]| {
        let mut server = start(folder.path(), &s3, settings);
        server.first_token.clone_from(&token);
        server
    };
    let request = |server: &Server, method: &str, path: &str, body: &[u8]| {
        exchange(&server.address, method, path, &server.first_token, body).unwrap().0
    };
    let part = |number: usize| file.chunks(PART).nth(number - 1).unwrap();
    let create = |server: &Server| {
        let new = json!({ "original_filename": "f", "total_size_bytes": file.len() }).to_string();
        let created = exchange(&server.address, "POST", "/uploads/sessions", &token, new.as_bytes()).unwrap().1;
        let created: Value = serde_json::from_str(&created).unwrap();
        format!("/uploads/sessions/{}", created["session_id"].as_str().unwrap())
    };
    let server = restart(&[]);
    let checked = create(&server);
    assert_eq!(request(&server, "PUT", &format!("{without}/parts/2"), part(2)), 201);
    assert_eq!(request(&server, "POST", &format!("{without}/finalize"), b"{}"), 200);
    assert_eq!(s3.checked_parts(), 0);
    assert_eq!(request(&server, "PUT", &format!("{checked}/parts/1"), part(1)), 201);
    assert_eq!(s3.checked_parts(), 1);
    server.kill();

    let server = restart(&off);
    let last = create(&server);
    for (session, number) in [(&checked, 2), (&last, 1), (&last, 2)] {
        assert_eq!(request(&server, "PUT", &format!("{session}/parts/{number}"), part(number)), 201);
    }
    for session in [&checked, &last] {
        assert_eq!(request(&server, "POST", &format!("{session}/finalize"), b"{}"), 200);
    }
    assert_eq!(s3.checked_parts(), 2);
}
