//! Two partial indexes for the sweep. They replace one index that contained every ended session.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "CREATE INDEX upload_session_expiry ON upload_session (expires_at) WHERE status IN ('INIT', 'IN_PROGRESS')",
            "CREATE INDEX upload_session_to_free ON upload_session (id) \
             WHERE NOT bytes_freed AND status IN ('FAILED', 'ABORTED')",
            "DROP INDEX upload_session_sweep",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "CREATE INDEX upload_session_sweep ON upload_session (status, bytes_freed, expires_at)",
            "DROP INDEX upload_session_to_free",
            "DROP INDEX upload_session_expiry",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
