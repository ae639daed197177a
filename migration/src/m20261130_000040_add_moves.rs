//! What a move into this database must remember until it is finished: where it reads, and which bytes it has copied.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, binary, binary_null, text_null, timestamp_with_time_zone, timestamp_with_time_zone_null, uuid,
        uuid_null,
    },
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [uuid_null("moved_from"), timestamp_with_time_zone_null("move_finished_at")] {
            // One column per statement: SQLite does not support more.
            manager.alter_table(Table::alter().table("instance").add_column(column).to_owned()).await?;
        }
        for table in [move_upload(), move_part()] {
            manager.create_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["move_part", "move_upload"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        for column in ["move_finished_at", "moved_from"] {
            manager.alter_table(Table::alter().table("instance").drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}

/// No foreign keys: the rows of sessions come last.
fn move_upload() -> TableCreateStatement {
    Table::create()
        .table("move_upload")
        .col(uuid("session_id").primary_key())
        .col(big_integer("chunk_size_bytes"))
        .col(text_null("storage_upload_id"))
        .col(text_null("storage_checksum"))
        .col(text_null("location"))
        .col(binary_null("tail_sha256"))
        .col(text_null("tail_location"))
        .to_owned()
}

fn move_part() -> TableCreateStatement {
    Table::create()
        .table("move_part")
        .col(uuid("session_id"))
        .col(big_integer("part_number"))
        .col(binary("sha256"))
        .col(binary("crc64nvme"))
        .col(text_null("storage_etag"))
        .col(timestamp_with_time_zone("moved_at"))
        .primary_key(Index::create().col("session_id").col("part_number"))
        .to_owned()
}
