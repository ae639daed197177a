//! A connection's socket.
//!
//! Owns what the server learns from a client's bytes: it has begun a request, and it reads its answers at the minimum rate.
//! The rate counts only while the server has bytes to write, so a quiet event stream may last. The socket holds the
//! connection's permit until it closes, also as a WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    interim::{InterimStream, Slot},
    min_rate::{MinRate, TimeCredit},
    peers::{ConnectionPermit, Peer},
};

/// Unsent bytes in the kernel's send buffer (`TCP_NOTSENT_LOWAT`). By default the kernel takes megabytes and reports room
/// again only when a third of them is sent, so a slow line would look like a stalled one. On loopback this limit does not
/// make downloads measurably slower.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

#[derive(Debug)]
pub(super) struct Socket<S> {
    /// Below this socket, so that an interim answer that the client does not read is no reason to close the connection.
    stream: InterimStream<S>,
    peer: Arc<Peer>,
    credit: TimeCredit,
    written_bytes: u64,
    is_blocked: bool,
    _permit: Option<ConnectionPermit>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, peer: Arc<Peer>, permit: Option<ConnectionPermit>, rate: MinRate) -> Self {
        let (stream, credit) = (InterimStream::new(stream), TimeCredit::new(rate));
        Self { stream, peer, credit, written_bytes: 0, is_blocked: false, _permit: permit }
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Where handlers leave interim answers.
    pub(super) fn interim_slot(&self) -> &Arc<Slot> {
        self.stream.slot()
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_pending() != self.is_blocked {
            self.is_blocked = written.is_pending();
            self.peer.set_blocked(self.is_blocked);
        }
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.credit.record(bytes);
                self.written_bytes += bytes as u64;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.credit.poll_exhausted(cx).is_pending() => {}
            Poll::Pending => {
                tracing::debug!(
                    written_bytes = self.written_bytes,
                    "the server closes a connection: the client does not read its answer"
                );
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}

/// Sets the options of a new connection. It ignores failures: they only make the connection slower.
pub(super) fn prepare(stream: &TcpStream) {
    // Without Nagle's algorithm the kernel sends small answers at once.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.peer.note_received_bytes();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
