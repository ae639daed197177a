//! The first schema: files, sessions, parts, tokens.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, binary, binary_null, boolean, string, string_null, text, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Runs in one transaction on SQLite too. After a crash in the middle, the next start runs the whole migration again.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(upload_file()).await?;
        manager.create_table(upload_session()).await?;
        for index in upload_session_indexes() {
            manager.create_index(index).await?;
        }
        manager.create_table(upload_part()).await?;
        manager.create_table(api_token()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["api_token", "upload_part", "upload_session", "upload_file"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

fn upload_file() -> TableCreateStatement {
    Table::create()
        .table("upload_file")
        .col(uuid("id").primary_key())
        .col(string("owner"))
        .col(text("original_filename"))
        .col(text("content_type"))
        .col(big_integer("size_bytes"))
        .col(binary_null("sha256"))
        .col(text("metadata"))
        .col(string("status"))
        .col(text("location").null())
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .to_owned()
}

fn upload_session() -> TableCreateStatement {
    Table::create()
        .table("upload_session")
        .col(uuid("id").primary_key())
        .col(uuid("file_id").unique_key())
        .col(string("owner"))
        .col(string("status"))
        .col(string_null("status_reason"))
        .col(big_integer("chunk_size_bytes"))
        .col(big_integer("total_size_bytes"))
        .col(big_integer("total_parts"))
        .col(big_integer("completed_parts"))
        .col(big_integer("bytes_received"))
        .col(binary("received_parts"))
        .col(big_integer("version"))
        .col(string_null("idempotency_key"))
        .col(binary_null("declared_sha256"))
        .col(boolean("bytes_freed"))
        .col(timestamp_with_time_zone("expires_at"))
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone("updated_at"))
        .foreign_key(ForeignKey::create().from("upload_session", "file_id").to("upload_file", "id"))
        .to_owned()
}

fn upload_session_indexes() -> [IndexCreateStatement; 4] {
    let index = |name: &str| Index::create().name(name).table("upload_session").to_owned();
    [
        // For idempotent creates: a client's retry finds the session that its first request created.
        index("upload_session_idempotency").col("owner").col("idempotency_key").unique().to_owned(),
        // For the owner's list, newest first, with and without a status filter.
        index("upload_session_owner").col("owner").col("id").to_owned(),
        index("upload_session_status").col("owner").col("status").col("id").to_owned(),
        // For the sweep.
        index("upload_session_sweep").col("status").col("bytes_freed").col("expires_at").to_owned(),
    ]
}

fn upload_part() -> TableCreateStatement {
    Table::create()
        .table("upload_part")
        .col(uuid("session_id"))
        .col(big_integer("part_number"))
        .col(big_integer("size_bytes"))
        .col(binary("sha256"))
        .col(timestamp_with_time_zone("received_at"))
        .primary_key(Index::create().col("session_id").col("part_number"))
        .foreign_key(ForeignKey::create().from("upload_part", "session_id").to("upload_session", "id"))
        .to_owned()
}

fn api_token() -> TableCreateStatement {
    Table::create()
        .table("api_token")
        .col(uuid("id").primary_key())
        .col(string("owner"))
        .col(text("name"))
        .col(binary("token_hash").unique_key())
        .col(timestamp_with_time_zone("created_at"))
        .col(timestamp_with_time_zone_null("expires_at"))
        .col(timestamp_with_time_zone_null("last_used_at"))
        .col(timestamp_with_time_zone_null("revoked_at"))
        .to_owned()
}
