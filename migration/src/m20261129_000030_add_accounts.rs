//! One account per owner: what the owner uses, and the owner's own limits. Counts what the owners use already.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, string},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// A sum of `bigint` is `numeric` on PostgreSQL.
const COUNT: &str = "INSERT INTO account (owner, bytes_used, open_sessions, events_dropped_to) \
    SELECT upload_session.owner, \
    CAST(SUM(CASE WHEN upload_file.status IN ('UPLOADING', 'STORED') THEN upload_file.size_bytes ELSE 0 END) AS bigint), \
    CAST(SUM(CASE WHEN upload_session.status IN ('INIT', 'IN_PROGRESS') THEN 1 ELSE 0 END) AS bigint), 0 \
    FROM upload_session JOIN upload_file ON upload_file.id = upload_session.file_id GROUP BY upload_session.owner";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let account = Table::create()
            .table("account")
            .col(string("owner").primary_key())
            .col(big_integer("bytes_used"))
            .col(big_integer("open_sessions"))
            .col(big_integer_null("max_bytes"))
            .col(big_integer_null("max_open_sessions"))
            .col(big_integer("events_dropped_to"))
            .to_owned();
        manager.create_table(account).await?;
        manager.get_connection().execute_unprepared(COUNT).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("account").to_owned()).await
    }
}
