//! A part that is being put into an object store: by whom, so that no other server does so at the same time.

use sea_orm::entity::prelude::*;

/// One row of `upload_part_claim`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_part_claim")]
pub struct Model {
    /// The session it belongs to.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Counted from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part_number: i64,
    /// Names the request that has it.
    pub claimant: Uuid,
    /// When anybody may take it over, unless it is renewed before. UTC, microseconds.
    pub claimed_until: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
