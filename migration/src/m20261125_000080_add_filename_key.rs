//! The file's name on the session, in Unicode normal form C, so that an index serves a list by name and size.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, Statement, Value, prelude::Uuid},
};
use unicode_normalization::UnicodeNormalization;

/// Maximum length of a name, in bytes. PostgreSQL cannot index a value that is much longer.
const MAX_BYTES: usize = 1024;
const BATCH: u64 = 1_000;

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
            "ALTER TABLE upload_session ADD COLUMN filename_key text NOT NULL DEFAULT ''",
            "UPDATE upload_session SET filename_key = \
             (SELECT original_filename FROM upload_file WHERE upload_file.id = upload_session.file_id)",
        ] {
            db.execute_unprepared(statement).await?;
        }
        normalize(db).await?;
        for statement in [
            "CREATE INDEX upload_session_name_size ON upload_session (owner, filename_key, total_size_bytes, id)",
            "CREATE INDEX upload_session_name ON upload_session (owner, filename_key, id)",
            "CREATE INDEX upload_session_size ON upload_session (owner, total_size_bytes, id)",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "DROP INDEX upload_session_size",
            "DROP INDEX upload_session_name",
            "DROP INDEX upload_session_name_size",
            "ALTER TABLE upload_session DROP COLUMN filename_key",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

/// Converts the names to normal form C. Skips ASCII names, which are in that form already: their length in characters equals
/// their length in bytes.
async fn normalize(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let longer = match backend {
        DbBackend::Postgres => "octet_length(filename_key) > char_length(filename_key)",
        _ => "length(CAST(filename_key AS blob)) > length(filename_key)",
    };
    let mut after = Value::Uuid(Some(Uuid::nil()));
    loop {
        let page =
            format!("SELECT id, filename_key FROM upload_session WHERE id > $1 AND {longer} ORDER BY id LIMIT {BATCH}");
        let rows = db.query_all_raw(Statement::from_sql_and_values(backend, page, [after.clone()])).await?;
        for row in &rows {
            let (id, name): (Uuid, String) = (row.try_get("", "id")?, row.try_get("", "filename_key")?);
            after = Value::Uuid(Some(id));
            let update = "UPDATE upload_session SET filename_key = $1 WHERE id = $2";
            let values = [key(&name).into(), after.clone()];
            db.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
        }
        if (rows.len() as u64) < BATCH {
            return Ok(());
        }
    }
}

fn key(name: &str) -> String {
    let mut key: String = name.nfc().collect();
    key.truncate(key.floor_char_boundary(MAX_BYTES));
    key
}
