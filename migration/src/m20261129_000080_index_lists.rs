//! Indexes for every combination of the filters of a list, so that a page costs the same for any number of sessions. Each has the
//! state of the session and its file, and replaces an index without it. The index for the expiry also has the id, so that the
//! sweep can go on after a session.

use sea_orm_migration::{prelude::*, sea_orm::ConnectionTrait};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const STATE: &str = "(CASE WHEN file_deleted THEN 'DELETED' ELSE status END)";
const FILE_STATUS: &str = "(CASE WHEN file_deleted THEN 'DELETED' WHEN status = 'COMPLETE' THEN 'STORED' \
     WHEN status IN ('FAILED', 'ABORTED') THEN 'FAILED' ELSE 'UPLOADING' END)";
/// Name and size are one value: PostgreSQL without statistics would choose any index that begins with the name.
const NAME_AND_SIZE: &str = "(CAST(total_size_bytes AS text) || '/' || filename_key)";
const IS_OPEN: &str = "WHERE status IN ('INIT', 'IN_PROGRESS')";

/// The indexes before, and after. The one for the expiry keeps its name.
fn indexes() -> [[(&'static str, String); 5]; 2] {
    [
        [
            ("upload_session_status", "(owner, status, id)".to_owned()),
            ("upload_session_file_status", format!("(owner, {FILE_STATUS}, id)")),
            ("upload_session_name", "(owner, filename_key, id)".to_owned()),
            ("upload_session_size", "(owner, total_size_bytes, id)".to_owned()),
            ("upload_session_name_size", "(owner, filename_key, total_size_bytes, id)".to_owned()),
        ],
        [
            ("upload_session_state", format!("(owner, {STATE}, id)")),
            ("upload_session_name_state", format!("(owner, filename_key, {STATE}, id)")),
            ("upload_session_size_state", format!("(owner, total_size_bytes, {STATE}, id)")),
            ("upload_session_name_size_state", format!("(owner, {NAME_AND_SIZE}, {STATE}, id)")),
            ("upload_session_expiry", format!("(expires_at, id) {IS_OPEN}")),
        ],
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [before, after] = indexes();
        let expiry = ("upload_session_expiry", String::new());
        replace(manager, before.iter().chain([&expiry]), after.iter()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [before, after] = indexes();
        let expiry = ("upload_session_expiry", format!("(expires_at) {IS_OPEN}"));
        replace(manager, after.iter(), before.iter().chain([&expiry])).await
    }
}

async fn replace(
    manager: &SchemaManager<'_>,
    old: impl Iterator<Item = &(&'static str, String)>,
    new: impl Iterator<Item = &(&'static str, String)>,
) -> Result<(), DbErr> {
    let db = manager.get_connection();
    for (name, _) in old {
        db.execute_unprepared(&format!("DROP INDEX {name}")).await?;
    }
    for (name, columns) in new {
        db.execute_unprepared(&format!("CREATE INDEX {name} ON upload_session {columns}")).await?;
    }
    Ok(())
}
