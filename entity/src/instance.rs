//! The table `instance`: one row that describes the database as a whole.

use sea_orm::entity::prelude::*;

/// The one row of `instance`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "instance")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The id that binds the database to its storage. The storage has the same id in `partway.id`.
    pub storage_id: Uuid,
    /// When a sweep last checked the clock for a jump.
    pub expiry_seen_at: Option<DateTimeUtc>,
    /// No session expires before this time. NULL if expiry is not paused.
    pub expiry_paused_until: Option<DateTimeUtc>,
    /// The position of the latest event that has one.
    pub last_event_position: i64,
    /// The id of the storage from which `partway move` has filled this database. NULL if it did not.
    pub moved_from: Option<Uuid>,
    /// When that move was finished. NULL if there is none, or if it is not finished: then no server starts.
    pub move_finished_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
