//! Columns and a table for several servers on one object store: the store's ids and etags, part leases and freeing leases.
//! Also adds the composite digest.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, binary_null, text_null, timestamp_with_time_zone, timestamp_with_time_zone_null, uuid,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        manager.create_table(upload_part_claim()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("upload_part_claim").to_owned()).await?;
        for (table, column) in columns() {
            let name = column.get_column_name().clone();
            manager.alter_table(Table::alter().table(table).drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}

fn columns() -> [(&'static str, ColumnDef); 4] {
    [
        ("upload_file", binary_null("composite_sha256")),
        ("upload_session", text_null("storage_upload_id")),
        ("upload_session", timestamp_with_time_zone_null("freeing_until")),
        ("upload_part", text_null("storage_etag")),
    ]
}

fn upload_part_claim() -> TableCreateStatement {
    Table::create()
        .table("upload_part_claim")
        .col(uuid("session_id"))
        .col(big_integer("part_number"))
        .col(uuid("claimant"))
        .col(timestamp_with_time_zone("claimed_until"))
        .primary_key(Index::create().col("session_id").col("part_number"))
        .foreign_key(ForeignKey::create().from("upload_part_claim", "session_id").to("upload_session", "id"))
        .to_owned()
}
