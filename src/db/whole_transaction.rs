//! Transactions that run as one command, on SQLite.
//!
//! sqlx runs SQLite in a thread of its own. The begin, the commit, each statement, and the test of the connection when it
//! returns to sqlx's pool are one command each, and a command costs two changes of threads. For a part, these cost more than its
//! statements do. Owns transactions whose statements are all known before they begin, and the connection that executes such a
//! transaction as one command. Does not own what they store: that is in the callers.
//!
//! Such a transaction reads nothing. A caller takes the session from memory (`snapshots`). The update of its row requires that
//! the row still has the version of that state; otherwise the whole transaction fails.

use std::{fmt, sync::Arc};

use super::{
    Result, session_change,
    snapshots::{Changing, Snapshots},
    transaction::run_to_its_end,
    turns::Turn,
};
use crate::domain::Session;
use entity::upload_session;
use sea_orm::{
    ActiveValue::NotSet,
    ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryTrait, Statement, Value, Values,
    sea_query::{CaseStatement, Expr},
};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, error::ErrorKind, sqlite::SqliteConnectOptions,
};

/// The connection that executes whole transactions. It connects when it is first used, and again after a failure.
#[derive(Clone)]
pub(super) struct WholeWriter {
    target: Arc<SqliteConnectOptions>,
    connection: Arc<tokio::sync::Mutex<Option<SqliteConnection>>>,
}

/// A transaction whose statements are collected.
#[derive(Debug, Default)]
pub(super) struct WholeTransaction {
    sql: String,
    values: Vec<Value>,
    changing: Vec<Changing>,
    /// How many statements it has.
    pub(super) statements: u64,
}

impl WholeTransaction {
    /// Adds a statement.
    pub(super) fn add(&mut self, statement: Statement) {
        self.sql.push_str(&statement.sql);
        self.sql.push(';');
        self.values.extend(statement.values.into_iter().flat_map(|values| values.0));
        self.statements += 1;
    }

    /// Adds the update of a session's row, whose file does not change. The transaction fails if the row is not `before`.
    pub(super) fn store(&mut self, snapshots: &Snapshots, before: &Session, after: &Session) -> Result<()> {
        let mut row = session_change::changed_columns(before, after)?;
        let versions = [before, after].map(|session| i64::try_from(session.version).unwrap_or(i64::MAX));
        row.version = NotSet;
        // Without ELSE it is NULL, which the column does not accept.
        let is_before = upload_session::Column::Version.eq(versions[0]);
        let version = CaseStatement::new().case(is_before, Expr::value(versions[1]));
        let update = upload_session::Entity::update_many()
            .set(row)
            .col_expr(upload_session::Column::Version, version.into())
            .filter(upload_session::Column::Id.eq(after.id.0));
        self.add(update.build(DbBackend::Sqlite));
        let mut changing = snapshots.begin_change(after.id);
        changing.stores(after);
        self.changing.push(changing);
        Ok(())
    }
}

impl WholeWriter {
    pub(super) fn new(target: SqliteConnectOptions) -> Self {
        Self { target: Arc::new(target), connection: Arc::default() }
    }

    /// Executes a transaction. Returns false, and changes nothing, if a row is not in the expected state, or if the server cannot
    /// connect. After an error, the transaction may or may not be committed. It runs to its end even if the caller stops waiting.
    pub(super) async fn commit(&self, transaction: WholeTransaction, turn: Option<Turn>) -> Result<bool> {
        let this = self.clone();
        let commit = async move {
            let WholeTransaction { sql, values, mut changing, .. } = transaction;
            let committed = this.execute(format!("BEGIN IMMEDIATE;{sql}COMMIT"), values).await;
            if matches!(committed, Ok(true)) {
                changing.iter_mut().for_each(Changing::committed);
            }
            drop((changing, turn));
            Ok(committed?)
        };
        run_to_its_end(commit).await
    }

    /// Executes statements. A connection whose statements have failed is closed, which rolls back.
    async fn execute(&self, sql: String, values: Vec<Value>) -> Result<bool, sqlx::Error> {
        let mut slot = self.connection.lock().await;
        let connected = match slot.take() {
            Some(connection) => Ok(connection),
            None => self.target.connect().await,
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "cannot connect for a whole transaction; using the other connection for writes");
                return Ok(false);
            }
        };
        match sqlx::query_with(AssertSqlSafe(sql), SqlxValues(Values(values))).execute(&mut connection).await {
            Ok(_) => {
                *slot = Some(connection);
                Ok(true)
            }
            Err(error) => {
                let _ = connection.close().await;
                if is_other_state(&error) { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = connection.close().await;
        }
    }
}

/// Whether a row was not in the state that the transaction requires: the version is NULL, or a referenced row is missing.
fn is_other_state(error: &sqlx::Error) -> bool {
    let kind = error.as_database_error().map(sqlx::error::DatabaseError::kind);
    matches!(kind, Some(ErrorKind::NotNullViolation | ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation))
}

impl fmt::Debug for WholeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeWriter").finish_non_exhaustive()
    }
}
