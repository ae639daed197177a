//! The rules of HTTP/1.1 for `Host`, and those for a WebSocket handshake.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::support::Server;

/// Sends a request and reads until the server closes the connection. Returns the head and the body.
fn exchange(server: &Server, request: &str) -> (String, String) {
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn assert_refused(server: &Server, request: &str) {
    let (head, body) = exchange(server, request);
    assert!(head.starts_with("http/1.1 400") || head.starts_with("http/1.0 400"), "{request}: {head}");
    assert!(head.contains("application/problem+json") && head.contains("x-request-id"), "{request}: {head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "INVALID_INPUT", "{request}: {body}");
}

#[test]
fn a_request_must_have_one_valid_host() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let request = |version: &str, headers: &str| format!("GET /health HTTP/{version}\r\n{headers}\r\n");
    for headers in [
        "Connection: close\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: http://a\r\n",
        "Host: a:port\r\n",
        "Host: a/b\r\n",
        "Host: me@a\r\n",
    ] {
        // The server closes the connection after the answer: it cannot trust the start of the next request.
        assert_refused(&server, &request("1.1", headers));
    }
    assert_refused(&server, &request("1.0", "Host: a\r\nHost: b\r\n"));
    for (version, headers) in
        [("1.0", ""), ("1.1", "Host: a\r\n"), ("1.1", "Host: [::1]:80\r\n"), ("1.0", "Host: a\r\n")]
    {
        let (head, _) = exchange(&server, &request(version, &format!("{headers}Connection: close\r\n")));
        assert!(head[9..].starts_with("200"), "{version} {headers}: {head}");
    }
}

#[test]
fn an_invalid_handshake_is_refused_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let protocol = "Sec-WebSocket-Protocol: graphql-transport-ws\r\n";
    for headers in [
        format!("Connection: close\r\n{key}{protocol}"),
        format!("Connection: upgrade, close\r\n{key}{protocol}"),
        format!("{upgrade}Connection: close\r\n{protocol}"),
        format!("{upgrade}Connection: close\r\nSec-WebSocket-Version: 12\r\n{protocol}"),
        format!("{upgrade}Connection: close\r\n{key}"),
        format!("{upgrade}Connection: close\r\n{key}Sec-WebSocket-Protocol: graphql-ws\r\n"),
        format!("{upgrade}Connection: close\r\n{key}Sec-WebSocket-Protocol: soap\r\n"),
    ] {
        assert_refused(&server, &format!("GET /graphql/ws HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    }
    let foreign = format!("{upgrade}Connection: close\r\n{key}{protocol}Origin: https://evil.example\r\n");
    let (head, body) = exchange(&server, &format!("GET /graphql/ws HTTP/1.1\r\nHost: x\r\n{foreign}\r\n"));
    assert!(head.starts_with("http/1.1 403") && body.contains("FORBIDDEN"), "{head} {body}");
}
