//! Columns in which the sweep stores what it saw of the clock, so that a jump of the clock does not expire every session.

use sea_orm_migration::{prelude::*, schema::timestamp_with_time_zone_null};

const COLUMNS: [&str; 2] = ["expiry_seen_at", "expiry_paused_until"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            // One column per statement: SQLite does not support more.
            let column = timestamp_with_time_zone_null(column);
            manager.alter_table(Table::alter().table("instance").add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            manager.alter_table(Table::alter().table("instance").drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
