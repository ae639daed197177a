//! Sending what is missing.
//!
//! Owns the course of an upload: find or create the session, send its missing parts, finalize. Whatever happens on the
//! way, connection lost, server gone, process killed, running it again goes on where the server says it stands.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt, stream};
use uuid::Uuid;

use super::{
    api::{Client, ClientError},
    bodies::{NewUpload, SessionBody},
    local_file::LocalFile,
    part_numbers,
    resume::{self, Found},
};
use crate::domain::{Part, PartPlan};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How long another uploader of the same part is left to it, at first.
const FIRST_WAIT_FOR_OTHERS: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing of a part may go out, or its answer may take, before the connection is taken for dead.
const LONGEST_STALL: Duration = Duration::from_mins(2);
/// How long nothing at all may succeed before it is given up.
const PATIENCE: Duration = Duration::from_mins(5);

/// How to upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadOptions {
    /// Parts sent at the same time, at least 1.
    pub parallel: usize,
    /// Begin anew, whatever was begun or finished before.
    pub anew: bool,
}

/// How far an upload has come; for a progress bar.
#[derive(Clone, Debug)]
pub enum Event {
    /// Received parts are to be compared with the local file.
    Comparing {
        /// How much.
        bytes: u64,
    },
    /// A received part has the bytes of the local file.
    Compared {
        /// How much.
        bytes: u64,
    },
    /// Parts are going to be sent.
    Sending(Box<SessionBody>),
    /// Bytes went out; they are not acknowledged yet.
    Sent {
        /// How much.
        bytes: u64,
    },
    /// Bytes that went out were not acknowledged and will go out again.
    Lost {
        /// How much.
        bytes: u64,
    },
    /// Something failed and will be tried again.
    Retrying {
        /// What failed.
        reason: String,
    },
    /// All parts have arrived.
    Finalizing,
}

/// How an upload ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The finished session.
    pub session: SessionBody,
    /// False if the file had been uploaded and finalized before.
    pub is_new: bool,
}

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum UploadError {
    #[error(
        "this is not the file that was begun: part {part} of session {session_id} has other bytes; nothing was sent. \
         To upload this file as it is now, run again with --new"
    )]
    DifferentFile { session_id: String, part: u32 },
    #[error(
        "the file was changed during the upload; nothing was finalized. Run again with --new to upload it as it is now"
    )]
    Changed,
    #[error("the session ended before all parts were sent: {0}")]
    Ended(String),
    #[error("the server's answers do not fit together; is it a Partway server?")]
    Confused,
    #[error(transparent)]
    File(std::io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<std::io::Error> for UploadError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // Shorter than it was.
            std::io::ErrorKind::UnexpectedEof => Self::Changed,
            _ => Self::File(error),
        }
    }
}

/// Uploads a file, going on with an upload of it that was begun before.
pub async fn upload(
    client: &Client,
    file: &LocalFile,
    options: UploadOptions,
    on: Arc<dyn Fn(Event) + Send + Sync>,
) -> Result<Outcome, UploadError> {
    let patience = Patience::new();
    let found =
        if options.anew { Found::Nothing } else { patience.insist(&*on, || resume::find(client, file, &*on)).await? };
    let session = match found {
        Found::Finished(session) => return Ok(Outcome { session: *session, is_new: false }),
        Found::Open(session) => *session,
        Found::Nothing => {
            // The same key for every try: a lost answer must not leave a second session behind.
            let key = Uuid::now_v7().to_string();
            let create = || async { Ok(client.create(&NewUpload::of(file, &key)).await?) };
            patience.insist(&*on, create).await?
        }
    };
    on(Event::Sending(Box::new(session.clone())));
    let sending =
        Sending { client, file, plan: resume::plan(&session)?, session: &session, patience: &patience, on: &on };
    sending.send_missing(options.parallel.max(1)).await?;
    if file.has_changed() {
        return Err(UploadError::Changed);
    }
    on(Event::Finalizing);
    let session = patience.insist(&*on, || sending.finalize()).await?;
    Ok(Outcome { session, is_new: true })
}

struct Sending<'a> {
    client: &'a Client,
    file: &'a LocalFile,
    plan: PartPlan,
    session: &'a SessionBody,
    patience: &'a Patience,
    on: &'a Arc<dyn Fn(Event) + Send + Sync>,
}

impl Sending<'_> {
    async fn send_missing(&self, parallel: usize) -> Result<(), UploadError> {
        let parts =
            part_numbers(&self.session.missing_parts).map(|number| self.plan.part(number).ok_or(UploadError::Confused));
        let send = |part| async move { self.patience.insist(&**self.on, || self.send(part)).await };
        let sent: Result<(), UploadError> = stream::iter(parts).try_for_each_concurrent(parallel, send).await;
        match sent {
            // Another device may have sent the rest and finalized.
            Err(UploadError::Client(error)) if error.code() == Some("SESSION_CLOSED") => self.expect_complete().await,
            sent => sent,
        }
    }

    /// Sends a part until it has arrived, by whomever: another uploader of the same file may be at it too. They would take
    /// the part over from each other for ever, so the one that was told so waits, longer each time, before it sends again.
    async fn send(&self, part: Part) -> Result<(), UploadError> {
        let mut patience = FIRST_WAIT_FOR_OTHERS;
        loop {
            match self.send_once(part).await {
                Err(UploadError::Client(error)) if error.code() == Some("BUSY") => {
                    let until = Instant::now() + patience;
                    while Instant::now() < until {
                        tokio::time::sleep(LOOK_INTERVAL).await;
                        if self.client.has_part(&self.session.session_id, part.number).await? {
                            return Ok(());
                        }
                    }
                    patience *= 2;
                }
                sent => return sent,
            }
        }
    }

    async fn send_once(&self, part: Part) -> Result<(), UploadError> {
        let sha256 = self.file.sha256(part).await?;
        let (sent, on) = (Arc::new(AtomicU64::new(0)), Arc::clone(self.on));
        let counted = Arc::clone(&sent);
        let blocks = self.file.read(part, move |bytes| {
            counted.fetch_add(bytes as u64, Ordering::Relaxed);
            on(Event::Sent { bytes: bytes as u64 });
        });
        let body = reqwest::Body::wrap_stream(blocks);
        let put = self.client.put_part(&self.session.session_id, part.number, part.size_bytes, &sha256, body);
        let put = tokio::select! {
            put = put => put,
            () = stalled(&sent) => Err(ClientError::Stalled),
        };
        match put {
            Ok(()) => Ok(()),
            Err(error) => {
                (self.on)(Event::Lost { bytes: sent.load(Ordering::Relaxed) });
                // Hashed, then read again to be sent: in between somebody wrote to it.
                let changed = matches!(error.code(), Some("CHECKSUM_MISMATCH")) || self.file.has_changed();
                Err(if changed { UploadError::Changed } else { error.into() })
            }
        }
    }

    async fn expect_complete(&self) -> Result<(), UploadError> {
        let session = self.client.session(&self.session.session_id).await?;
        match session.status.as_str() {
            "COMPLETE" => Ok(()),
            status => Err(UploadError::Ended(format!("{status} ({})", session.status_reason.unwrap_or_default()))),
        }
    }

    async fn finalize(&self) -> Result<SessionBody, UploadError> {
        match self.client.finalize(&self.session.session_id).await {
            Err(ClientError::Network(error)) => {
                // A server that still hashes a large file is not gone.
                if self.client.session(&self.session.session_id).await.is_ok() {
                    self.patience.renew();
                }
                Err(ClientError::Network(error).into())
            }
            finalized => Ok(finalized?),
        }
    }
}

/// Ends when nothing went out for a while.
async fn stalled(sent: &AtomicU64) {
    let mut before = None;
    loop {
        let now = sent.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(LONGEST_STALL).await;
    }
}

/// Tries again what may succeed later, until nothing at all has succeeded for long.
struct Patience(Mutex<Instant>);

impl Patience {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether it has been tried since `failing_since` without anything succeeding meanwhile, here or elsewhere.
    fn is_over(&self, failing_since: Instant) -> bool {
        let succeeded = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        succeeded.max(failing_since).elapsed() > PATIENCE
    }

    async fn insist<T, F: Future<Output = Result<T, UploadError>>>(
        &self,
        on: &dyn Fn(Event),
        attempt: impl Fn() -> F,
    ) -> Result<T, UploadError> {
        let (mut pause, mut failing_since) = (FIRST_PAUSE, None);
        loop {
            match attempt().await {
                Ok(value) => {
                    self.renew();
                    return Ok(value);
                }
                Err(UploadError::Client(error))
                    if error.is_retryable() && !self.is_over(*failing_since.get_or_insert_with(Instant::now)) =>
                {
                    on(Event::Retrying { reason: error.to_string() });
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
