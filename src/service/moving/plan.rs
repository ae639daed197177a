//! What a move will copy, from the rows alone.
//!
//! Owns the totals, and what can be known to be impossible before any byte is copied. Does not own damage, which the copy finds.

use uuid::Uuid;

use super::{LeftBehind, MovePlan, MoveSource, PAGE};
use crate::{
    domain::{Session, Upload},
    error::{Error, Result},
    storage::PartLimits,
};

impl MoveSource {
    /// The id that binds the source's database to its storage.
    ///
    /// # Errors
    /// They do not have the same id.
    pub(super) async fn id(&self) -> Result<Uuid> {
        match (self.db.storage_id().await?, self.storage.binding().await?) {
            (Some(expected), Some(found)) if expected == found => Ok(expected),
            _ => Err(Error::cannot_move(
                "the database and the storage of the source do not belong together, or no server has ever used them; check \
                 the settings `database` and `storage`"
                    .to_owned(),
            )),
        }
    }

    /// What a move to a storage with these limits will copy. Reads rows, and no bytes.
    pub async fn plan(&self, limits: PartLimits, ends_uploads: bool) -> Result<MovePlan> {
        let mut plan = MovePlan { left_behind: self.lone_files().await?, ..MovePlan::default() };
        let can_read_parts = self.storage.as_multipart().is_none() || ends_uploads;
        let mut after = None;
        loop {
            let page = self.db.uploads_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(plan) };
            after = Some(*last);
            for (id, upload) in page {
                plan.sessions += 1;
                match upload {
                    Ok(upload) => plan.add(&upload, limits, can_read_parts),
                    Err(error) => plan.left_behind.push(LeftBehind::unreadable(id, error.to_string())),
                }
            }
        }
    }

    pub(super) async fn lone_files(&self) -> Result<Vec<LeftBehind>> {
        Ok(self.db.files_without_session().await?.into_iter().map(LeftBehind::lone_file).collect())
    }
}

impl MovePlan {
    fn add(&mut self, upload: &Upload, limits: PartLimits, can_read_parts: bool) {
        let Upload { session, file } = upload;
        if upload.is_stored() {
            self.files += 1;
            self.file_bytes += file.size_bytes;
        } else if session.status.is_open() {
            self.open_sessions += 1;
            let bytes = session.bytes_received + session.tail.as_ref().map_or(0, |tail| tail.bytes);
            if let Some(why) = unfit(session, limits) {
                self.left_behind.push(LeftBehind::open_session(session, file, why));
            } else if can_read_parts {
                self.open_bytes += bytes;
            } else if bytes > 0 {
                self.unreadable_sessions += 1;
                self.unreadable_bytes += bytes;
            }
        }
    }
}

/// Why a store does not accept the parts of an open session, which its client knows by number.
pub(super) fn unfit(session: &Session, limits: PartLimits) -> Option<String> {
    if limits.accept(&session.plan) {
        return None;
    }
    let (chunk, parts) = (session.plan.chunk_size_bytes(), session.plan.total_parts());
    let PartLimits { min_part_bytes, max_part_bytes, max_parts } = limits;
    Some(format!(
        "it has {parts} parts of {chunk} bytes, and the object store accepts at most {max_parts} parts of {min_part_bytes} to \
         {max_part_bytes} bytes"
    ))
}
