//! Downloads of this node that are running.
//!
//! Owns which stored files this node is sending, and the protection of their bytes. An object store may drop the bytes of a
//! deleted object before a download that has begun reads them. So on an object store, the bytes of a deleted file stay for
//! [`MIN_STAY`]. In this time, a node that is sending the file takes its freeing lease, and renews it until the download ends. In
//! a folder, an open file keeps its bytes. Does not own how a file is read: that is `download`.

use std::{collections::HashMap, sync::Arc};

use chrono::TimeDelta;
use parking_lot::Mutex;

use super::{Service, sweep::BATCH};
use crate::{
    domain::{FileId, Timestamp},
    error::Result,
};

/// How long the bytes of a deleted file stay on an object store at least. Several times the time between two calls of
/// [`Service::protect_downloads`].
const MIN_STAY: TimeDelta = TimeDelta::seconds(10);
/// Duration of the freeing lease that a node takes on a deleted file that it is sending.
const LEASE: TimeDelta = TimeDelta::minutes(10);
/// A lease is renewed when less than this is left of it.
const RENEWAL: TimeDelta = TimeDelta::minutes(5);

/// The files that this node is sending, and the number of downloads of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Downloads(Arc<Mutex<HashMap<FileId, usize>>>);

/// One download. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Download {
    downloads: Downloads,
    file: FileId,
}

impl Downloads {
    pub(super) fn begin(&self, file: FileId) -> Download {
        *self.0.lock().entry(file).or_default() += 1;
        Download { downloads: self.clone(), file }
    }

    fn files(&self) -> Vec<FileId> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let mut files = self.downloads.0.lock();
        if let Some(downloads) = files.get_mut(&self.file) {
            *downloads -= 1;
            if *downloads == 0 {
                files.remove(&self.file);
            }
        }
    }
}

impl Service {
    /// Keeps every node from freeing the deleted files that this node is sending, for a while. Must be called every few seconds.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn protect_downloads(&self) -> Result<()> {
        if self.storage.as_folder().is_none() {
            let now = self.clock.now();
            for files in self.downloads.files().chunks(usize::try_from(BATCH).unwrap_or(1)) {
                self.db.postpone_freeing(files, now + RENEWAL, now + LEASE).await?;
            }
        }
        Ok(())
    }

    /// The bytes of files that were deleted at this moment or before may be freed, unless a node is sending them.
    pub(super) fn free_if_deleted_until(&self, now: Timestamp) -> Timestamp {
        if self.storage.as_folder().is_some() { now } else { now - MIN_STAY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sent_until_its_last_download_ends() {
        let (downloads, file) = (Downloads::default(), FileId::generate());
        let (first, second) = (downloads.begin(file), downloads.begin(file));
        drop(first);
        assert_eq!(downloads.files(), [file]);
        drop(second);
        assert!(downloads.0.lock().is_empty());
    }
}
