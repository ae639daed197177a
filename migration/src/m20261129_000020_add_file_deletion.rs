//! Columns for the deletion of stored files, and for the removal of the part rows of ended sessions. Replaces the index of
//! the bytes to free with one that includes deleted files.

use sea_orm_migration::{
    prelude::*,
    schema::{boolean, string, timestamp_with_time_zone_null},
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
            ("upload_file", timestamp_with_time_zone_null("retain_until")),
            ("upload_session", boolean("file_deleted").default(false).take()),
            ("upload_session", string("part_rows").default("KEPT").take()),
        ] {
            // One column per statement: SQLite does not support more.
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
        }
        for statement in [
            "CREATE INDEX upload_file_retention ON upload_file (retain_until) WHERE status = 'STORED'",
            "DROP INDEX upload_session_to_free",
            "CREATE INDEX upload_session_to_free ON upload_session (id) \
             WHERE NOT bytes_freed AND (status IN ('FAILED', 'ABORTED') OR file_deleted)",
            "CREATE INDEX upload_session_part_rows ON upload_session (updated_at) \
             WHERE part_rows <> 'REMOVED' AND status IN ('COMPLETE', 'FAILED', 'ABORTED')",
        ] {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in [
            "DROP INDEX upload_session_part_rows",
            "DROP INDEX upload_session_to_free",
            "CREATE INDEX upload_session_to_free ON upload_session (id) \
             WHERE NOT bytes_freed AND status IN ('FAILED', 'ABORTED')",
            "DROP INDEX upload_file_retention",
        ] {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        for (table, column) in
            [("upload_session", "part_rows"), ("upload_session", "file_deleted"), ("upload_file", "retain_until")]
        {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
