//! Whether a move fills this database.
//!
//! Owns two columns of the table `instance`: where the rows come from, and whether the move that brought them is finished. The row
//! of `instance` is the first that a move writes. Does not own the rows: `move_rows` copies them. Does not own which bytes were
//! copied: that is in `move_uploads`.

use entity::instance;
use sea_orm::{ActiveValue::Set, EntityTrait, QueryFilter, sea_query::OnConflict};
use uuid::Uuid;

use super::{Db, Result, at_most_one, error::retry_transient, instance::ROW};
use crate::domain::Timestamp;

/// The move that fills or has filled a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveState {
    /// The id of the source's storage.
    pub source: Uuid,
    /// The id of the target's storage.
    pub target: Uuid,
    /// When the move was finished. `None` if it is not: then no server may use the database.
    pub finished_at: Option<Timestamp>,
}

impl Db {
    /// The move that fills or has filled this database. `None` if there is none.
    pub async fn move_state(&self) -> Result<Option<MoveState>> {
        let row = retry_transient(|| at_most_one(instance::Entity::find_by_id(ROW), &self.read)).await?;
        Ok(row.and_then(|row| {
            Some(MoveState { source: row.moved_from?, target: row.storage_id, finished_at: row.move_finished_at })
        }))
    }

    /// Marks an empty database as one that a move fills from `source`, for a storage with the id `target`. Returns the state, which
    /// is another one if a move has begun before.
    pub async fn begin_move(&self, source: Uuid, target: Uuid) -> Result<Option<MoveState>> {
        let row = instance::ActiveModel {
            id: Set(ROW),
            storage_id: Set(target),
            moved_from: Set(Some(source)),
            ..Default::default()
        };
        let keep_existing = OnConflict::column(instance::Column::Id).do_nothing().to_owned();
        instance::Entity::insert(row).on_conflict(keep_existing).exec_without_returning(&self.write).await?;
        self.move_state().await
    }

    /// Marks the move as finished. From now on, servers may use the database.
    pub async fn finish_move(&self, now: Timestamp) -> Result<()> {
        let finished = instance::Entity::update_many()
            .set(instance::ActiveModel { move_finished_at: Set(Some(now)), ..Default::default() })
            .filter(instance::COLUMN.id.eq(ROW));
        retry_transient(|| finished.clone().exec(&self.write)).await?;
        Ok(())
    }
}
