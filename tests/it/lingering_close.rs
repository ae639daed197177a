//! Refusals that come before the body was read must reach a sender who is still sending.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::support::Server;

#[test]
fn a_refusal_reaches_a_sender_of_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for (token, status) in [("pw_wrong", 401), (server.first_token.as_str(), 404)] {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        let body = vec![7; 5 * 1024 * 1024];
        let head = format!(
            "PUT /uploads/sessions/x/parts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        // All of it goes out before the answer is looked at: what most clients do.
        socket.write_all(&body).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[test]
fn a_sender_that_waits_to_be_asked_is_not_asked_for_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let head =
        "PUT /uploads/sessions/x/parts/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
