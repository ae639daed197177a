//! Copying the bytes of one session.
//!
//! Owns which sessions have bytes that must be copied, and when a failure is worth another try. Does not own how: that is in
//! `stored` and `open`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    LeftBehind, MissingParts, MoveOptions, MoveProgress, MoveSource,
    plan::unfit,
    transfer::{Failure, Transfer},
};
use crate::{
    db::CheckedUpload,
    domain::{Session, SessionId, Upload},
    error::{Error, Result},
    service::Service,
    storage::PartLimits,
};

/// The pauses before an upload is tried again after a failure that may pass.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// One session on its way.
#[derive(Debug)]
pub(super) struct Carry {
    pub(super) target: Arc<Service>,
    pub(super) source: MoveSource,
    pub(super) options: MoveOptions,
    pub(super) limits: PartLimits,
    /// Of all sessions.
    pub(super) copied_bytes: Arc<AtomicU64>,
    /// The bytes that this try has passed, and those of the try that came furthest.
    pub(super) passed: AtomicU64,
    pub(super) furthest: AtomicU64,
}

/// What became of one session.
#[derive(Debug)]
pub(super) enum Carried {
    /// All its bytes are in the target, or it has none.
    Whole,
    /// The same, but no digest of them is recorded.
    NotCompared,
    /// Some parts of an open session are not.
    Incomplete(MissingParts),
    /// It stays behind.
    Left(LeftBehind),
}

/// How often an upload was tried again.
#[derive(Default)]
pub(super) struct Tries {
    pauses: usize,
    has_restarted: bool,
}

impl Carry {
    /// Copies the bytes of a session, unless an earlier run has done so.
    pub(super) async fn session(&self, id: SessionId) -> Result<Carried> {
        let upload = match self.source.db.check_session(id).await? {
            Ok(CheckedUpload { upload, .. }) => upload,
            Err(why) => return Ok(Carried::Left(LeftBehind::unreadable(id, why))),
        };
        let is_stored = upload.is_stored();
        let Upload { session, file } = upload;
        if is_stored {
            return self.stored(&session, &file).await;
        }
        if session.status.is_open()
            && let Some(why) = unfit(&session, self.limits)
        {
            self.discard(&session).await?;
            return Ok(Carried::Left(LeftBehind::open_session(&session, &file, why)));
        }
        if session.status.is_open() && session.has_bytes() {
            return self.open(&session, &file).await;
        }
        self.discard(&session).await?;
        Ok(Carried::Whole)
    }

    /// Decides whether an upload is tried again after a failure.
    pub(super) async fn recover(&self, session: &Session, failure: Failure, tries: &mut Tries) -> Result<()> {
        self.passed.store(0, Ordering::Relaxed);
        match failure {
            Failure::TargetLost(_) if !tries.has_restarted => {
                tries.has_restarted = true;
                self.discard(session).await
            }
            Failure::TargetLost(error) => Err(error.into()),
            Failure::Stop(error) if error.code().is_retryable() && tries.pauses < PAUSES.len() => {
                (self.options.on_progress)(MoveProgress::Retrying { reason: error.with_causes() });
                tokio::time::sleep(PAUSES[tries.pauses]).await;
                tries.pauses += 1;
                Ok(())
            }
            Failure::Stop(error) => Err(error),
            Failure::Unreadable(why) => Err(Error::unavailable("the source cannot be read", why)),
        }
    }

    /// Frees what an earlier run, or this one, has copied of a session.
    pub(super) async fn discard(&self, session: &Session) -> Result<()> {
        if self.target.db.move_upload(session.id).await?.is_none() {
            return Ok(());
        }
        Transfer::of(&self.target, session, session.plan).await?.discard().await
    }

    pub(super) fn copied(&self, bytes: &Bytes) {
        self.copied_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.passed(bytes.len() as u64);
    }

    /// Bytes that are passed again in another try count once.
    pub(super) fn passed(&self, bytes: u64) {
        let passed = self.passed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let before = self.furthest.fetch_max(passed, Ordering::Relaxed);
        if passed > before {
            (self.options.on_progress)(MoveProgress::Passed { bytes: passed - before });
        }
    }
}
