//! Interim answers on the wire: `104 (Upload Resumption Supported)`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{Server, file_bytes};

/// Longer than every answer takes on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);

/// A connection to a server.
struct Wire {
    address: String,
    token: String,
    socket: TcpStream,
}

/// The head of an answer.
#[derive(Debug)]
struct Head(String);

impl Head {
    fn status(&self) -> u16 {
        self.0.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
    }

    /// A header; empty if there is none.
    fn header(&self, name: &str) -> &str {
        let fields = self.0.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

impl Wire {
    fn to(server: &Server) -> Self {
        Self::open(&server.address, &server.first_token)
    }

    fn open(address: &str, token: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LONGEST)).unwrap();
        Self { address: address.to_owned(), token: token.to_owned(), socket }
    }

    /// Sends the head of a request. `headers` are lines.
    fn send(&mut self, request_line: &str, headers: &str) {
        let token = &self.token;
        let head = format!("{request_line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
        self.send_bytes(head.as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Reads the next head, byte by byte, so that nothing after it is read.
    fn head(&mut self) -> Head {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Head(String::from_utf8(head).unwrap())
    }

    /// Reads the next answer with its body.
    fn answer(&mut self) -> (Head, String) {
        let head = self.head();
        let mut body = vec![0; head.header("content-length").parse().unwrap_or(0)];
        self.socket.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    fn offset(&self, location: &str) -> String {
        let mut wire = Self::open(&self.address, &self.token);
        wire.send(&format!("HEAD {}", path(location)), "");
        let head = wire.head();
        assert_eq!(head.status(), 204, "{head:?}");
        head.header("upload-offset").to_owned()
    }
}

fn path(url: &str) -> &str {
    url.strip_prefix("http://x").unwrap()
}

fn start() -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    (folder, server)
}

/// The default size of a part.
const PART: usize = 8 << 20;
const COMPLETE: &str = "Upload-Draft-Interop-Version: 8\r\nUpload-Complete: ?1\r\n";

#[test]
fn a_creation_is_told_the_uploads_url_before_its_answer() {
    let (_folder, server) = start();
    for version in ["5", "6", "7", "8"] {
        let mut wire = Wire::to(&server);
        let headers =
            format!("Upload-Draft-Interop-Version: {version}\r\nUpload-Complete: ?1\r\nContent-Length: 5\r\n");
        wire.send("POST /files", &headers);
        // The body comes after the client has read the interim answer.
        let interim = wire.head();
        assert_eq!(interim.status(), 104, "{interim:?}");
        assert!(interim.0.starts_with("HTTP/1.1 104 Upload Resumption Supported\r\n"), "{interim:?}");
        assert_eq!(interim.header("upload-draft-interop-version"), version);
        assert!(interim.header("upload-limit").starts_with("max-size="), "{interim:?}");
        let location = interim.header("location");
        assert_eq!(wire.offset(location), "0");
        wire.send_bytes(b"hello");
        let (answer, _) = wire.answer();
        assert_eq!((answer.status(), answer.header("upload-complete")), (201, "?1"));
        assert_eq!(wire.offset(location), "5");
    }
}

#[test]
fn only_a_client_that_names_a_version_that_the_server_speaks_gets_interim_answers() {
    let (_folder, server) = start();
    for headers in [
        "Upload-Complete: ?1\r\n",
        "Upload-Draft-Interop-Version: 4\r\nUpload-Complete: ?1\r\n",
        "Upload-Draft-Interop-Version: 9\r\nUpload-Complete: ?1\r\n",
        "Upload-Draft-Interop-Version: 8\r\n",
        "",
    ] {
        let mut wire = Wire::to(&server);
        wire.send("POST /files", &format!("{headers}Content-Length: 5\r\n"));
        wire.send_bytes(b"hello");
        assert_eq!(wire.head().status(), 201, "{headers}");
    }
    let mut old = Wire::to(&server);
    let token = &server.first_token;
    let head = format!("POST /files HTTP/1.0\r\nAuthorization: Bearer {token}\r\n{COMPLETE}Content-Length: 5\r\n\r\n");
    old.send_bytes(head.as_bytes());
    old.send_bytes(b"hello");
    let mut answer = String::new();
    old.socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 201"), "{answer}");
}

#[test]
fn a_client_that_expects_100_continue_gets_both() {
    let (_folder, server) = start();
    let mut wire = Wire::to(&server);
    wire.send("POST /files", &format!("{COMPLETE}Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(wire.head().status(), 104);
    assert_eq!(wire.head().status(), 100);
    wire.send_bytes(b"hello");
    assert_eq!(wire.head().status(), 201);
}

#[test]
fn a_refused_creation_gets_its_answer_alone() {
    let (_folder, server) = start();
    let mut wire = Wire::to(&server);
    wire.send("POST /files", &format!("{COMPLETE}Upload-Length: 6\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(wire.head().status(), 400);
}

#[test]
fn pipelined_requests_get_whole_answers_in_their_order() {
    let (_folder, server) = start();
    let mut wire = Wire::to(&server);
    let mut requests = Vec::new();
    let token = &server.first_token;
    for number in 0..20 {
        let head = format!(
            "POST /files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{COMPLETE}\
             Content-Disposition: inline; filename=\"{number}\"\r\nContent-Length: 5\r\n\r\nhello"
        );
        requests.extend_from_slice(head.as_bytes());
    }
    wire.send_bytes(&requests);
    for number in 0..20 {
        let (interim, _) = wire.answer();
        let (answer, body) = match interim.status() {
            104 => wire.answer(),
            _ => (interim, String::new()),
        };
        assert_eq!(answer.status(), 201, "{answer:?}");
        let record: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(record["original_filename"], number.to_string());
    }
}

#[test]
fn a_long_upload_is_told_which_bytes_are_durable() {
    let (_folder, server) = start();
    let file = file_bytes(PART + 1_000_000);
    let mut wire = Wire::to(&server);
    wire.send("POST /files", &format!("{COMPLETE}Content-Length: {}\r\n", file.len()));
    let location = wire.head().header("location").to_owned();
    wire.send_bytes(&file[..PART]);
    let progress = wire.head();
    assert_eq!((progress.status(), progress.header("upload-offset")), (104, &*PART.to_string()), "{progress:?}");
    assert_eq!((progress.header("location"), progress.header("upload-draft-interop-version")), ("", "8"));
    assert_eq!(wire.offset(&location), PART.to_string());
    wire.send_bytes(&file[PART..]);
    assert_eq!(wire.head().status(), 201);
}

#[test]
fn a_client_whose_connection_breaks_goes_on_at_the_announced_url() {
    let (folder, server) = start();
    let file = file_bytes(PART + 1_000_000);
    let mut wire = Wire::to(&server);
    wire.send("POST /files", &format!("{COMPLETE}Content-Length: {}\r\n", file.len()));
    let location = wire.head().header("location").to_owned();
    wire.send_bytes(&file[..PART + 1_000]);
    assert_eq!(wire.head().header("upload-offset"), PART.to_string());
    let token = wire.token;
    drop(wire.socket);
    // Also after the server was killed.
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let mut wire = Wire::open(&server.address, &token);
    let offset: usize = wire.offset(&location).parse().unwrap();
    assert!((PART..=PART + 1_000).contains(&offset), "{offset}");
    let headers = format!(
        "{COMPLETE}Content-Type: application/partial-upload\r\nUpload-Offset: {offset}\r\nContent-Length: {}\r\n",
        file.len() - offset
    );
    wire.send(&format!("PATCH {}", path(&location)), &headers);
    wire.send_bytes(&file[offset..]);
    let (answer, body) = wire.answer();
    assert_eq!(answer.status(), 201, "{body}");
    let record: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(record["crc64nvme"], crate::support::crc64nvme(&file));
}

#[test]
fn a_client_that_reads_nothing_while_it_sends_is_stored_all_the_same() {
    let (_folder, server) = start();
    let file = file_bytes(20 << 20);
    let mut wire = Wire::to(&server);
    wire.send("POST /files", &format!("{COMPLETE}Content-Length: {}\r\n", file.len()));
    wire.send_bytes(&file);
    let statuses: Vec<_> =
        std::iter::from_fn(|| Some(wire.head().status())).take_while(|status| *status == 104).collect();
    assert!(!statuses.is_empty());
}
