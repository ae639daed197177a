//! CRC-64/NVME checksums of parts and files, the one that a client declares, and whether the object store checks them. Rows from
//! before have none.

use sea_orm_migration::{
    prelude::*,
    schema::{binary_null, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Each table, and its new column.
const COLUMNS: [(&str, &str); 3] =
    [("upload_part", "crc64nvme"), ("upload_file", "crc64nvme"), ("upload_session", "declared_crc64nvme")];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS {
            manager.alter_table(Table::alter().table(table).add_column(binary_null(column)).to_owned()).await?;
        }
        let checksum = text_null("storage_checksum");
        manager.alter_table(Table::alter().table("upload_session").add_column(checksum).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let checksum = Table::alter().table("upload_session").drop_column("storage_checksum").to_owned();
        manager.alter_table(checksum).await?;
        for (table, column) in COLUMNS {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
