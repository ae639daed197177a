//! Multipart uploads of which the store checks the CRC-64/NVME of each part.
//!
//! Owns whether the store can do that: S3 can, and stores that are compatible with it may refuse to create such an upload. Each session
//! remembers which kind its upload is, because the store expects a checksum with every part of the one kind and may refuse it with
//! the other. Does not own the checksums: the crate `object_store` computes them again from the bytes that it sends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use object_store::{multipart::MultipartStore, path::Path};

use super::{
    ObjectStorage,
    answers::{ANSWER_TIMEOUT, with_timeout},
};
use crate::{
    domain::Session,
    storage::{Error, Result},
};

/// A store that sends a checksum with each part.
#[derive(Clone)]
pub(super) struct CheckedUploads {
    uploads: Arc<dyn MultipartStore>,
    is_refused: Arc<AtomicBool>,
}

impl CheckedUploads {
    /// `is_refused`: whether the store must create only uploads without checksums.
    pub(super) fn new(store: impl MultipartStore, is_refused: bool) -> Self {
        Self { uploads: Arc::new(store), is_refused: Arc::new(AtomicBool::new(is_refused)) }
    }

    /// False if the store has refused to create such an upload before.
    pub(super) fn may_start(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed)
    }

    /// Creates an upload.
    pub(super) async fn start(&self, path: &Path) -> Result<String> {
        with_timeout("create an upload", ANSWER_TIMEOUT, self.uploads.create_multipart(path)).await
    }

    /// Remembers, until the next start, that the store accepts only uploads without checksums.
    pub(super) fn give_up(&self, refusal: &Error) {
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            tracing::info!(error = %refusal, "the object store does not check CRC-64/NVME; parts are sent without");
        }
    }
}

impl ObjectStorage {
    /// The store for the parts of this session's upload.
    pub(super) fn uploads_of(&self, session: &Session) -> Arc<dyn MultipartStore> {
        let checked =
            self.checked.as_ref().filter(|_| session.storage_upload.as_ref().is_some_and(|upload| upload.checks_crc64));
        checked.map_or_else(|| Arc::clone(&self.uploads), |checked| Arc::clone(&checked.uploads))
    }
}
