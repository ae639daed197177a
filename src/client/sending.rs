//! Sending the parts of one session.
//!
//! Owns what an answer to a part means: it has arrived, it was damaged on the way, another uploader is at it, or the session
//! holds another file. Decides by digests alone. Does not choose the session.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt, stream};

use super::{
    api::Client,
    bodies::SessionBody,
    departed::{self, Departed},
    failure::ClientError,
    local_file::LocalFile,
    pace::Pace,
    part_numbers,
    patience::Patience,
    upload::{Event, UploadError},
};
use crate::domain::{MIB, Part, PartPlan, Sha256Digest};

/// How long another uploader of the same part is left to it, at first.
const FIRST_WAIT_FOR_OTHERS: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How much of a file a server reads in a second, at least, to finalize it.
const SLOWEST_FINALIZE: u64 = 10 * MIB;

/// The sending of one file to one session.
pub(super) struct Sending<'a> {
    pub(super) client: &'a Client,
    pub(super) file: &'a LocalFile,
    pub(super) plan: PartPlan,
    pub(super) session: &'a SessionBody,
    pub(super) patience: &'a Patience,
    pub(super) pace: Pace,
    pub(super) departed: Arc<Departed>,
    pub(super) on: &'a Arc<dyn Fn(Event) + Send + Sync>,
    /// The digests of the parts that were sent, as they were sent.
    pub(super) digests: Mutex<BTreeMap<u32, Sha256Digest>>,
}

impl Sending<'_> {
    pub(super) async fn send_missing(&self, most_parallel: usize) -> Result<(), UploadError> {
        let parts =
            part_numbers(&self.session.missing_parts).map(|number| self.plan.part(number).ok_or(UploadError::Confused));
        let retrying = |reason| (self.on)(Event::Retrying { reason });
        let send = |part| async move { self.patience.insist(&retrying, || self.send(part)).await };
        let sending = stream::iter(parts).try_for_each_concurrent(most_parallel, send);
        let sent: Result<(), UploadError> = tokio::select! {
            sent = sending => sent,
            never = self.watch_departures() => match never {},
        };
        self.tell(self.departed.rest());
        match sent {
            // Another device may have sent the rest and finalized; whether it was the same file, the digest tells.
            Err(UploadError::Client(error)) if error.code() == Some("SESSION_CLOSED") => {
                self.patience.insist(&retrying, || self.expect_complete()).await
            }
            // A database that was restored has forgotten the session.
            Err(UploadError::Client(error)) if error.code() == Some("NOT_FOUND") => Err(self.other_file()),
            sent => sent,
        }
    }

    /// Tells how much has gone.
    async fn watch_departures(&self) -> Infallible {
        loop {
            tokio::time::sleep(departed::LOOK_INTERVAL).await;
            let bytes = self.departed.since_last();
            self.tell(bytes);
            if bytes > 0 {
                self.patience.moved();
            }
        }
    }

    fn tell(&self, bytes: i64) {
        match bytes {
            0 => {}
            lost if lost < 0 => (self.on)(Event::Lost { bytes: lost.unsigned_abs() }),
            sent => (self.on)(Event::Sent { bytes: sent.unsigned_abs() }),
        }
    }

    fn other_file(&self) -> UploadError {
        UploadError::OtherFile(self.session.session_id.clone())
    }

    /// The composite digest of the local file. Where the file's times say that it was written to, each part is read again:
    /// what was sent must still be what is there.
    pub(super) async fn composite(&self) -> Result<Sha256Digest, UploadError> {
        let (mut all, has_changed) = (Vec::new(), self.file.has_changed());
        for number in 1..=self.plan.total_parts() {
            let part = self.plan.part(number).ok_or(UploadError::Confused)?;
            let sent = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
            let digest = match sent {
                Some(sent) if !has_changed => sent,
                _ => self.file.sha256(part).await?,
            };
            if sent.is_some_and(|sent| sent != digest) {
                return Err(UploadError::Changed);
            }
            all.push(digest);
        }
        Ok(Sha256Digest::composite(all))
    }

    /// Sends a part until it has arrived with these bytes. Another uploader may send the same part. They would take it over
    /// from each other for ever, so the one that is told so waits, longer each time, before it sends again.
    async fn send(&self, part: Part) -> Result<(), UploadError> {
        let mut patience = FIRST_WAIT_FOR_OTHERS;
        loop {
            match self.send_once(part).await {
                Err(UploadError::Client(error)) if error.code() == Some("BUSY") => {
                    let until = Instant::now() + patience;
                    while Instant::now() < until {
                        tokio::time::sleep(LOOK_INTERVAL).await;
                        if self.client.part_sha256(&self.session.session_id, part.number).await?.is_some() {
                            // Sent once more, now to be compared.
                            break;
                        }
                    }
                    patience *= 2;
                }
                sent => return sent,
            }
        }
    }

    async fn send_once(&self, part: Part) -> Result<(), UploadError> {
        let lane = self.pace.lane().await;
        let sha256 = self.file.sha256(part).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let (counted, departed) = (Arc::clone(&sent), Arc::clone(&self.departed));
        let blocks = self.file.read(part, move |bytes| {
            // In this order: what is counted here is taken back there.
            departed.handed_over(bytes as u64);
            counted.fetch_add(bytes as u64, Ordering::Relaxed);
        });
        let body = reqwest::Body::wrap_stream(blocks);
        let put = self.client.put_part(&self.session.session_id, part.number, part.size_bytes, &sha256, body);
        let put = tokio::select! {
            put = put => put,
            () = self.stalled(&sent) => Err(ClientError::Stalled),
        };
        let Err(error) = put else {
            lane.arrived(part.size_bytes);
            self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(part.number, sha256);
            return Ok(());
        };
        if !error.is_answer() {
            lane.broke();
        }
        self.departed.lost(sent.load(Ordering::Relaxed));
        match error.code() {
            // Read once more: either the bytes were damaged on the way, or somebody wrote to the file.
            Some("CHECKSUM_MISMATCH" | "PART_CONFLICT") if self.file.sha256(part).await? != sha256 => {
                Err(UploadError::Changed)
            }
            Some("CHECKSUM_MISMATCH") => Err(UploadError::Damaged),
            Some("PART_CONFLICT") => Err(self.other_file()),
            _ => Err(error.into()),
        }
    }

    /// Ends when nothing went out for longer than what went out before can be on its way.
    async fn stalled(&self, sent: &AtomicU64) {
        let (mut before, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = sent.load(Ordering::Relaxed);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > self.pace.longest_silence(now) {
                return;
            }
        }
    }

    async fn expect_complete(&self) -> Result<(), UploadError> {
        let session = self.client.session(&self.session.session_id).await?;
        match session.status.as_str() {
            "COMPLETE" => Ok(()),
            // Whoever aborted it meant to. All else (expired, bytes lost) is no reason to give up.
            "ABORTED" | "FAILED" if session.status_reason.as_deref() != Some("aborted_by_owner") => {
                Err(self.other_file())
            }
            status => Err(UploadError::Ended(format!("{status} ({})", session.status_reason.unwrap_or_default()))),
        }
    }

    /// `begun` is when it was tried first.
    pub(super) async fn finalize(&self, composite: Sha256Digest, begun: Instant) -> Result<SessionBody, UploadError> {
        match self.client.finalize_expecting(&self.session.session_id, composite).await {
            // Another uploader's parts are among them.
            Err(error) if matches!(error.code(), Some("CHECKSUM_MISMATCH" | "NOT_FOUND")) => Err(self.other_file()),
            Err(error) if error.code() == Some("SESSION_CLOSED") => {
                self.expect_complete().await?;
                Err(self.other_file())
            }
            // A server that still reads a large file is not gone, whatever a proxy before it thinks.
            Err(error) if error.is_retryable() && begun.elapsed() < self.longest_finalize() => {
                if self.client.session(&self.session.session_id).await.is_ok() {
                    self.patience.renew();
                }
                Err(error.into())
            }
            finalized => Ok(finalized?),
        }
    }

    fn longest_finalize(&self) -> Duration {
        Duration::from_secs(self.session.total_size_bytes / SLOWEST_FINALIZE)
    }
}
