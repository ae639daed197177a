//! How a server stops: balancers look elsewhere first, and a second signal ends it at once.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Server, exchange};

const DEADLINE: Duration = Duration::from_secs(30);

/// One connection that is kept as long as the server wants it.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn to(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(socket))
    }

    /// The status, and whether the answer says that the connection closes; `None` if there is no answer.
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
    exchange(&server.address, "GET", "/ready", "", b"").expect("/ready is answered until the end").0 == 200
}

fn wait_until_not_ready(server: &Server) {
    let begin = Instant::now();
    while is_ready(server) {
        assert!(begin.elapsed() < DEADLINE);
    }
}

#[test]
fn no_request_fails_behind_a_balancer_that_stops_sending_when_ready_turns_red() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("PARTWAY_DRAIN_DELAY", "1s")]);
    assert!(is_ready(&server));
    let (mut kept, mut idle) = (Kept::to(&server.address), Kept::to(&server.address));
    assert_eq!(kept.get("/health"), Some((200, false)));
    assert_eq!(idle.get("/health"), Some((200, false)));
    server.signal(Signal::TERM);
    wait_until_not_ready(&server);
    // A balancer asks at intervals, so it goes on for a while: on connections that it has, and on new ones.
    assert_eq!(kept.get("/health"), Some((200, true)));
    for _ in 0..20 {
        assert_eq!(Kept::to(&server.address).get("/health"), Some((200, true)));
    }
    // Then it has noticed, and the server stops: what is idle is closed without a reset.
    let mut end = Vec::new();
    idle.0.read_to_end(&mut end).unwrap();
    assert_eq!(end, b"");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn without_a_balancer_nobody_waits_for_one() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, asks) in [(Signal::TERM, false), (Signal::INT, true)] {
        let server = Server::start(folder.path(), &[("PARTWAY_DRAIN_DELAY", "1h")]);
        if asks {
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
        let mut under_way = TcpStream::connect(&server.address).unwrap();
        let head = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n";
        write!(under_way, "{head}Expect: 100-continue\r\nAuthorization: Bearer {}\r\n\r\n", server.first_token)
            .unwrap();
        let mut go_on = [0; 25];
        under_way.read_exact(&mut go_on).unwrap();
        server.signal(signal);
        wait_until_not_ready(&server);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code));
    }
}
