//! An upload from start to end.
//!
//! Owns the sequence: find or create the session, send its missing parts, finalize. If the connection breaks, the server
//! stops, or this process is killed, the next run resumes from the state of the server. Does not send parts itself: that
//! is `session_upload`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    api::Client,
    bodies::{NewUpload, SessionBody},
    concurrency::ConcurrencyLimit,
    error::ClientError,
    event::Event,
    local_file::LocalFile,
    resume::{self, Resumable},
    retry::RetryPolicy,
    session_upload::{PartDigests, SessionUpload},
    upload_error::UploadError,
};

/// How many sessions the client tries. Each may turn out to hold another file, or to have ended without one.
const MAX_SESSIONS: usize = 5;

/// How to upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadOptions {
    /// The highest number of parts, of all files together, that are sent in parallel. The client sends fewer while the connection is slow.
    pub parallel: usize,
    /// Whether to create a new session even if the server has an unfinished or finished upload of this file.
    pub force_new: bool,
    /// How long to retry without progress.
    pub retry_for: Duration,
}

/// The result of an upload.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The finished session.
    pub session: SessionBody,
    /// False if the server already had the finished file.
    pub is_new: bool,
}

/// Uploads files to one server. All files share the limit on parallel parts and the retry policy, so several of them can be
/// uploaded at the same time.
#[derive(Debug)]
pub struct Uploader {
    client: Client,
    options: UploadOptions,
    retry: RetryPolicy,
    limit: ConcurrencyLimit,
}

/// Receives the steps of the upload of one file.
pub type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

impl Uploader {
    /// An uploader that sends with this client.
    pub fn new(client: Client, options: UploadOptions) -> Self {
        let (retry, limit) = (RetryPolicy::new(options.retry_for), ConcurrencyLimit::new(options.parallel.max(1)));
        Self { client, options, retry, limit }
    }

    /// Uploads a file, and resumes an earlier upload of it if there is one. If a session turns out to hold another file, the
    /// client leaves it alone and creates a new one. Returns a session only if the server's composite digest over all parts,
    /// and its checksum of the file, are those of the local file.
    pub async fn upload(&self, file: &LocalFile, on: OnEvent) -> Result<Outcome, UploadError> {
        let Self { client, options, retry, .. } = self;
        let on_retry = |reason| on(Event::Retrying { reason });
        let found = if options.force_new {
            Resumable::Nothing
        } else {
            retry.run(&on_retry, || resume::find(client, file, &*on)).await?
        };
        let mut resumed = match found {
            Resumable::Finished(session) => return Ok(Outcome { session: *session, is_new: false }),
            Resumable::Open(session, compared) => Some((*session, compared)),
            Resumable::Nothing => None,
        };
        let mut shared_key = if options.force_new { None } else { Some(resume::content_key(file).await?) };
        for _ in 0..MAX_SESSIONS {
            let (session, compared) = match resumed.take() {
                Some(found) => found,
                None => {
                    // All attempts use one key, so that a lost response does not leave a second session behind.
                    let key = shared_key.take().unwrap_or_else(|| Uuid::now_v7().to_string());
                    let new = NewUpload::of(file, &key);
                    let session = match retry.run(&on_retry, || client.create(&new)).await {
                        Ok(session) => session,
                        Err(error) if error.code() == Some("IDEMPOTENCY_KEY_REUSED") => continue,
                        Err(error) => return Err(error.into()),
                    };
                    // The session may be an older one with this key: another uploader may be sending it or may have
                    // finished it, or it may have ended without a file.
                    let examine = || resume::examine(client, file, session.clone(), &*on);
                    match retry.run(&on_retry, examine).await? {
                        Resumable::Open(session, compared) => (*session, compared),
                        Resumable::Finished(session) => return Ok(Outcome { session: *session, is_new: false }),
                        Resumable::Nothing => continue,
                    }
                }
            };
            let id = session.session_id.clone();
            match self.send_and_finalize(file, (session, compared), &on).await {
                Ok(session) => return Ok(Outcome { session, is_new: true }),
                // The server found that bytes of some parts are gone, and deleted the rows of these parts.
                Err(UploadError::Client(error)) if error.code() == Some("PARTS_MISSING") => {
                    let session = retry.run(&on_retry, || client.session(&id)).await?;
                    resumed = Some((session, PartDigests::new()));
                }
                Err(UploadError::OtherFile(id)) => on(Event::NewSession { replaces: id }),
                Err(error) => return Err(error),
            }
        }
        Err(UploadError::ProtocolMismatch)
    }

    async fn send_and_finalize(
        &self,
        file: &LocalFile,
        (session, compared): (SessionBody, PartDigests),
        on: &OnEvent,
    ) -> Result<SessionBody, UploadError> {
        on(Event::Sending(Box::new(session.clone())));
        let Self { client, options, retry, limit } = self;
        let (plan, digests, sent_bytes) = (resume::plan(&session)?, Mutex::new(compared), Arc::default());
        let upload = SessionUpload { client, file, plan, session: &session, retry, limit, sent_bytes, on, digests };
        upload.send_missing(options.parallel.max(1)).await?;
        let expected = upload.file_digests().await?;
        on(Event::Finalizing);
        let start = Instant::now();
        let on_retry = |reason| on(Event::Retrying { reason });
        let done = retry.run(&on_retry, || upload.finalize(expected, start)).await?;
        if !expected.are_of(&done.file) {
            return Err(UploadError::OtherFile(session.session_id.clone()));
        }
        Ok(done)
    }

    /// Whether this error of one file is one of the server, the connection or the token, so that no other file can be
    /// uploaded either.
    pub fn is_for_all_files(&self, error: &UploadError) -> bool {
        let UploadError::Client(error) = error else { return false };
        match error {
            // Another uploader sends the same part.
            ClientError::Refused { code, .. } if code == "BUSY" => false,
            ClientError::Refused { code, .. } if matches!(code.as_str(), "UNAUTHENTICATED" | "FORBIDDEN") => true,
            // A proxy may refuse one file, because of its size or its name.
            ClientError::NotPartway { retryable: false, .. } => !self.retry.has_succeeded(),
            // The client has retried for as long as it may.
            ClientError::Refused { retryable, .. } => *retryable,
            _ => true,
        }
    }
}
