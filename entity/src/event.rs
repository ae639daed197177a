//! The table `event`: what happened to uploads and files. The transaction that ends an upload inserts the row.

use sea_orm::entity::prelude::*;

/// One row of `event`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// UUID version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The order in which the database inserted the rows. The clocks of the nodes differ, so their ids and times do not have this
    /// order: a file could be deleted before it was complete.
    pub seq: i64,
    /// The place in the order of all events, from 1, without gaps. NULL until the server has assigned it after the commit, so
    /// that no event appears before one that a reader has seen.
    pub position: Option<i64>,
    /// The owner of the upload.
    pub owner: String,
    /// Such as `upload.completed`.
    pub event_type: String,
    /// The session. NULL if it is unknown.
    pub session_id: Option<Uuid>,
    /// The file.
    pub file_id: Uuid,
    /// The session and the file as they were then: a JSON object, stored as text.
    pub data: String,
    /// When it happened. UTC, microseconds.
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
