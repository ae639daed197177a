//! The table `instance`: one row, about the database as a whole.

use sea_orm::entity::prelude::*;

/// The one row of `instance`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "instance")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The id that the storage has, too.
    pub storage_id: Uuid,
    /// When the sweep last looked whether the clock has jumped.
    pub expiry_seen_at: Option<DateTimeUtc>,
    /// Until when no session expires.
    pub expiry_paused_until: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
