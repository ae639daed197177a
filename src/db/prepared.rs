//! Statements that are asked for so often that their text is made once.
//!
//! Owns the reading of one session by its id, which is what a status costs. Text and rows are those of the same entities
//! as everywhere; two things are done by hand, each measured on a status read. Making the text anew, with the names of all
//! columns, took a quarter of it. And sea-orm's own way to the driver moves a future of all drivers about, which took a
//! tenth of what was left.

use std::sync::{Arc, atomic::Ordering};

use entity::{upload_file, upload_session};
use sea_orm::{
    DbBackend, EntityTrait, FromQueryResult, Iden, Iterable, QueryFilter, QueryResult, QuerySelect, QueryTrait,
    sqlx::{self, AssertSqlSafe},
};
use uuid::Uuid;

use super::{Db, Result, again, rows};
use crate::domain::{FileRecord, OwnerName, Session, SessionId};

/// What the columns of the file begin with where they come beside those of its session.
const FILE: &str = "file_";

/// The statements' texts. Each takes a session's id and its owner.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
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
        Self { session: session.build(backend).sql.into(), session_with_file: with_file.build(backend).sql.into() }
    }
}

impl Db {
    /// The owner's session with this id. One row of one table, whatever the number of parts.
    pub async fn session(&self, owner: &OwnerName, id: SessionId) -> Result<Option<Session>> {
        let Some(row) = self.find(&self.prepared.session, owner, id).await? else { return Ok(None) };
        Ok(Some(rows::session(upload_session::Model::from_query_result(&row, "")?)?))
    }

    /// The owner's session with this id, and its file, in one statement.
    pub async fn session_with_file(&self, owner: &OwnerName, id: SessionId) -> Result<Option<(Session, FileRecord)>> {
        let Some(row) = self.find(&self.prepared.session_with_file, owner, id).await? else { return Ok(None) };
        let session = rows::session(upload_session::Model::from_query_result(&row, "")?)?;
        let file = rows::file(upload_file::Model::from_query_result(&row, FILE)?)?;
        Ok(Some((session, file)))
    }

    async fn find(&self, text: &Arc<str>, owner: &OwnerName, id: SessionId) -> Result<Option<QueryResult>> {
        again(|| async {
            self.statements.fetch_add(1, Ordering::Relaxed);
            let text = AssertSqlSafe(Arc::clone(text));
            Ok::<_, sqlx::Error>(match self.read.get_database_backend() {
                DbBackend::Postgres => {
                    let pool = self.read.get_postgres_connection_pool();
                    sqlx::query(text).bind(id.0).bind(owner.as_str()).fetch_optional(pool).await?.map(Into::into)
                }
                _ => {
                    let pool = self.read.get_sqlite_connection_pool();
                    sqlx::query(text).bind(id.0).bind(owner.as_str()).fetch_optional(pool).await?.map(Into::into)
                }
            })
        })
        .await
    }
}
