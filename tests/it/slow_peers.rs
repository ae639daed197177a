//! Clients below the minimum transfer rate.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::Server;

/// Sends a byte every few milliseconds until the server responds.
fn trickle(server: &Server, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let token = &server.first_token;
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: 5000\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (start, mut answer) = (Instant::now(), [0; 12]);
    while let Err(error) = socket.read_exact(&mut answer) {
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert!(start.elapsed() < Duration::from_secs(20), "the server does not end the request");
        let _ = socket.write_all(b" ");
    }
    String::from_utf8(answer.to_vec()).unwrap()
}

#[test]
fn a_body_below_the_minimum_transfer_rate_ends_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PARTWAY_BODY_IDLE_TIMEOUT", "300ms"), ("PARTWAY_MIN_TRANSFER_RATE", "10KiB")];
    let server = Server::start(folder.path(), &settings);
    let (_, session) = server.post("/uploads/sessions", br#"{"original_filename":"a","total_size_bytes":5000}"#);
    let id = serde_json::from_str::<serde_json::Value>(&session).unwrap()["session_id"].as_str().unwrap().to_owned();
    let part = format!("/uploads/sessions/{id}/parts/1");
    assert_eq!(trickle(&server, "PUT", &part), "HTTP/1.1 503");
    for path in ["/uploads/sessions", "/graphql"] {
        let answer = trickle(&server, "POST", path);
        assert!(answer.starts_with("HTTP/1.1 4") || answer == "HTTP/1.1 503", "{answer}");
    }
    assert_eq!(server.put(&server.first_token, &id, 1, &[7; 5_000]), Some(201));
}
