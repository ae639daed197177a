//! Interim answers (`1xx`), which a handler sends while it still receives the request's body.
//!
//! hyper's server sends none but `100 Continue`, so the server writes them into the stream itself, below hyper. Owns when
//! that is allowed. hyper flushes the stream only when all bytes that it has encoded are written, and it asks a handler for
//! its answer only after it has encoded the whole answer before. So if hyper flushes while a handler has no answer yet,
//! exactly the answers of earlier requests are out, and an interim answer follows them. An interim answer is optional, so the
//! server drops it rather than let anything wait for it. Does not own what an interim answer says.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::HttpBody,
    http::{HeaderMap, Request, Version},
};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest head of an interim answer in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Where a handler leaves an interim answer for its connection: at most one at a time.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Whether there is one. Read at each flush, so that other requests do not pay for the lock.
    is_filled: AtomicBool,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// The request whose handler runs. Handles of earlier requests send nothing.
    request: u64,
    head: Option<Bytes>,
}

impl Slot {
    /// A handle for the connection's next request. `None` if the request has no body, for its answer comes soon, or if its
    /// client cannot read interim answers.
    pub(super) fn begin<B: HttpBody>(self: &Arc<Self>, request: &Request<B>) -> Option<Interim> {
        if request.version() < Version::HTTP_11 || request.body().is_end_stream() {
            return None;
        }
        Some(Interim { request: self.next_request(), slot: Arc::clone(self) })
    }

    fn next_request(&self) -> u64 {
        let mut contents = self.contents.lock();
        contents.request += 1;
        contents.head = None;
        self.is_filled.store(false, Ordering::Relaxed);
        contents.request
    }

    fn fill(&self, request: u64, head: Bytes) {
        let mut contents = self.contents.lock();
        if contents.request == request && contents.head.is_none() {
            contents.head = Some(head);
            self.is_filled.store(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> Option<Bytes> {
        if !self.is_filled.load(Ordering::Relaxed) {
            return None;
        }
        self.is_filled.store(false, Ordering::Relaxed);
        self.contents.lock().head.take()
    }
}

/// Sends interim answers to one request. A handler finds it in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Interim {
    slot: Arc<Slot>,
    request: u64,
}

impl Interim {
    /// Sends an interim answer, unless the client does not read the ones before. Does not wait for the client.
    pub(crate) async fn send(&self, code: u16, reason: &str, headers: &HeaderMap) {
        let mut head = format!("HTTP/1.1 {code} {reason}\r\n").into_bytes();
        for (name, value) in headers {
            head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        if head.len() <= MAX_HEAD_BYTES {
            self.slot.fill(self.request, head.into());
            // hyper flushes at the end of this turn. So the answer is on its way before the handler can end.
            tokio::task::yield_now().await;
        }
    }

    /// The final answer begins: no interim answer may follow it.
    pub(super) fn close(self) {
        self.slot.next_request();
    }
}

/// A connection's stream, into which interim answers are written.
#[derive(Debug)]
pub(super) struct InterimStream<S> {
    stream: S,
    slot: Arc<Slot>,
    /// The rest of an interim answer that is being written.
    unsent: Bytes,
}

impl<S> InterimStream<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, slot: Arc::default(), unsent: Bytes::new() }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl<S: AsyncWrite + Unpin> InterimStream<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InterimStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InterimStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty()
            && let Some(head) = self.slot.take()
        {
            self.unsent = head;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Extension, Router, body::Body, extract::Path, http::HeaderValue, routing::post};
    use futures_util::StreamExt;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{
        MinRate,
        connection::{Rules, serve},
        drain_unread_body,
        peers::{Peer, Timeouts},
        socket::Socket,
    };

    const NEVER: Duration = Duration::from_hours(1);

    /// Sends `interims` interim answers that name the request, with a chunk of the body after each, and then answers.
    async fn answer(
        Path((number, interims, size)): Path<(usize, usize, usize)>,
        interim: Option<Extension<Interim>>,
        body: Body,
    ) -> String {
        let mut body = body.into_data_stream();
        let headers = HeaderMap::from_iter([(axum::http::header::FROM, HeaderValue::from(number))]);
        for _ in 0..interims {
            if let Some(Extension(interim)) = &interim {
                interim.send(104, "Upload Resumption Supported", &headers).await;
            }
            body.next().await;
        }
        "x".repeat(size)
    }

    /// A connection with this number of bytes under way in each direction.
    fn connect(bytes_under_way: usize) -> DuplexStream {
        let (near, far) = tokio::io::duplex(bytes_under_way);
        let layer = tower::util::MapRequestLayer::new(drain_unread_body);
        let rules = Rules {
            router: Router::new().route("/{number}/{interims}/{size}", post(answer)).layer(layer),
            timeouts: Timeouts { first_byte: NEVER, head: NEVER, keep_alive: NEVER },
            keeps_alive: true,
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        let rate = MinRate { idle_timeout: Duration::from_secs(30), bytes_per_second: 0 };
        tokio::spawn(serve(Socket::new(far, Peer::new(), None, rate), rules));
        near
    }

    async fn exchange(request: &str) -> String {
        let mut client = connect(1_000);
        client.write_all(request.as_bytes()).await.unwrap();
        read(client).await
    }

    async fn read(mut client: impl AsyncRead + Unpin) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    /// The status codes of the answers on a connection. Interim answers must name the request whose answer comes next, and
    /// no answer may be torn.
    fn codes(mut text: &str) -> Vec<u16> {
        let (mut codes, mut answered) = (Vec::new(), 0);
        while !text.is_empty() {
            let (head, rest) = text.split_once("\r\n\r\n").unwrap();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            codes.push(head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap());
            text = match field("content-length: ") {
                None => {
                    assert!([Some(&*answered.to_string()), None].contains(&field("from: ")), "{head}");
                    rest
                }
                Some(size) => {
                    let (body, rest) = rest.split_at(size.parse().unwrap());
                    assert!(body.bytes().all(|byte| byte == b'x'), "{body}");
                    answered += 1;
                    rest
                }
            };
        }
        codes
    }

    #[tokio::test(start_paused = true)]
    async fn interim_answers_precede_the_answer_of_a_request_with_a_body() {
        let request = |version: &str, headers: &str| {
            format!("POST /0/2/3 HTTP/{version}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n")
        };
        assert_eq!(codes(&exchange(&(request("1.1", "Content-Length: 3") + "abc")).await), [104, 104, 200]);
        assert_eq!(codes(&exchange(&request("1.1", "Content-Length: 0")).await), [200]);
        let old = exchange(&(request("1.0", "Content-Length: 3") + "abc")).await;
        assert!(old.starts_with("HTTP/1.0 200"), "{old}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_interim_answer_does_not_replace_100_continue() {
        let mut client = connect(1_000);
        let head =
            "POST /0/1/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut before_the_body = vec![0; "HTTP/1.1 104 Upload Resumption Supported\r\nfrom: 0\r\n\r\n".len()];
        client.read_exact(&mut before_the_body).await.unwrap();
        let mut text = String::from_utf8(before_the_body).unwrap();
        let mut go_on = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        client.read_exact(&mut go_on).await.unwrap();
        client.write_all(b"abc").await.unwrap();
        text.push_str(&String::from_utf8(go_on).unwrap());
        text.push_str(&read(client).await);
        assert_eq!(codes(&text), [104, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_sends_its_whole_body_and_finds_few_interim_answers() {
        let mut client = connect(60);
        let head = "POST /0/1000/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\nConnection: close\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..100 {
            client.write_all(&[b'b'; 100]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(codes(&read(client).await), [104, 104, 200]);
    }

    proptest! {
        #[test]
        fn answers_are_whole_and_in_order_for_any_pipeline(
            requests in prop::collection::vec((0_usize..4, 0_usize..300, 0_usize..300), 1..6),
            bytes_under_way in 1_usize..300,
        ) {
            let mut text = String::new();
            for (number, (interims, size, body_bytes)) in requests.iter().enumerate() {
                let close = if number + 1 == requests.len() { "Connection: close\r\n" } else { "" };
                text.push_str(&format!(
                    "POST /{number}/{interims}/{size} HTTP/1.1\r\nHost: x\r\nContent-Length: {body_bytes}\r\n{close}\r\n"
                ));
                text.push_str(&"b".repeat(*body_bytes));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let answers = runtime.block_on(async {
                let (reading, mut writing) = tokio::io::split(connect(bytes_under_way));
                let writing = tokio::spawn(async move { writing.write_all(text.as_bytes()).await });
                let answers = read(reading).await;
                writing.abort();
                answers
            });
            let finals = codes(&answers).into_iter().filter(|code| *code == 200).count();
            prop_assert_eq!(finals, requests.len());
        }
    }
}
