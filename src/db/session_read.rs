//! Reads of one session by its id, for its status.
//!
//! Owns the texts of these statements. The server builds them once, because building one took a quarter of the time of
//! a read. They bypass sea-orm and use sqlx's derives on the entities. sea-orm's dispatch to the driver took a tenth of
//! the time of a read. Its decoding of a row formats an error for every NULL; that took another tenth. Does not own the
//! connections: those are in `read_pool`.

use entity::{upload_file, upload_session};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Iden, Iterable, QueryFilter, QuerySelect, QueryTrait};
use sqlx::{AssertSqlSafe, FromRow, SqlSafeStr, SqlStr};
use uuid::Uuid;

use super::{
    Db, Result,
    error::retry_transient,
    read_pool::{Key, Read},
    rows,
    sessions::missing_row,
};
use crate::domain::{OwnerName, Session, SessionId, SessionState, Upload};

/// The texts of the statements. The parameters of each are a session's id and its owner.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    session: SqlStr,
    upload: SqlStr,
    version: SqlStr,
}

impl Statements {
    pub(super) fn new(backend: DbBackend) -> Self {
        let session = upload_session::Entity::find()
            .filter(upload_session::COLUMN.id.eq(Uuid::nil()))
            .filter(upload_session::COLUMN.owner.eq(""));
        let mut with_file = session.clone().inner_join(upload_file::Entity);
        for column in upload_file::Column::iter() {
            with_file = with_file.column_as(column, format!("{}{}", upload_file::JOINED, column.unquoted()));
        }
        let version = session.clone().select_only().column(upload_session::Column::Version);
        let text = |statement: sea_orm::Statement| AssertSqlSafe(statement.sql).into_sql_str();
        Self {
            session: text(session.build(backend)),
            upload: text(with_file.build(backend)),
            version: text(version.build(backend)),
        }
    }
}

/// A row of the join of a session and its file.
#[derive(FromRow)]
struct WithFile {
    #[sqlx(flatten)]
    session: upload_session::Model,
    #[sqlx(flatten)]
    file: upload_file::Model,
}

impl Db {
    /// The owner's session with this id. Reads one row. The cost does not depend on the number of parts.
    pub async fn session(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Session>> {
        let found = self.fetch(&self.session_statements.session, Key { owner, id }).await?;
        Ok(found.map(rows::session).transpose()?)
    }

    /// The owner's session with this id, and its file, in one statement.
    pub async fn upload(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Upload>> {
        match self.fetch(&self.session_statements.upload, Key { owner, id }).await? {
            Some(WithFile { session, file }) => {
                Ok(Some(Upload { session: rows::session(session)?, file: rows::file(file)? }))
            }
            // The join finds nothing either if the file's row is missing, which is damage.
            None => match self.session(owner, id).await? {
                Some(_) => Err(missing_row("upload_file").into()),
                None => Ok(None),
            },
        }
    }

    /// The last committed state of the owner's session with this id, from memory if it is there. Its `storage_upload` and
    /// `keeps_part_records` may be older: see `snapshots`.
    pub async fn state(&self, owner: &OwnerName, id: SessionId) -> Result<Option<SessionState>> {
        match self.kept_state(owner, id).await? {
            Some(kept) => Ok(Some(kept)),
            None => self.read_state(owner, id).await,
        }
    }

    /// The last committed state of the owner's session with this id, if it is in memory. On SQLite that needs no statement, on
    /// PostgreSQL one for the version, which other reads share.
    pub async fn kept_state(&self, owner: &OwnerName, id: SessionId) -> Result<Option<SessionState>> {
        let Some(kept) = self.kept(owner, id) else { return Ok(None) };
        if self.is_shared() && self.version_reads.version(owner, id).await? != Some(kept.session.version) {
            return Ok(None);
        }
        self.metrics.states_from_memory.inc();
        Ok(Some(kept))
    }

    /// The last committed state of the owner's session with this id, from the database.
    pub async fn read_state(&self, owner: &OwnerName, id: SessionId) -> Result<Option<SessionState>> {
        self.metrics.states_from_database.inc();
        let reading = self.snapshots.begin_read(id);
        let state = self.upload(owner, id).await?.map(SessionState::from);
        if let Some(state) = &state {
            reading.keep(state);
        }
        Ok(state)
    }

    fn kept(&self, owner: &OwnerName, id: SessionId) -> Option<SessionState> {
        self.snapshots.get(id).filter(|state| state.session.owner == *owner)
    }

    /// The version of the owner's session with this id. Cheaper than the whole session.
    pub async fn session_version(&self, owner: &OwnerName, id: SessionId) -> Result<Option<u64>> {
        if self.is_shared() {
            return self.version_reads.version(owner, id).await;
        }
        if let Some(state) = self.kept(owner, id) {
            return Ok(Some(state.session.version));
        }
        let found = self.fetch(&self.session_statements.version, Key { owner, id }).await?;
        Ok(found.map(|(version,)| rows::version(id, version)).transpose()?)
    }

    /// Whether other processes may change sessions.
    fn is_shared(&self) -> bool {
        self.read.get_database_backend() == DbBackend::Postgres
    }

    async fn fetch<T: Read>(&self, statement: &SqlStr, key: Key<'_>) -> Result<Option<T>> {
        retry_transient(|| async {
            self.metrics.statements.inc();
            let pools = self.pools.current();
            pools.bounded(Box::pin(pools.lookups.fetch_optional(statement.clone(), key))).await
        })
        .await
    }
}
