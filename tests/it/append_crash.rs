//! The real binary, killed at random times while a client of tus appends 64 KiB at a time.
//!
//! After every kill: the offset is not below an acknowledged one, and not below an earlier one. At the end the stored file is
//! the local one.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Random, Server, crc64nvme, exchange, file_bytes};

const APPEND: usize = 64 * 1024;
/// Parts of 320 KiB, so that most appends end inside a part.
const CHUNKS: (&str, &str) = ("PARTWAY_CHUNK_SIZE", "327680");

/// A client of tus without retries.
struct Client<'a> {
    server: &'a Server,
    token: &'a str,
}

/// The head of a response.
struct Head {
    status: u16,
    lines: Vec<String>,
}

impl Head {
    fn read(socket: TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
        let status = lines.next()?.get(9..12)?.parse().ok()?;
        Some(Self { status, lines: lines.take_while(|line| !line.is_empty()).collect() })
    }

    fn header(&self, name: &str) -> &str {
        let headers = self.lines.iter().filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn offset(&self) -> usize {
        self.header("upload-offset").parse().unwrap()
    }
}

impl Client<'_> {
    /// Sends the head of a request.
    fn begin(&self, method: &str, path: &str, headers: &str) -> Option<TcpStream> {
        let mut socket = TcpStream::connect(&self.server.address).ok()?;
        let head = format!(
            "{method} /uploads/tus{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\n\
             Connection: close\r\n{headers}\r\n",
            self.token
        );
        socket.write_all(head.as_bytes()).ok()?;
        Some(socket)
    }

    fn create(&self, size: usize) -> String {
        let created = self.begin("POST", "", &format!("Upload-Length: {size}\r\nContent-Length: 0\r\n"));
        let created = Head::read(created.unwrap()).unwrap();
        assert_eq!(created.status, 201);
        created.header("location").rsplit('/').next().unwrap().to_owned()
    }

    fn offset(&self, id: &str) -> usize {
        let head = Head::read(self.begin("HEAD", &format!("/{id}"), "").unwrap()).unwrap();
        assert_eq!(head.status, 200);
        head.offset()
    }

    fn begin_append(&self, id: &str, offset: usize, length: usize) -> Option<TcpStream> {
        let headers = format!(
            "Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n"
        );
        self.begin("PATCH", &format!("/{id}"), &headers)
    }

    /// Returns the acknowledged offset.
    fn append(&self, id: &str, offset: usize, bytes: &[u8]) -> usize {
        let mut socket = self.begin_append(id, offset, bytes.len()).unwrap();
        socket.write_all(bytes).unwrap();
        let head = Head::read(socket).unwrap();
        assert_eq!(head.status, 204);
        head.offset()
    }
}

fn run(folder: &Path, settings: &[(&str, &str)], kills: usize, mut random: Random) {
    // A kill comes after 2 whole appends on average.
    let file = file_bytes(APPEND * 4 * kills);
    let first = Server::start(folder, settings);
    let token = first.first_token.clone();
    let id = Client { server: &first, token: &token }.create(file.len());
    first.kill();
    let mut known = 0;
    for _ in 0..kills {
        let server = Server::start(folder, settings);
        let client = Client { server: &server, token: &token };
        let offset = client.offset(&id);
        assert!(offset >= known, "{offset} < {known}");
        known = offset;
        for _ in 0..random.below(5) {
            let bytes = &file[known..file.len().min(known + APPEND)];
            let acknowledged = client.append(&id, known, bytes);
            assert_eq!(acknowledged, known + bytes.len());
            known = acknowledged;
        }
        // Kill it while this much of an append has been sent, or all of it and the answer is on its way.
        let bytes = &file[known..file.len().min(known + APPEND)];
        let sent = random.below(2 * bytes.len()).min(bytes.len());
        if let Some(mut socket) = client.begin_append(&id, known, bytes.len()) {
            socket.write_all(&bytes[..sent]).unwrap();
        }
        server.signal(Signal::KILL);
    }
    let server = Server::start(folder, settings);
    let client = Client { server: &server, token: &token };
    let offset = client.offset(&id);
    assert!(offset >= known);
    assert_eq!(client.append(&id, offset, &file[offset..]), file.len());
    let (_, status) = exchange(&server.address, "GET", &format!("/uploads/sessions/{id}"), &token, b"").unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["status"], &status["file"]["crc64nvme"]), (&json!("COMPLETE"), &json!(crc64nvme(&file))));
    server.kill();
}

#[test]
fn after_a_kill_the_offset_is_not_below_an_acknowledged_one() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[CHUNKS], 12, Random::new(3));
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn after_a_thousand_kills_the_offset_is_not_below_an_acknowledged_one() {
    let folder = tempfile::tempdir().unwrap();
    // On SQLite, which the kills could damage.
    run(folder.path(), &[CHUNKS, ("PARTWAY_DATABASE", "")], 1_000, Random::new(4));
}
