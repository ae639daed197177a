//! Sending what is missing.
//!
//! Owns the course of an upload: find or create the session, send its missing parts, finalize. Whatever happens on the
//! way, connection lost, server gone, process killed, running it again goes on where the server says it stands.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    api::Client,
    bodies::{NewUpload, SessionBody},
    failure::ClientError,
    local_file::LocalFile,
    pace::Pace,
    patience::{Failure, Patience},
    resume::{self, Found},
    sending::Sending,
};

/// How many sessions are tried before it is given up that one holds this file alone.
const MAX_SESSIONS: usize = 5;

/// How to upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadOptions {
    /// Parts sent at the same time, at most; fewer while the line is slow.
    pub parallel: usize,
    /// Begin anew, whatever was begun or finished before.
    pub anew: bool,
    /// How long to try again without progress.
    pub retry_for: Duration,
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
    /// The session holds another file; a new one is begun.
    Anew {
        /// The session that is left alone.
        session_id: String,
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
    #[error("session {0} holds parts of another file of this name and size")]
    OtherFile(String),
    #[error("a part was damaged on the way")]
    Damaged,
    #[error("the file was changed during the upload; nothing was finalized. Run again to upload it as it is now")]
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

impl Failure for UploadError {
    fn is_retryable(&self) -> bool {
        match self {
            // BUSY is waited for where it is told.
            Self::Client(error) => error.is_retryable(),
            Self::Damaged => true,
            _ => false,
        }
    }

    fn as_client_error(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
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

/// Uploads a file, going on with an upload of it that was begun before. A session that turns out to hold another file is left
/// alone, and a new one begun. Returns only when the server has proven, by the composite digest over all parts, that the
/// stored file is this one.
pub async fn upload(
    client: &Client,
    file: &LocalFile,
    options: UploadOptions,
    on: Arc<dyn Fn(Event) + Send + Sync>,
) -> Result<Outcome, UploadError> {
    let patience = Patience::new(options.retry_for);
    let retrying = |reason| on(Event::Retrying { reason });
    let found = if options.anew {
        Found::Nothing
    } else {
        patience.insist(&retrying, || resume::find(client, file, &*on)).await?
    };
    let mut session = match found {
        Found::Finished(session) => return Ok(Outcome { session: *session, is_new: false }),
        Found::Open(session) => Some(*session),
        Found::Nothing => None,
    };
    let mut shared_key = if options.anew { None } else { Some(resume::content_key(file).await?) };
    for _ in 0..MAX_SESSIONS {
        let begun = match session.take() {
            Some(session) => session,
            None => {
                // The same key for every try: a lost answer must not leave a second session behind.
                let key = shared_key.take().unwrap_or_else(|| Uuid::now_v7().to_string());
                let new = NewUpload::of(file, &key);
                let session = match patience.insist(&retrying, || client.create(&new)).await {
                    Ok(session) => session,
                    Err(error) if error.code() == Some("IDEMPOTENCY_KEY_REUSED") => continue,
                    Err(error) => return Err(error.into()),
                };
                // Unless it is new, the key was used before: another uploader is at it or done, or the session ended
                // without a file.
                let examine = || resume::examine(client, file, session.clone(), &*on);
                match patience.insist(&retrying, examine).await? {
                    Found::Open(session) => *session,
                    Found::Finished(session) => return Ok(Outcome { session: *session, is_new: false }),
                    Found::Nothing => continue,
                }
            }
        };
        let id = begun.session_id.clone();
        match send_all(client, file, begun, options, &patience, &on).await {
            Ok(session) => return Ok(Outcome { session, is_new: true }),
            // The server has found that bytes of parts are gone, and has forgotten these parts.
            Err(UploadError::Client(error)) if error.code() == Some("PARTS_MISSING") => {
                session = Some(patience.insist(&retrying, || client.session(&id)).await?);
            }
            Err(UploadError::OtherFile(id)) => on(Event::Anew { session_id: id }),
            Err(error) => return Err(error),
        }
    }
    Err(UploadError::Confused)
}

async fn send_all(
    client: &Client,
    file: &LocalFile,
    session: SessionBody,
    options: UploadOptions,
    patience: &Patience,
    on: &Arc<dyn Fn(Event) + Send + Sync>,
) -> Result<SessionBody, UploadError> {
    on(Event::Sending(Box::new(session.clone())));
    let (plan, digests, departed) = (resume::plan(&session)?, Mutex::default(), Arc::default());
    let parallel = options.parallel.max(1);
    let pace = Pace::at_most(parallel);
    let sending = Sending { client, file, plan, session: &session, patience, pace, departed, on, digests };
    sending.send_missing(parallel).await?;
    let composite = sending.composite().await?;
    on(Event::Finalizing);
    let begun = Instant::now();
    let retrying = |reason| on(Event::Retrying { reason });
    let done = patience.insist(&retrying, || sending.finalize(composite, begun)).await?;
    if done.file.composite_sha256 != Some(composite.to_string()) {
        return Err(UploadError::OtherFile(session.session_id.clone()));
    }
    Ok(done)
}
