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
}

impl ActiveModelBehavior for ActiveModel {}
