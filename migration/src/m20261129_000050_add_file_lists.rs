//! An index for lists of files by their status, which follows from the columns of the session.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = "CREATE INDEX upload_session_file_status ON upload_session (owner, \
             (CASE WHEN file_deleted THEN 'DELETED' WHEN status = 'COMPLETE' THEN 'STORED' \
             WHEN status IN ('FAILED', 'ABORTED') THEN 'FAILED' ELSE 'UPLOADING' END), id)";
        manager.get_connection().execute_unprepared(index).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX upload_session_file_status").await?;
        Ok(())
    }
}
