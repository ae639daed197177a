//! Links to the content of one file.

use sea_orm_migration::{
    prelude::*,
    schema::{binary, timestamp_with_time_zone, uuid},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let download_link = Table::create()
            .table("download_link")
            .col(uuid("id").primary_key())
            .col(binary("token_hash").unique_key())
            .col(uuid("file_id"))
            .col(timestamp_with_time_zone("created_at"))
            .col(timestamp_with_time_zone("expires_at"))
            .foreign_key(ForeignKey::create().from("download_link", "file_id").to("upload_file", "id"))
            .to_owned();
        manager.create_table(download_link).await?;
        for index in [
            "CREATE INDEX download_link_file ON download_link (file_id, expires_at)",
            "CREATE INDEX download_link_expiry ON download_link (expires_at)",
        ] {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("download_link").to_owned()).await
    }
}
