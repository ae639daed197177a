//! Statements that are asked for so often that their text is made once.
//!
//! Owns the reading of one session by its id, which is what a status costs. Text and rows are those of the same entities
//! as everywhere; three things are done by hand, each measured on a status read. Making the text anew, with the names of
//! all columns, took a quarter of it. Of what was left, sea-orm's own way to the driver, which moves a future of all
//! drivers about, took a tenth; and its reading of a row, which makes text for every NULL, another.

use std::sync::{Arc, atomic::Ordering};

use entity::{upload_file, upload_session};
use sea_orm::{
    DbBackend, EntityTrait, Iden, Iterable, QueryFilter, QuerySelect, QueryTrait,
    sqlx::{self, AssertSqlSafe, Row},
};
use uuid::Uuid;

use super::{Db, Result, again, readers::Readers, rows};
use crate::domain::{FileRecord, OwnerName, Session, SessionId};

/// What the columns of the file begin with where they come beside those of its session.
const FILE: &str = "file_";

/// The statements' texts. Each takes a session's id and its owner.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    session: Arc<str>,
    session_with_file: Arc<str>,
    version: Arc<str>,
}

impl Prepared {
    pub(super) fn new(backend: DbBackend) -> Self {
        let session = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.eq(Uuid::nil()))
            .filter(upload_session::COLUMN.owner.eq(""));
        let mut with_file = session.clone().inner_join(upload_file::Entity);
        for column in upload_file::Column::iter() {
            with_file = with_file.column_as(column, format!("{FILE}{}", column.unquoted()));
        }
        let version = session.clone().select_only().column(upload_session::Column::Version);
        Self {
            session: session.build(backend).sql.into(),
            session_with_file: with_file.build(backend).sql.into(),
            version: version.build(backend).sql.into(),
        }
    }
}

/// A row's columns as a model. sea-orm's own reading makes text for every prefix and every NULL.
macro_rules! model {
    ($row:ident, $prefix:literal, $model:path { $($column:ident),* $(,)? }) => {{
        use $model as Model;
        Model { $($column: $row.try_get(concat!($prefix, stringify!($column)))?),* }
    }};
}

macro_rules! session {
    ($row:ident) => {
        model!(
            $row,
            "",
            upload_session::Model {
                id,
                file_id,
                owner,
                filename_key,
                status,
                status_reason,
                chunk_size_bytes,
                total_size_bytes,
                total_parts,
                completed_parts,
                bytes_received,
                received_parts,
                version,
                idempotency_key,
                declared_sha256,
                storage_upload_id,
                bytes_freed,
                freeing_until,
                expires_at,
                created_at,
                updated_at,
            }
        )
    };
}

macro_rules! file {
    ($row:ident) => {
        model!(
            $row,
            "file_",
            upload_file::Model {
                id,
                owner,
                original_filename,
                content_type,
                size_bytes,
                sha256,
                composite_sha256,
                metadata,
                status,
                location,
                created_at,
                updated_at,
            }
        )
    };
}

/// The same for both drivers.
macro_rules! read_one {
    ($kept:ident, $text:ident, $owner:expr, $id:expr, |$row:ident| $read:expr) => {{
        let mut reader = $kept.take().await?;
        let query = sqlx::query($text).bind($id.0).bind($owner.as_str());
        let found = query.fetch_optional(reader.connection()?).await?;
        reader.keep();
        found.map(|$row| Ok($read)).transpose()
    }};
}

/// Runs one of the statements and reads its row, by whichever driver.
macro_rules! find {
    ($db:expr, $statement:ident, $owner:expr, $id:expr, |$row:ident| $read:expr) => {
        again(|| async {
            $db.statements.fetch_add(1, Ordering::Relaxed);
            let text = AssertSqlSafe(Arc::clone(&$db.prepared.$statement));
            let pool = $db.pools.current();
            let read = async {
                match &pool.readers {
                    Readers::Postgres(kept) => read_one!(kept, text, $owner, $id, |$row| $read),
                    Readers::Sqlite(kept) => read_one!(kept, text, $owner, $id, |$row| $read),
                }
            };
            pool.bounded::<_, sqlx::Error>(Box::pin(read)).await
        })
    };
}

impl Db {
    /// The owner's session with this id. One row of one table, whatever the number of parts.
    pub async fn session(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Session>> {
        let found = find!(self, session, owner, id, |row| session!(row)).await?;
        Ok(found.map(rows::session).transpose()?)
    }

    /// The owner's session with this id, and its file, in one statement.
    pub async fn session_with_file(&self, owner: &OwnerName, id: SessionId) -> Result<Option<(Session, FileRecord)>> {
        let found = find!(self, session_with_file, owner, id, |row| (session!(row), file!(row))).await?;
        found.map(|(session, file)| Ok((rows::session(session)?, rows::file(file)?))).transpose()
    }

    /// The version of the owner's session with this id, for those who know the rest of it.
    pub async fn session_version(&self, owner: &OwnerName, id: SessionId) -> Result<Option<u64>> {
        let found = find!(self, version, owner, id, |row| row.try_get::<i64, _>(0)?).await?;
        Ok(found.map(|version| rows::version(id, version)).transpose()?)
    }
}
