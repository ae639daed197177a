//! The limits on connections: the server evicts idle connections, and refuses a connection if none is idle.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::Server;

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
/// A request that stays active until its body arrives.
const ACTIVE_REQUEST: &str = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                         Content-Length: 10\r\nExpect: 100-continue\r\n";

/// A client with a read timeout.
fn connect(server: &Server) -> TcpStream {
    with_timeout(TcpStream::connect(&server.address).unwrap())
}

fn with_timeout(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// A client with another address of this machine.
fn connect_from(address: [u8; 4], server: &Server) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&server.address.parse::<SocketAddr>().unwrap().into()).unwrap();
    with_timeout(socket.into())
}

/// Reads the status and the headers of the next answer.
fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Reads until the server closes the connection.
fn rest(mut socket: TcpStream) -> String {
    let mut text = String::new();
    match socket.read_to_string(&mut text) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => text,
    }
}

/// A connection with an active request.
fn with_active_request(server: &Server, mut socket: TcpStream) -> TcpStream {
    let head = format!("{ACTIVE_REQUEST}Authorization: Bearer {}\r\n\r\n", server.first_token);
    socket.write_all(head.as_bytes()).unwrap();
    assert!(self::head(&mut socket).starts_with("HTTP/1.1 100"));
    socket
}

#[test]
fn a_new_connection_evicts_the_longest_idle_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_MAX_CONNECTIONS", "8")]);
    let mut answered = connect(&server);
    answered.write_all(REQUEST).unwrap();
    assert!(head(&mut answered).starts_with("HTTP/1.1 200"));
    let mut silent: Vec<_> = (0..40).map(|_| connect(&server)).collect();
    let mut last = connect(&server);
    last.write_all(REQUEST).unwrap();
    assert!(head(&mut last).starts_with("HTTP/1.1 200"));
    assert!(rest(answered).starts_with('{'), "the longest idle connection is closed first");
    assert_eq!(rest(silent.remove(0)), "");
    let mut youngest = silent.pop().unwrap();
    youngest.write_all(REQUEST).unwrap();
    assert!(head(&mut youngest).starts_with("HTTP/1.1 200"));
}

#[test]
fn at_the_limit_of_an_address_a_request_is_refused_with_a_code_and_other_addresses_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PARTWAY_MAX_CONNECTIONS", "8"), ("PARTWAY_MAX_CONNECTIONS_PER_ADDRESS", "3")];
    let server = Server::start(folder.path(), &settings);
    let mut active: Vec<_> = (0..3).map(|_| with_active_request(&server, connect(&server))).collect();
    let mut refused = connect(&server);
    refused.write_all(REQUEST).unwrap();
    let answer = rest(refused);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1") && answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("\"code\":\"UNAVAILABLE\"") && answer.contains("connection: close"), "{answer}");
    // After a 503, tus-js-client would start again from the first byte.
    for (request, status) in [
        ("HEAD /uploads/tus/01890000-0000-7000-8000-000000000000", "423"),
        ("PATCH /uploads/tus/01890000-0000-7000-8000-000000000000", "503"),
        ("OPTIONS /uploads/tus", "204"),
        ("POST /uploads/tus", "503"),
    ] {
        let mut refused = connect(&server);
        refused.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let answer = rest(refused);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert_eq!(answer.contains("tus-resumable: 1.0.0"), status != "204", "{request}: {answer}");
        assert_eq!(answer.contains("retry-after: 1"), status != "204", "{request}: {answer}");
        assert_eq!(answer.ends_with('}'), status == "503", "{request}: {answer}");
    }
    let mut elsewhere = connect_from([127, 0, 0, 2], &server);
    elsewhere.write_all(REQUEST).unwrap();
    assert!(head(&mut elsewhere).starts_with("HTTP/1.1 200"));
    elsewhere.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(elsewhere).contains("partway_connections_refused_total 5"));
    // When a request has ended, the server can evict its connection.
    let mut ended = active.pop().unwrap();
    ended.write_all(b"{}        ").unwrap();
    assert!(head(&mut ended).starts_with("HTTP/1.1 "));
    let mut next = connect(&server);
    next.write_all(REQUEST).unwrap();
    assert!(head(&mut next).starts_with("HTTP/1.1 200"));
}

/// In an attack, 235 connections without a token kept all other clients out.
#[test]
fn with_few_descriptors_idle_connections_keep_no_client_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with_descriptors(256, folder.path());
    let silent: Vec<_> = (0..400).map(|_| connect(&server)).collect();
    let body = br#"{"original_filename":"a","total_size_bytes":3}"#;
    let (status, session) = server.post("/uploads/sessions", body);
    assert_eq!(status, 201, "{session}");
    let id = serde_json::from_str::<serde_json::Value>(&session).unwrap()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(server.put(&server.first_token, &id, 1, b"abc"), Some(201));
    assert_eq!(server.post(&format!("/uploads/sessions/{id}/finalize"), b"{}").0, 200);
    drop(silent);
}

#[test]
fn without_a_free_descriptor_a_request_that_needs_one_fails_with_a_retryable_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_DATABASE", ""), ("PARTWAY_STORAGE", "")]);
    let (_, session) = server.post("/uploads/sessions", br#"{"original_filename":"a","total_size_bytes":3}"#);
    let id = serde_json::from_str::<serde_json::Value>(&session).unwrap()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(server.put(&server.first_token, &id, 1, b"abc"), Some(201));
    let path = format!("/uploads/sessions/{id}/finalize");
    let mut finalize = connect(&server);
    let request = ACTIVE_REQUEST.replace("/graphql", &path);
    write!(finalize, "{request}Connection: close\r\nAuthorization: Bearer {}\r\n\r\n", server.first_token).unwrap();
    assert!(head(&mut finalize).starts_with("HTTP/1.1 100"));
    server.limit_descriptors(3);
    finalize.write_all(b"{}        ").unwrap();
    let answer = rest(finalize);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"code\":\"UNAVAILABLE\""), "{answer}");
    server.limit_descriptors(1_000);
    assert_eq!(server.post(&path, b"{}").0, 200);
}
