//! How a server stops: it drains behind a load balancer first, and a second signal ends it at once.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Server, exchange};

const DEADLINE: Duration = Duration::from_secs(30);

/// A keep-alive connection.
struct KeepAlive(BufReader<TcpStream>);

impl KeepAlive {
    fn to(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(socket))
    }

    /// The status, and whether the response has `Connection: close`; `None` if there is no response.
    fn get(&mut self, path: &str) -> Option<(u16, bool)> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if let Some(value) = head[before..].strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        Some((head.split(' ').nth(1)?.parse().ok()?, head.contains("connection: close")))
    }
}

fn is_ready(server: &Server) -> bool {
    exchange(&server.address, "GET", "/ready", "", b"").expect("the server answers /ready until it stops").0 == 200
}

fn wait_until_not_ready(server: &Server) {
    let begin = Instant::now();
    while is_ready(server) {
        assert!(begin.elapsed() < DEADLINE);
    }
}

#[test]
fn no_request_fails_behind_a_load_balancer_that_stops_sending_when_ready_returns_503() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_DRAIN_DELAY", "1s")]);
    assert!(is_ready(&server));
    let (mut kept, mut idle) = (KeepAlive::to(&server.address), KeepAlive::to(&server.address));
    assert_eq!(kept.get("/health"), Some((200, false)));
    assert_eq!(idle.get("/health"), Some((200, false)));
    server.signal(Signal::TERM);
    wait_until_not_ready(&server);
    // A load balancer probes at intervals, so for a while it still sends requests, on open and on new connections.
    assert_eq!(kept.get("/health"), Some((200, true)));
    for _ in 0..20 {
        assert_eq!(KeepAlive::to(&server.address).get("/health"), Some((200, true)));
    }
    // After the drain delay the server stops. It closes idle connections without a reset.
    let mut end = Vec::new();
    idle.0.read_to_end(&mut end).unwrap();
    assert_eq!(end, b"");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_server_skips_the_drain_delay_without_a_load_balancer() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, probes_ready) in [(Signal::TERM, false), (Signal::INT, true)] {
        let server = Server::start(folder.path(), &[("PARTWAY_DRAIN_DELAY", "1h")]);
        if probes_ready {
            assert!(is_ready(&server));
        }
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[("PARTWAY_SHUTDOWN_TIMEOUT", "1h")]);
        let mut running = TcpStream::connect(&server.address).unwrap();
        let head = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n";
        write!(running, "{head}Expect: 100-continue\r\nAuthorization: Bearer {}\r\n\r\n", server.first_token).unwrap();
        let mut interim = [0; 25];
        running.read_exact(&mut interim).unwrap();
        server.signal(signal);
        wait_until_not_ready(&server);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code));
    }
}
