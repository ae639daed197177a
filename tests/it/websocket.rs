//! Attacks over WebSockets, against the real binary. `tests/clients` tests real client libraries.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::Server;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
/// Longer than every timeout of the server for a socket.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A client's side of a socket.
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn open(address: &str) -> Self {
        Self::open_with(address, "")
    }

    /// Opens a socket with more lines in the head of the request.
    pub(crate) fn open_with(address: &str, headers: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), headers)
    }

    /// Opens a socket with a receive buffer of 4 KiB, so that the server notices soon that the client does not read.
    fn open_narrow(server: &Server) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&server.address.parse::<SocketAddr>().unwrap().into()).unwrap();
        Self::over(socket.into(), "")
    }

    fn over(mut socket: TcpStream, headers: &str) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        let handshake = format!(
            "GET /graphql/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                         Sec-WebSocket-Protocol: graphql-transport-ws\r\n{headers}\r\n"
        );
        socket.write_all(handshake.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self(socket)
    }

    /// Sends a frame. Its mask is zero, so the payload stays the same.
    fn send(&mut self, kind: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match u8::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame)
    }

    pub(crate) fn send_message(&mut self, message: &Value) {
        self.send(TEXT, message.to_string().as_bytes()).unwrap();
    }

    pub(crate) fn identify(&mut self, token: &str) {
        let token = format!("Bearer {token}");
        self.send_message(&json!({ "type": "connection_init", "payload": { "Authorization": token } }));
        let (kind, text) = self.receive().unwrap();
        assert_eq!((kind, &*text), (TEXT, &br#"{"type":"connection_ack"}"#[..]));
    }

    pub(crate) fn receive(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length)?;
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload)?;
        Ok((head[0] & 0xf, payload))
    }

    /// Reads until the server closes the socket, and returns the close code.
    fn close_code(&mut self) -> u16 {
        loop {
            if let (CLOSE, payload) = self.receive().unwrap() {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

#[test]
fn a_client_that_only_opens_sockets_keeps_no_other_client_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut silent: Vec<_> = (0..256).map(|_| Socket::open(&server.address)).collect();
    let mut honest = Socket::open(&server.address);
    assert_eq!(silent[0].close_code(), 1013, "the server evicts the oldest socket");
    honest.identify(&server.first_token);
    // The server never evicts an authenticated socket.
    silent.extend((0..256).map(|_| Socket::open(&server.address)));
    honest.send_message(&json!({ "type": "ping" }));
    assert_eq!(honest.receive().unwrap().1, br#"{"type":"pong"}"#);
}

#[test]
fn an_oversized_or_malformed_message_closes_the_socket_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut large = Socket::open(&server.address);
    // The frame's head announces 16 MiB. The server refuses it without waiting for the payload.
    let mut frame = vec![0x80 | TEXT, 0x80 | 127];
    frame.extend((16_u64 << 20).to_be_bytes());
    large.0.write_all(&frame).unwrap();
    large.0.write_all(&vec![0; 100_000]).unwrap();
    assert_eq!(large.close_code(), 1009);
    let mut in_pieces = Socket::open(&server.address);
    for fin_and_kind in [TEXT, 0] {
        let mut frame = vec![fin_and_kind, 0x80 | 127];
        frame.extend(200_000_u64.to_be_bytes());
        frame.resize(frame.len() + 4 + 200_000, 0);
        in_pieces.0.write_all(&frame).unwrap();
    }
    assert_eq!(in_pieces.close_code(), 1009);
    let mut unmasked = Socket::open(&server.address);
    unmasked.0.write_all(&[0x80 | TEXT, 2, b'{', b'}']).unwrap();
    assert_eq!(unmasked.close_code(), 1002);
    let mut not_utf8 = Socket::open(&server.address);
    not_utf8.send(TEXT, &[0xff, 0xfe]).unwrap();
    assert_eq!(not_utf8.close_code(), 1007);
    let mut binary = Socket::open(&server.address);
    binary.send(2, b"{}").unwrap();
    assert_eq!(binary.close_code(), 4400);
}

#[test]
fn a_client_that_sends_16_messages_before_it_authenticates_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for ping in [json!({ "type": "ping" }).to_string().as_bytes(), b""] {
        let mut socket = Socket::open(&server.address);
        let kind = if ping.is_empty() { PING } else { TEXT };
        // The server may close the socket before the client has sent the last message.
        let _ = (0..16).try_for_each(|_| socket.send(kind, ping));
        assert_eq!(socket.close_code(), 4400);
    }
}

/// The client keeps sending operations, so it is not idle.
#[test]
fn a_client_that_never_reads_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut socket = Socket::open_narrow(&server);
    socket.identify(&server.first_token);
    socket.0.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let query = "{ __schema { types { name description fields { name description } } } }";
    let start = Instant::now();
    let mut number = 0;
    let ended = loop {
        number += 1;
        let subscribe = json!({ "type": "subscribe", "id": number.to_string(), "payload": { "query": query } });
        match socket.send(TEXT, subscribe.to_string().as_bytes()) {
            // The server does not read now, because it waits to write.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => break error,
            Ok(()) => {}
        }
        assert!(start.elapsed() < DEADLINE, "the server still serves the client");
    };
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&ended.kind()), "{ended}");
}

#[test]
fn the_server_answers_a_close_frame() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for is_identified in [true, false] {
        let mut socket = Socket::open(&server.address);
        if is_identified {
            socket.identify(&server.first_token);
        }
        socket.send(CLOSE, &1000_u16.to_be_bytes()).unwrap();
        assert_eq!(socket.close_code(), 1000);
    }
}
