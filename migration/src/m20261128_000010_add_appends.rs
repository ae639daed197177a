//! Columns for appends: where the latest one ended, the tail, whether a session finalizes itself, and tus metadata. The
//! index finds the sessions that the sweep must finalize.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary_null, boolean, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("upload_session", big_integer("append_offset").default(0).take()),
            ("upload_session", binary_null("tail_sha256")),
            ("upload_session", text_null("tail_location")),
            ("upload_session", boolean("auto_finalize").default(false).take()),
            ("upload_file", text_null("upload_metadata")),
        ] {
            // One column per statement: SQLite does not support more.
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        let index = "CREATE INDEX upload_session_to_finalize ON upload_session (id) \
                     WHERE auto_finalize AND completed_parts = total_parts AND status IN ('INIT', 'IN_PROGRESS')";
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX upload_session_to_finalize").await?;
        for (table, column) in [
            ("upload_file", "upload_metadata"),
            ("upload_session", "auto_finalize"),
            ("upload_session", "tail_location"),
            ("upload_session", "tail_sha256"),
            ("upload_session", "append_offset"),
        ] {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
