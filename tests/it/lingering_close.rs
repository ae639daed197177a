//! The lingering close: a client reads an early refusal although it is still sending its body.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::support::Server;

#[test]
fn a_client_that_sends_megabytes_reads_an_early_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for (token, status) in [("pw_wrong", 401), (server.first_token.as_str(), 404)] {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        // A part of the default size.
        let body = vec![7; 8 * 1024 * 1024];
        let head = format!(
            "PUT /uploads/sessions/x/parts/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        // Most clients send the whole body before they read the answer.
        socket.write_all(&body).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_the_refusal_instead() {
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
