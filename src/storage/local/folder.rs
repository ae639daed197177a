//! What a folder can do and an object store cannot.
//!
//! Owns the list of sessions that have a file in `uploading/`, its removal, and the detection of changes by other programs. Passes
//! small files on to `small_file`. Does not own what other storages can do too: that is the parent module.

use std::{fs, sync::Arc, time::SystemTime};

use async_trait::async_trait;

use super::{
    ArrivingFile, LocalDisk, UNFINISHED, UPLOADING,
    dir_entries::{list, list_next, remove},
    mtime_mark,
};
use crate::{
    domain::{FileId, Session, SessionId},
    storage::{AbandonedFile, FolderStorage, PersistedFile, Result, off_thread},
};

#[async_trait]
impl FolderStorage for LocalDisk {
    async fn uploads(&self) -> Result<Vec<SessionId>> {
        Ok(list(self.root.join(UPLOADING)).await?.into_iter().map(SessionId).collect())
    }

    async fn next_uploads(&self, limit: usize) -> Result<Vec<SessionId>> {
        let found = list_next(self.root.join(UPLOADING), Arc::clone(&self.listing), limit).await?;
        Ok(found.into_iter().map(SessionId).collect())
    }

    async fn discard_upload(&self, session: SessionId) -> Result<()> {
        let (uploading, creation) = (self.uploading(session), Arc::clone(&self.creation));
        off_thread(move || {
            // A concurrent first part may be about to rename the unfinished file.
            let _no_concurrent_creation = creation.lock();
            remove(&uploading.with_extension(UNFINISHED))?;
            remove(&uploading)
        })
        .await
    }

    async fn externally_modified_at(&self, session: &Session) -> Result<Option<SystemTime>> {
        let paths = self.paths(session);
        off_thread(move || {
            let Some(file) = paths.iter().find_map(|path| fs::metadata(path).ok()) else { return Ok(None) };
            let modified_at = if mtime_mark::is_set(&file) { None } else { file.modified().ok() };
            Ok(modified_at)
        })
        .await
    }

    fn receive_file(&self, id: FileId) -> ArrivingFile {
        self.begin(id)
    }

    async fn persist_file(&self, arriving: &mut ArrivingFile) -> Result<PersistedFile> {
        self.persist(arriving).await
    }

    async fn keep_file(&self, id: FileId) -> Result<()> {
        self.keep(id).await
    }

    async fn discard_file(&self, arriving: ArrivingFile) -> Result<()> {
        self.stop_and_remove(arriving).await
    }

    async fn abandoned_files(&self) -> Result<Vec<AbandonedFile>> {
        self.abandoned().await
    }

    async fn discard_abandoned(&self, id: FileId) -> Result<()> {
        self.remove_arriving(id).await
    }
}
