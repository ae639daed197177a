//! The table `account`: what each owner uses, and the owner's own limits.

use sea_orm::entity::prelude::*;

/// One row of `account`. An owner without a row uses nothing and has no limits of their own.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    /// The owner's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    /// The sizes of the owner's files that are open or stored, in bytes.
    pub bytes_used: i64,
    /// The number of the owner's open sessions.
    pub open_sessions: i64,
    /// Maximum of `bytes_used`. NULL if the setting `owner_max_bytes` applies.
    pub max_bytes: Option<i64>,
    /// Maximum of `open_sessions`. NULL if the setting `max_open_sessions` applies.
    pub max_open_sessions: Option<i64>,
    /// The position of the owner's latest event that the server has removed because of its age. 0 if there is none.
    pub events_dropped_to: i64,
}

impl ActiveModelBehavior for ActiveModel {}
