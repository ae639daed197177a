//! Statements that are asked for so often that their text is made once.
//!
//! Owns the reading of one session by its id, which is what a status costs. The text comes from the same entities as every
//! other statement's; making it anew each time, with the names of all columns, cost a quarter of a status read.

use std::sync::Arc;

use entity::{upload_file, upload_session};
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, Iden, Iterable, QueryFilter, QuerySelect, QueryTrait,
    Statement, Value,
};
use uuid::Uuid;

use super::{Db, Result, again, rows};
use crate::domain::{FileRecord, OwnerName, Session, SessionId};

/// What the columns of the file begin with where they come beside those of its session.
const FILE: &str = "file_";

/// The statements' texts. Each takes a session's id and its owner.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    backend: DbBackend,
    session: Arc<str>,
    session_with_file: Arc<str>,
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
        Self {
            backend,
            session: session.build(backend).sql.into(),
            session_with_file: with_file.build(backend).sql.into(),
        }
    }

    fn statement(&self, text: &str, owner: &OwnerName, id: SessionId) -> Statement {
        Statement::from_sql_and_values(self.backend, text, [Value::from(id.0), owner.as_str().into()])
    }
}

impl Db {
    /// The owner's session with this id. One row of one table, whatever the number of parts.
    pub async fn session(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Session>> {
        let statement = || self.prepared.statement(&self.prepared.session, owner, id);
        let Some(row) = again(|| self.read.query_one_raw(statement())).await? else { return Ok(None) };
        Ok(Some(rows::session(upload_session::Model::from_query_result(&row, "")?)?))
    }

    /// The owner's session with this id, and its file, in one statement.
    pub async fn session_with_file(&self, owner: &OwnerName, id: SessionId) -> Result<Option<(Session, FileRecord)>> {
        let statement = || self.prepared.statement(&self.prepared.session_with_file, owner, id);
        let Some(row) = again(|| self.read.query_one_raw(statement())).await? else { return Ok(None) };
        let session = rows::session(upload_session::Model::from_query_result(&row, "")?)?;
        let file = rows::file(upload_file::Model::from_query_result(&row, FILE)?)?;
        Ok(Some((session, file)))
    }
}
