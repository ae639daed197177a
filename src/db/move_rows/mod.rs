//! Copying all rows of one database to another.
//!
//! Owns which tables a move copies, in which order, and what is different in the copy: what belongs to the source's storage or to
//! its nodes, such as leases. All other columns are copied as they are, also those that a later version adds. If a move is killed
//! here, the next run removes what was copied, and begins again: rows are small beside bytes, and no server uses them before the
//! move is finished. Does not own the rows of sessions: those are in `sessions`.

mod pages;
mod sessions;

use std::collections::{BTreeMap, HashSet};

use chrono::TimeDelta;
use entity::{
    account, api_token, download_link, event, instance, upload_file, upload_part, upload_session, upload_token,
    webhook, webhook_delivery,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};
use uuid::Uuid;

use self::pages::{Pages, delete_all, insert};
use super::{Db, Result, at_most_one, instance::ROW, move_uploads, rows, sessions::missing_row};
use crate::domain::{EventId, SessionId, Timestamp};

/// What the copy does not have, or has in another form.
#[derive(Clone, Debug)]
pub struct RowChanges {
    /// Sessions that stay behind, with their files and everything that refers to them. Their rows may be unreadable.
    pub without: HashSet<SessionId>,
    /// The time of the move.
    pub now: Timestamp,
    /// For how long clients could send nothing. Open sessions expire later by this time.
    pub downtime: TimeDelta,
}

/// What was copied.
#[derive(Debug, Default)]
pub struct CopiedRows {
    /// The number of rows of each table that a move copies.
    pub tables: BTreeMap<&'static str, u64>,
    /// Events whose row is invalid, which stay behind, and what is wrong with each.
    pub events: Vec<(EventId, String)>,
}

impl Db {
    /// Whether a move may fill this database: no table has a row.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.has_none::<instance::Entity>().await?
            && self.has_none::<upload_session::Entity>().await?
            && self.has_none::<upload_file::Entity>().await?
            && self.has_none::<api_token::Entity>().await?
            && self.has_none::<account::Entity>().await?
            && self.has_none::<event::Entity>().await?
            && self.has_none::<webhook::Entity>().await?)
    }

    async fn has_none<E: EntityTrait>(&self) -> Result<bool> {
        Ok(E::find().limit(1).all(&self.read).await?.is_empty())
    }

    /// Copies all rows from `source` to this database, whose move is not finished. Removes the rows of an earlier attempt first. The
    /// parts and the tails of open sessions are those that the move has copied.
    pub async fn copy_rows(&self, source: &Self, changes: &RowChanges) -> Result<CopiedRows> {
        self.remove_copied_rows().await?;
        let mut copied = CopiedRows::default();
        let mut copying = Copying { source, target: self, tables: &mut copied.tables };
        // In the order of the foreign keys.
        copying.sessions(changes).await?;
        copying.plain::<api_token::Entity>(|_| true).await?;
        copying.plain::<account::Entity>(|_| true).await?;
        copying.of_session::<upload_token::Entity>(|row| row.session_id).await?;
        copying.of_file::<download_link::Entity>(|row| row.file_id).await?;
        let mut invalid = Vec::new();
        copying.plain::<event::Entity>(|row| note_invalid(row, &mut invalid)).await?;
        copying.plain::<webhook::Entity>(|_| true).await?;
        copying.deliveries().await?;
        copying.instance(changes).await?;
        self.continue_sequences().await?;
        copied.events = invalid;
        Ok(copied)
    }

    /// Forgets which bytes were copied, after the move is finished.
    pub async fn forget_move(&self) -> Result<()> {
        delete_all::<entity::move_part::Entity>(self).await?;
        delete_all::<entity::move_upload::Entity>(self).await
    }

    /// Keeps the row of `instance`, which says that the move is not finished.
    async fn remove_copied_rows(&self) -> Result<()> {
        delete_all::<webhook_delivery::Entity>(self).await?;
        delete_all::<webhook::Entity>(self).await?;
        delete_all::<event::Entity>(self).await?;
        delete_all::<download_link::Entity>(self).await?;
        delete_all::<upload_token::Entity>(self).await?;
        delete_all::<account::Entity>(self).await?;
        delete_all::<api_token::Entity>(self).await?;
        delete_all::<upload_part::Entity>(self).await?;
        delete_all::<upload_session::Entity>(self).await?;
        delete_all::<upload_file::Entity>(self).await
    }
}

/// An event whose row is invalid stays behind.
fn note_invalid(row: &event::Model, invalid: &mut Vec<(EventId, String)>) -> bool {
    let problem = rows::event(row.clone()).err();
    let is_valid = problem.is_none();
    invalid.extend(problem.map(|problem| (EventId(row.id), problem.to_string())));
    is_valid
}

/// A table whose rows are copied as they are.
trait Copied: EntityTrait<Model: IntoActiveModel<Self::ActiveModel>, ActiveModel: Send> {}

impl<E: EntityTrait<Model: IntoActiveModel<E::ActiveModel>, ActiveModel: Send>> Copied for E {}

/// A copy under way.
struct Copying<'a> {
    source: &'a Db,
    target: &'a Db,
    tables: &'a mut BTreeMap<&'static str, u64>,
}

impl Copying<'_> {
    /// Copies the rows of a table that `is_copied` accepts.
    async fn plain<E: Copied>(&mut self, mut is_copied: impl FnMut(&E::Model) -> bool + Send) -> Result<()> {
        let mut pages = Pages::<E>::of(self.source);
        loop {
            let mut page = pages.next().await?;
            if page.is_empty() {
                return self.insert::<E>(page).await;
            }
            page.retain(&mut is_copied);
            self.insert::<E>(page).await?;
        }
    }

    /// Copies the rows that belong to a session, if it was copied.
    async fn of_session<E: Copied>(&mut self, session: impl Fn(&E::Model) -> Uuid + Send) -> Result<()> {
        self.children::<E, upload_session::Entity>(upload_session::Column::Id, session, |_| ()).await
    }

    /// Copies the rows that belong to a file, if it was copied.
    async fn of_file<E: Copied>(&mut self, file: impl Fn(&E::Model) -> Uuid + Send) -> Result<()> {
        self.children::<E, upload_file::Entity>(upload_file::Column::Id, file, |_| ()).await
    }

    /// No node sends an event now.
    async fn deliveries(&mut self) -> Result<()> {
        let without_lease = |row: &mut webhook_delivery::Model| row.leased_until = None;
        let event = |row: &webhook_delivery::Model| row.event_id;
        self.children::<webhook_delivery::Entity, event::Entity>(event::Column::Id, event, without_lease).await
    }

    /// Copies the rows whose parent is in the target.
    async fn children<E: Copied, P: EntityTrait>(
        &mut self,
        id: P::Column,
        parent: impl Fn(&E::Model) -> Uuid + Send,
        change: impl Fn(&mut E::Model) + Send,
    ) -> Result<()> {
        let mut pages = Pages::<E>::of(self.source);
        loop {
            let mut page = pages.next().await?;
            if page.is_empty() {
                return self.insert::<E>(page).await;
            }
            let wanted: Vec<Uuid> = page.iter().map(&parent).collect();
            let copied = P::find().select_only().column(id).filter(id.is_in(wanted));
            let copied: HashSet<Uuid> = copied.into_tuple().all(&self.target.read).await?.into_iter().collect();
            page.retain(|row| copied.contains(&parent(row)));
            page.iter_mut().for_each(&change);
            self.insert::<E>(page).await?;
        }
    }

    async fn insert<E: Copied>(&mut self, rows: Vec<E::Model>) -> Result<()> {
        let rows = rows.into_iter().map(IntoActiveModel::into_active_model).collect();
        let inserted = insert::<E>(self.target, rows).await?;
        self.count::<E>(inserted);
        Ok(())
    }

    /// The table appears among those that were copied also if it has no rows.
    fn count<E: EntityTrait>(&mut self, rows: u64) {
        *self.tables.entry(E::default().table_name()).or_default() += rows;
    }

    /// Copies what the row says of events and of the expiry. The downtime is over, so it must not pause the expiry a second time.
    async fn instance(&mut self, changes: &RowChanges) -> Result<()> {
        let row = at_most_one(instance::Entity::find_by_id(ROW), &self.source.read).await?;
        let row = row.ok_or_else(|| missing_row("instance"))?;
        let copy = instance::ActiveModel {
            last_event_position: Set(row.last_event_position),
            expiry_seen_at: Set(row.expiry_seen_at.map(|_| changes.now)),
            expiry_paused_until: Set(row.expiry_paused_until),
            ..Default::default()
        };
        let update = instance::Entity::update_many().set(copy).filter(instance::COLUMN.id.eq(ROW));
        update.exec(&self.target.write).await?;
        self.count::<instance::Entity>(1);
        Ok(())
    }
}

/// What was noted of the sessions with these ids.
async fn noted(target: &Db, ids: Vec<Uuid>) -> Result<BTreeMap<Uuid, super::MoveUpload>> {
    use entity::move_upload;
    let found = move_upload::Entity::find().filter(move_upload::COLUMN.session_id.is_in(ids)).all(&target.read).await?;
    found.into_iter().map(|row| Ok((row.session_id, move_uploads::upload(row)?))).collect()
}
