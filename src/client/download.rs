//! A download from start to end.
//!
//! Owns the sequence: continue after the bytes that an earlier run has received, resume after a break, compare the digests.
//! Does not own the local file: that is `part_file`.
//!
//! The bytes of two files never mix. An earlier run's bytes are in a file with the id of the stored file, whose bytes never
//! change. Each request for a rest of the file has the tag of the content (`If-Range`). And at the end, the digests that the
//! server has of the file must be those of the bytes.

use std::io;

use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};

use super::{
    api::Client,
    bodies::FileBody,
    download_error::DownloadError,
    event::DownloadEvent,
    part_file::PartFile,
    retry::{RetryPolicy, Retryable},
};
use crate::domain::{Digests, Hasher};

/// Number of bytes in one read of an earlier run's bytes.
const BLOCK_BYTES: usize = 256 * 1024;
/// The status of a file that can be downloaded.
const STORED: &str = "STORED";
/// How often the download begins again from the first byte, because the server does not continue where it stopped.
const MAX_RESTARTS: u32 = 3;

/// A download of one stored file.
pub struct Download<'a> {
    /// The client that requests the bytes.
    pub client: &'a Client,
    /// The file, as the server described it at the start.
    pub file: &'a FileBody,
    /// When to try again.
    pub retry: &'a RetryPolicy,
    /// Receives the steps of the download.
    pub on: &'a (dyn Fn(DownloadEvent) + Sync),
}

/// A finished download.
#[derive(Clone, Copy, Debug)]
pub struct Downloaded {
    /// The digests of the bytes.
    pub digests: Digests,
    /// How many bytes an earlier run had received.
    pub resumed_bytes: u64,
    /// Whether the server knows a digest of the file, so that the bytes are proven to be those of the file.
    pub is_proven: bool,
}

/// Where the bytes go.
enum Target<'a> {
    File(File),
    /// Bytes that are written cannot be taken back.
    Stream(&'a mut (dyn AsyncWrite + Unpin + Send)),
}

/// What has arrived.
struct State<'a> {
    target: Target<'a>,
    received: u64,
    hasher: Hasher,
    tag: Option<String>,
    restarts: u32,
}

/// Reads the record of a file, which the server must have stored.
///
/// # Errors
/// `NotStored` if the file is not, or no longer.
pub async fn stored_file(client: &Client, id: &str) -> Result<FileBody, DownloadError> {
    let file = client.file(id).await?;
    if file.status == STORED { Ok(file) } else { Err(DownloadError::NotStored(file.status)) }
}

impl Download<'_> {
    /// Downloads into a file, after the bytes of an earlier run that it has.
    ///
    /// # Errors
    /// `Damaged` if the bytes do not have the digests of the file.
    pub async fn to_file(&self, part: &PartFile) -> Result<Downloaded, DownloadError> {
        let file = part.file.try_clone().map_err(DownloadError::Target)?;
        let mut state = State::new(Target::File(File::from_std(file)));
        self.keep_received(&mut state).await.map_err(DownloadError::Target)?;
        let resumed_bytes = state.received;
        if resumed_bytes > 0 {
            state.tag = self.with_retries(|| self.client.content_tag(&self.file.file_id)).await?;
        }
        let state = Mutex::new(state);
        match self.receive_and_compare(&state).await {
            // The bytes of the earlier run may be the damaged ones, such as after a power cut.
            Err(DownloadError::Damaged(digest)) if resumed_bytes > 0 => {
                (self.on)(DownloadEvent::Restarting { reason: DownloadError::Damaged(digest).to_string() });
                state.lock().await.restart().await?;
                Ok(self.downloaded(self.receive_and_compare(&state).await?, 0))
            }
            compared => Ok(self.downloaded(compared?, resumed_bytes)),
        }
    }

    /// Downloads into a stream, such as standard output. The bytes are written before the digests are compared.
    ///
    /// # Errors
    /// `Damaged` as for a file; `Restarted` if the connection breaks, and the server does not continue where it did.
    pub async fn to_stream(&self, stream: &mut (dyn AsyncWrite + Unpin + Send)) -> Result<Downloaded, DownloadError> {
        let state = Mutex::new(State::new(Target::Stream(stream)));
        Ok(self.downloaded(self.receive_and_compare(&state).await?, 0))
    }

    fn downloaded(&self, digests: Digests, resumed_bytes: u64) -> Downloaded {
        let is_proven = self.file.crc64nvme.is_some() || self.file.sha256.is_some();
        Downloaded { digests, resumed_bytes, is_proven }
    }

    /// Hashes the bytes of an earlier run.
    async fn keep_received(&self, state: &mut State<'_>) -> io::Result<()> {
        let State { target: Target::File(file), received, hasher, .. } = state else { return Ok(()) };
        let bytes = file.metadata().await?.len();
        if bytes > self.file.size_bytes {
            return file.set_len(0).await;
        }
        if bytes > 0 {
            (self.on)(DownloadEvent::Checking { bytes });
        }
        let mut block = vec![0; BLOCK_BYTES];
        while *received < bytes {
            match file.read(&mut block).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    hasher.update(&block[..read]);
                    *received += read as u64;
                    (self.on)(DownloadEvent::Checked { bytes: read as u64 });
                }
            }
        }
        Ok(())
    }

    async fn receive_and_compare(&self, state: &Mutex<State<'_>>) -> Result<Digests, DownloadError> {
        let (from, size) = (state.lock().await.received, self.file.size_bytes);
        (self.on)(DownloadEvent::Receiving { from, size });
        self.with_retries(async || self.receive(&mut *state.lock().await).await).await?;
        let digests = state.lock().await.hasher.clone().finish();
        let (crc64nvme, sha256) = (digests.crc64nvme.to_string(), digests.sha256.to_string());
        match self.file {
            FileBody { crc64nvme: Some(expected), .. } if *expected != crc64nvme => {
                Err(DownloadError::Damaged("CRC-64/NVME"))
            }
            FileBody { sha256: Some(expected), .. } if *expected != sha256 => Err(DownloadError::Damaged("SHA-256")),
            _ => Ok(digests),
        }
    }

    /// Receives the bytes that are missing, until the end of the file or a break.
    async fn receive(&self, state: &mut State<'_>) -> Result<(), DownloadError> {
        let size = self.file.size_bytes;
        if state.received == size {
            return Ok(());
        }
        let tag = state.tag.clone();
        let mut content = self.client.content(&self.file.file_id, size, state.received, tag.as_deref()).await?;
        if content.from != state.received {
            (self.on)(DownloadEvent::Restarting { reason: "the server sends the file from its beginning".to_owned() });
            state.restart().await?;
            (self.on)(DownloadEvent::Receiving { from: 0, size });
        }
        state.tag = content.tag;
        // A request succeeds when bytes arrive, not with its head: a server that breaks off each answer must not be asked
        // for ever.
        let mut has_bytes = false;
        while let Some(bytes) = content.response.chunk().await.map_err(super::ClientError::from)? {
            if !std::mem::replace(&mut has_bytes, true) {
                self.retry.note_success();
            }
            if state.received + bytes.len() as u64 > size {
                return Err(DownloadError::ProtocolMismatch);
            }
            state.write(&bytes).await.map_err(DownloadError::Target)?;
            self.retry.note_bytes_moved();
            (self.on)(DownloadEvent::Received { bytes: bytes.len() as u64 });
        }
        state.flush().await.map_err(DownloadError::Target)?;
        if state.received == size { Ok(()) } else { Err(DownloadError::Cut) }
    }

    async fn with_retries<T, E: Retryable>(&self, attempt: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
        self.retry.run(&|reason| (self.on)(DownloadEvent::Retrying { reason }), || attempt()).await
    }
}

impl<'a> State<'a> {
    fn new(target: Target<'a>) -> Self {
        Self { target, received: 0, hasher: Hasher::default(), tag: None, restarts: 0 }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.target {
            Target::File(file) => file.write_all(bytes).await?,
            Target::Stream(stream) => stream.write_all(bytes).await?,
        }
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::File(file) => file.flush().await,
            Target::Stream(stream) => stream.flush().await,
        }
    }

    /// Forgets what has arrived.
    async fn restart(&mut self) -> Result<(), DownloadError> {
        self.restarts += 1;
        let Target::File(file) = &mut self.target else { return Err(DownloadError::Restarted) };
        if self.restarts > MAX_RESTARTS {
            return Err(DownloadError::Restarted);
        }
        let emptied = async {
            file.flush().await?;
            file.set_len(0).await?;
            file.rewind().await
        };
        emptied.await.map_err(DownloadError::Target)?;
        (self.received, self.hasher) = (0, Hasher::default());
        Ok(())
    }
}
