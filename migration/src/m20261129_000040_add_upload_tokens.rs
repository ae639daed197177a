//! Tokens that open one session only.

use sea_orm_migration::{
    prelude::*,
    schema::{binary, timestamp_with_time_zone, timestamp_with_time_zone_null, uuid},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let upload_token = Table::create()
            .table("upload_token")
            .col(uuid("id").primary_key())
            .col(binary("token_hash").unique_key())
            .col(uuid("session_id"))
            .col(timestamp_with_time_zone("created_at"))
            .col(timestamp_with_time_zone_null("expires_at"))
            .col(timestamp_with_time_zone("check_at"))
            .foreign_key(ForeignKey::create().from("upload_token", "session_id").to("upload_session", "id"))
            .to_owned();
        manager.create_table(upload_token).await?;
        for index in [
            "CREATE INDEX upload_token_session ON upload_token (session_id)",
            "CREATE INDEX upload_token_check ON upload_token (check_at)",
        ] {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("upload_token").to_owned()).await
    }
}
