//! A client with minimal cost: raw requests over keep-alive connections, one thread per connection.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

/// A response.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Bytes of status line and headers.
    pub(crate) head_bytes: usize,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| String::from_utf8_lossy(&self.body).into_owned())
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The head of the last response.
    head: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024], head: Vec::new() })
    }

    /// Sends a request and reads the response. Passes the response's body to `body` in pieces. Returns the status and the
    /// length of the head.
    fn exchange(&mut self, request: &[&[u8]], mut body: impl FnMut(&[u8])) -> io::Result<(u16, usize)> {
        for piece in request {
            self.stream.write_all(piece)?;
        }
        let (mut filled, head) = (0, b"\r\n\r\n");
        let end = loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(at) = self.buffer[..filled].windows(head.len()).position(|window| window == head) {
                break at + head.len();
            }
        };
        self.head.clear();
        self.head.extend_from_slice(&self.buffer[..end]);
        let text = std::str::from_utf8(&self.buffer[..end]).map_err(io::Error::other)?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        let headers = text.lines().filter_map(|line| line.split_once(": "));
        let length =
            headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value.parse());
        let length: Option<usize> = length.reduce(|first, _| first).transpose().map_err(io::Error::other)?;
        let mut left = length.unwrap_or_default();
        body(&self.buffer[end..filled]);
        left -= filled - end;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            body(&self.buffer[..read]);
            left -= read;
        }
        Ok((status, end))
    }

    /// Sends a piece of a request and does not wait for a response.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.stream.write_all(piece)
    }

    /// Sends a request in one or several pieces and returns the response.
    pub(crate) fn send(&mut self, request: &[&[u8]]) -> io::Result<Response> {
        let mut body = Vec::new();
        let (status, head_bytes) = self.exchange(request, |piece| body.extend_from_slice(piece))?;
        let head = String::from_utf8_lossy(&self.head).into_owned();
        Ok(Response { status, head_bytes, head, body })
    }
}

/// Sends one request over a new connection.
pub(crate) fn send(address: &str, request: &[u8]) -> anyhow::Result<Response> {
    Ok(Connection::open(address)?.send(&[request])?)
}

/// The result of a load.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) seconds: f64,
    /// The latency of every request, in ascending order.
    pub(crate) latencies: Vec<Duration>,
}

impl Load {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// Repeats one request over `connections` connections. Each connection sends the next request after the previous response.
pub(crate) fn repeat(
    address: &str,
    request: &[u8],
    status: u16,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Load> {
    let begin = Barrier::new(connections);
    parallel(connections, |_| {
        let mut connection = Connection::open(address)?;
        let mut latencies = Vec::with_capacity(1 << 16);
        begin.wait();
        let end = Instant::now() + duration;
        loop {
            let sent = Instant::now();
            if sent >= end {
                return Ok(latencies);
            }
            let (actual, _) = connection.exchange(&[request], |_| {})?;
            ensure!(actual == status, "the status is {actual}, but should be {status}");
            latencies.push(sent.elapsed());
        }
    })
}

/// Runs `work` on `threads` threads and merges the latencies that they return.
pub(crate) fn parallel(
    threads: usize,
    work: impl Fn(usize) -> anyhow::Result<Vec<Duration>> + Sync,
) -> anyhow::Result<Load> {
    let (start, mut load) = (Instant::now(), Load::default());
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        for thread in running {
            let latencies = thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            load.latencies.extend(latencies);
        }
        anyhow::Ok(())
    })?;
    load.seconds = start.elapsed().as_secs_f64();
    load.latencies.sort_unstable();
    Ok(load)
}
