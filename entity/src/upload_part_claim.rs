//! The table `upload_part_claim`: part leases. A lease is one request's exclusive right to put a part into an object store
//! and to record it, across all servers. The table's name uses the older word "claim".

use sea_orm::entity::prelude::*;

/// One row of `upload_part_claim`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "upload_part_claim")]
pub struct Model {
    /// The session of the part.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Counted from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub part_number: i64,
    /// Identifies the request that holds the lease.
    pub claimant: Uuid,
    /// When the lease expires unless the request renews it. After that, another request can take it over. UTC, microseconds.
    pub claimed_until: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
