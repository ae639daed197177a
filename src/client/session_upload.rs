//! The upload of one file to one session.
//!
//! Owns what the server's response to a part means: the part is stored, it was damaged in transit, another uploader is
//! sending it, or the session holds another file. Decides by digests only. Does not choose the session: that is `upload`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt, stream};
use parking_lot::Mutex;

use super::{
    api::Client,
    bodies::{LocalDigests, SessionBody},
    concurrency::ConcurrencyLimit,
    error::ClientError,
    event::Event,
    local_file::LocalFile,
    part_numbers,
    retry::RetryPolicy,
    sent_bytes::{REPORT_INTERVAL, SentBytes},
    upload::OnEvent,
    upload_error::UploadError,
};
use crate::domain::{Digests, MIB, Part, PartPlan};

/// How long the client waits for another uploader of the same part before it sends the part again. Each further wait is
/// twice as long.
const INITIAL_BUSY_WAIT: Duration = Duration::from_secs(10);
/// How often the client checks a stalled connection, and a part that another uploader is sending.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The lowest rate, in bytes a second, at which a server reads a file to finalize it.
const MIN_FINALIZE_RATE: u64 = 10 * MIB;

/// The upload of one file to one session.
pub(super) struct SessionUpload<'a> {
    pub(super) client: &'a Client,
    pub(super) file: &'a LocalFile,
    pub(super) plan: PartPlan,
    pub(super) session: &'a SessionBody,
    pub(super) retry: &'a RetryPolicy,
    pub(super) limit: &'a ConcurrencyLimit,
    pub(super) sent_bytes: Arc<SentBytes>,
    pub(super) on: &'a OnEvent,
    pub(super) digests: Mutex<PartDigests>,
}

/// The digests of parts of the local file, by number, at the time when the client compared or sent them.
pub(super) type PartDigests = BTreeMap<u32, Digests>;

impl SessionUpload<'_> {
    pub(super) async fn send_missing(&self, max_parallel: usize) -> Result<(), UploadError> {
        let parts = part_numbers(&self.session.missing_parts)
            .map(|number| self.plan.part(number).ok_or(UploadError::ProtocolMismatch));
        let on_retry = |reason| (self.on)(Event::Retrying { reason });
        let send = |part| async move { self.retry.run(&on_retry, || self.send(part)).await };
        let sending = stream::iter(parts).try_for_each_concurrent(max_parallel, send);
        let sent: Result<(), UploadError> = tokio::select! {
            sent = sending => sent,
            never = self.report_progress() => match never {},
        };
        self.report(self.sent_bytes.change_at_end());
        match sent {
            // Another uploader may have sent the rest and finalized. The composite digest shows whether it had this file.
            Err(UploadError::Client(error)) if error.code() == Some("SESSION_CLOSED") => {
                self.retry.run(&on_retry, || self.ensure_complete()).await
            }
            // The server's database may have been restored to a time before this session.
            Err(UploadError::Client(error)) if error.code() == Some("NOT_FOUND") => Err(self.other_file()),
            sent => sent,
        }
    }

    /// Reports the number of sent bytes at intervals.
    async fn report_progress(&self) -> Infallible {
        loop {
            tokio::time::sleep(REPORT_INTERVAL).await;
            let bytes = self.sent_bytes.change();
            self.report(bytes);
            if bytes > 0 {
                self.retry.note_bytes_moved();
            }
        }
    }

    fn report(&self, bytes: i64) {
        match bytes {
            0 => {}
            lost if lost < 0 => (self.on)(Event::Lost { bytes: lost.unsigned_abs() }),
            sent => (self.on)(Event::Sent { bytes: sent.unsigned_abs() }),
        }
    }

    fn other_file(&self) -> UploadError {
        UploadError::OtherFile(self.session.session_id.clone())
    }

    /// The digests of the local file. If the file's modification time or size has changed, the client reads
    /// every part again, and fails if a part differs from what it compared or sent.
    pub(super) async fn file_digests(&self) -> Result<LocalDigests, UploadError> {
        let (mut all, has_changed) = (Vec::new(), self.file.has_changed());
        for number in 1..=self.plan.total_parts() {
            let part = self.plan.part(number).ok_or(UploadError::ProtocolMismatch)?;
            let sent = self.digests.lock().get(&number).copied();
            let digests = match sent {
                Some(sent) if !has_changed => sent,
                _ => self.file.digests(part).await?,
            };
            if sent.is_some_and(|sent| sent != digests) {
                return Err(UploadError::Changed);
            }
            all.push((digests, part.size_bytes));
        }
        Ok(LocalDigests::of_parts(&all))
    }

    /// Sends a part until the server has it. Another uploader may send the same part, and each new request supersedes
    /// the request before it. The client whose request was superseded therefore waits before it sends the part again,
    /// each time twice as long. Otherwise two uploaders would interrupt each other forever.
    async fn send(&self, part: Part) -> Result<(), UploadError> {
        let mut busy_wait = INITIAL_BUSY_WAIT;
        loop {
            match self.send_once(part).await {
                Err(UploadError::Client(error)) if error.code() == Some("BUSY") => {
                    let until = Instant::now() + busy_wait;
                    while Instant::now() < until {
                        tokio::time::sleep(POLL_INTERVAL).await;
                        if self.client.part_sha256(&self.session.session_id, part.number).await?.is_some() {
                            // The server has the part. Send it once more: the server compares the digests.
                            break;
                        }
                    }
                    busy_wait *= 2;
                }
                sent => return sent,
            }
        }
    }

    async fn send_once(&self, part: Part) -> Result<(), UploadError> {
        let slot = self.limit.acquire().await;
        let digests = self.file.digests(part).await?;
        let part_bytes = Arc::new(AtomicU64::new(0));
        let (written, sent_bytes) = (Arc::clone(&part_bytes), Arc::clone(&self.sent_bytes));
        let blocks = self.file.read(part, move |bytes| {
            // In this order: `remove` below must never subtract bytes that `add` has not counted yet.
            sent_bytes.add(bytes as u64);
            written.fetch_add(bytes as u64, Ordering::Relaxed);
        });
        let body = reqwest::Body::wrap_stream(blocks);
        let put = self.client.put_part(&self.session.session_id, part.number, part.size_bytes, &digests.sha256, body);
        let put = tokio::select! {
            put = put => put,
            () = self.stalled(&part_bytes) => Err(ClientError::Stalled),
        };
        let Err(error) = put else {
            slot.succeeded(part.size_bytes);
            self.digests.lock().insert(part.number, digests);
            return Ok(());
        };
        if !error.is_response() {
            slot.failed();
        }
        self.sent_bytes.remove(part_bytes.load(Ordering::Relaxed));
        match error.code() {
            // Read the part again: either its bytes were damaged in transit, or another process wrote to the file.
            Some("CHECKSUM_MISMATCH" | "PART_CONFLICT") if self.file.digests(part).await? != digests => {
                Err(UploadError::Changed)
            }
            Some("CHECKSUM_MISMATCH") => Err(UploadError::Damaged),
            Some("PART_CONFLICT") => Err(self.other_file()),
            _ => Err(error.into()),
        }
    }

    /// Returns when the client has written no bytes of the part for longer than the stall timeout.
    async fn stalled(&self, part_bytes: &AtomicU64) {
        let (mut before, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = part_bytes.load(Ordering::Relaxed);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > self.limit.stall_timeout(now) {
                return;
            }
        }
    }

    /// Fails unless the session is complete.
    async fn ensure_complete(&self) -> Result<(), UploadError> {
        let session = self.client.session(&self.session.session_id).await?;
        match session.status.as_str() {
            "COMPLETE" => Ok(()),
            // The owner aborted it on purpose, so the upload ends. After any other reason (expired, bytes lost) the client
            // creates a new session.
            "ABORTED" | "FAILED" if session.status_reason.as_deref() != Some("aborted_by_owner") => {
                Err(self.other_file())
            }
            status => Err(UploadError::Ended(format!("{status} ({})", session.status_reason.unwrap_or_default()))),
        }
    }

    /// Finalizes the session. `start` is the time of the first attempt.
    pub(super) async fn finalize(&self, expected: LocalDigests, start: Instant) -> Result<SessionBody, UploadError> {
        match self.client.finalize(&self.session.session_id, expected).await {
            // The session holds parts of another uploader's file.
            Err(error) if matches!(error.code(), Some("CHECKSUM_MISMATCH" | "NOT_FOUND")) => Err(self.other_file()),
            Err(error) if error.code() == Some("SESSION_CLOSED") => {
                self.ensure_complete().await?;
                Err(self.other_file())
            }
            // A proxy may time out while the server still reads a large file. If the server responds to a GET, it is alive,
            // and the time limit of the retry policy starts again.
            Err(error) if error.is_retryable() && start.elapsed() < self.max_finalize_time() => {
                if self.client.session(&self.session.session_id).await.is_ok() {
                    self.retry.note_success();
                }
                Err(error.into())
            }
            finalized => Ok(finalized?),
        }
    }

    fn max_finalize_time(&self) -> Duration {
        Duration::from_secs(self.session.total_size_bytes / MIN_FINALIZE_RATE)
    }
}
