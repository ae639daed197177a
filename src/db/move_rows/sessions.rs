//! The rows of sessions, files and parts.
//!
//! Owns what differs in the copy of a session: the ids of the source's store, the location of the file, and the parts and the tail of
//! an open session, which are those that have arrived. Does not own what follows from them: that is `domain/moved.rs`.

use std::collections::BTreeMap;

use entity::{upload_file, upload_part, upload_session};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{self, Set},
    EntityTrait, IntoActiveModel, Iterable, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use super::{
    super::{
        MoveUpload, Result,
        rows::{self, PART_ROWS_KEPT, PART_ROWS_REMOVED, storage_checksum},
        sessions::{OPEN, missing_row},
    },
    Copying, RowChanges, insert, noted,
    pages::Pages,
};
use crate::domain::{Arrived, ArrivedTail, FileStatus, PartRecord, SessionId};

impl Copying<'_> {
    /// Copies the sessions with their files and parts.
    pub(super) async fn sessions(&mut self, changes: &RowChanges) -> Result<()> {
        self.count::<upload_file::Entity>(0);
        self.count::<upload_session::Entity>(0);
        let mut pages = Pages::<upload_session::Entity>::of(self.source)
            .except(upload_session::Column::Id, changes.without.iter().map(|id| id.0));
        loop {
            let mut page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            page.retain(|row| !changes.without.contains(&SessionId(row.id)));
            self.page_of_sessions(page, changes).await?;
        }
        self.parts_of_ended(changes).await
    }

    async fn page_of_sessions(&mut self, page: Vec<upload_session::Model>, changes: &RowChanges) -> Result<()> {
        let mut noted = noted(self.target, page.iter().map(|row| row.id).collect()).await?;
        let mut files = self.files_of(&page).await?;
        let (mut of_files, mut of_sessions, mut of_parts) = (Vec::new(), Vec::new(), Vec::new());
        for row in page {
            let noted = noted.remove(&row.id);
            let file = files.remove(&row.file_id).ok_or_else(|| missing_row("upload_file"))?;
            of_files.push(file_row(file, noted.as_ref()));
            if OPEN.contains(&row.status.as_str()) {
                let (row, parts) = self.open_session(row, noted, changes).await?;
                of_sessions.push(row);
                of_parts.extend(parts);
            } else {
                of_sessions.push(ended_session(row));
            }
        }
        let files = insert::<upload_file::Entity>(self.target, of_files).await?;
        let sessions = insert::<upload_session::Entity>(self.target, of_sessions).await?;
        let parts = insert::<upload_part::Entity>(self.target, of_parts).await?;
        self.count::<upload_file::Entity>(files);
        self.count::<upload_session::Entity>(sessions);
        self.count::<upload_part::Entity>(parts);
        Ok(())
    }

    async fn files_of(&self, page: &[upload_session::Model]) -> Result<BTreeMap<Uuid, upload_file::Model>> {
        let ids = page.iter().map(|row| row.file_id);
        let found =
            upload_file::Entity::find().filter(upload_file::COLUMN.id.is_in(ids)).all(&self.source.read).await?;
        Ok(found.into_iter().map(|row| (row.id, row)).collect())
    }

    /// The row of an open session with what has arrived of it, and the rows of its parts.
    async fn open_session(
        &self,
        row: upload_session::Model,
        noted: Option<MoveUpload>,
        changes: &RowChanges,
    ) -> Result<(upload_session::ActiveModel, Vec<upload_part::ActiveModel>)> {
        let session = rows::session(row.clone())?;
        let moved = self.target.moved_parts(session.id, &session.plan).await?;
        let moved: BTreeMap<u32, PartRecord> = moved.into_iter().map(|record| (record.part.number, record)).collect();
        let arrived = match noted {
            Some(MoveUpload { tail, upload, .. }) => Arrived {
                parts: moved.keys().copied().collect(),
                tail: tail.map(|tail| ArrivedTail { location: tail.location }),
                storage_upload: upload,
            },
            None => Arrived::default(),
        };
        let after = session.moved(arrived, changes.downtime, changes.now);
        let mut parts = Vec::new();
        for record in self.source.all_parts(&session).await? {
            let Some(moved) = moved.get(&record.part.number) else { continue };
            let record = PartRecord { storage_etag: moved.storage_etag.clone(), ..record };
            parts.push(rows::part_row(session.id, &record)?);
        }
        let mut row = row.into_active_model();
        overlay(&mut row, rows::session_update(&after)?);
        row.storage_upload_id = Set(after.storage_upload.as_ref().map(|upload| upload.id.clone()));
        row.storage_checksum = Set(after.storage_upload.as_ref().and_then(storage_checksum));
        row.freeing_until = Set(None);
        Ok((row, parts))
    }

    /// Copies the part rows of sessions that have ended and whose part rows are kept. Those of open sessions are copied with their
    /// sessions.
    async fn parts_of_ended(&mut self, changes: &RowChanges) -> Result<()> {
        self.count::<upload_part::Entity>(0);
        let mut pages = Pages::<upload_part::Entity>::of(self.source)
            .except(upload_part::Column::SessionId, changes.without.iter().map(|id| id.0));
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut ids: Vec<Uuid> = page.iter().map(|row| row.session_id).collect();
            ids.dedup();
            let wanted = upload_session::Entity::find()
                .select_only()
                .column(upload_session::Column::Id)
                .filter(upload_session::COLUMN.id.is_in(ids))
                .filter(upload_session::COLUMN.status.is_not_in(OPEN))
                .filter(upload_session::COLUMN.part_rows.eq(PART_ROWS_KEPT));
            let mut wanted: Vec<Uuid> = wanted.into_tuple().all(&self.source.read).await?;
            wanted.retain(|id| !changes.without.contains(&SessionId(*id)));
            let rows = page.into_iter().filter(|row| wanted.contains(&row.session_id));
            let rows = rows.map(|row| upload_part::ActiveModel { storage_etag: Set(None), ..row.into_active_model() });
            let inserted = insert::<upload_part::Entity>(self.target, rows.collect()).await?;
            self.count::<upload_part::Entity>(inserted);
        }
    }
}

fn file_row(row: upload_file::Model, noted: Option<&MoveUpload>) -> upload_file::ActiveModel {
    let is_stored = row.status == FileStatus::Stored.as_str();
    let location = noted.filter(|_| is_stored).and_then(|noted| noted.location.clone());
    upload_file::ActiveModel { location: Set(location), ..row.into_active_model() }
}

/// A session that has ended has no multipart upload and no tail. If it has no file either, the target has no bytes of it to free.
fn ended_session(row: upload_session::Model) -> upload_session::ActiveModel {
    let has_file = row.status == crate::domain::SessionStatus::Complete.as_str() && !row.file_deleted;
    let part_rows = if row.part_rows == PART_ROWS_KEPT { PART_ROWS_KEPT } else { PART_ROWS_REMOVED };
    upload_session::ActiveModel {
        storage_upload_id: Set(None),
        storage_checksum: Set(None),
        tail_location: Set(None),
        bytes_freed: Set(!has_file),
        freeing_until: Set(None),
        part_rows: Set(part_rows.to_owned()),
        ..row.into_active_model()
    }
}

/// Sets the columns that `update` sets.
fn overlay(row: &mut upload_session::ActiveModel, update: upload_session::ActiveModel) {
    for column in upload_session::Column::iter() {
        if let ActiveValue::Set(value) = update.get(column) {
            row.set(column, value);
        }
    }
}
