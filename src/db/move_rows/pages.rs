//! Rows of any table, in pages.
//!
//! Owns statements that are the same for every table: reading all rows in the order of the primary key, inserting many, and
//! deleting all. Each takes few rows, so that none reaches a time-out of PostgreSQL.

use std::marker::PhantomData;

use sea_orm::{
    ConnectionTrait, EntityTrait, Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Statement, Value,
    sea_query::{Expr, ExprTrait, Query},
};
use uuid::Uuid;

use super::super::{Db, Result, error::retry_transient};

/// The number of rows in one statement that reads.
const READ_ROWS: u64 = 500;
/// The number of rows in one insert. A row has up to 35 values, and a statement may have 32,766 on SQLite.
const INSERTED_ROWS: usize = 250;
const DELETED_ROWS: u64 = 5_000;
/// A statement has a limited number of values.
const MAX_EXCEPTIONS: usize = 1_000;

/// All rows of a table of the source, in the order of the primary key.
pub(super) struct Pages<'a, E> {
    source: &'a Db,
    after: Option<Vec<Value>>,
    has_ended: bool,
    except: Option<Expr>,
    of: PhantomData<fn() -> E>,
}

impl<'a, E: EntityTrait> Pages<'a, E> {
    pub(super) fn of(source: &'a Db) -> Self {
        Self { source, after: None, has_ended: false, except: None, of: PhantomData }
    }

    /// Without the rows with these ids in a column, which may be unreadable. The caller must remove them from the pages as well: if
    /// there are many, the statement reads them.
    pub(super) fn except(self, column: E::Column, ids: impl ExactSizeIterator<Item = Uuid>) -> Self {
        let except = (1..=MAX_EXCEPTIONS).contains(&ids.len()).then(|| Expr::col(column).is_not_in(ids));
        Self { except, ..self }
    }

    /// The next rows. Empty at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<E::Model>> {
        if self.has_ended {
            return Ok(Vec::new());
        }
        let key = key_of::<E>();
        let mut page = E::find().limit(READ_ROWS);
        if let Some(except) = &self.except {
            page = page.filter(except.clone());
        }
        if let Some(after) = self.after.take() {
            let after = Expr::tuple(after.into_iter().map(Expr::value));
            page = page.filter(Expr::tuple(key.iter().copied().map(Expr::col)).gt(after));
        }
        let page = key.iter().fold(page, |page, column| page.order_by_asc(*column));
        let found = retry_transient(|| page.clone().all(&self.source.read)).await?;
        self.has_ended = (found.len() as u64) < READ_ROWS;
        self.after = found.last().map(|last| key.iter().map(|column| last.get(*column)).collect());
        Ok(found)
    }
}

/// Inserts rows that all have the same columns. Returns their number.
pub(super) async fn insert<E: EntityTrait>(target: &Db, rows: Vec<E::ActiveModel>) -> Result<u64> {
    let inserted = rows.len() as u64;
    for rows in rows.chunks(INSERTED_ROWS) {
        E::insert_many(rows.to_vec()).exec_without_returning(&target.write).await?;
    }
    Ok(inserted)
}

/// Deletes all rows of a table.
pub(super) async fn delete_all<E: EntityTrait>(target: &Db) -> Result<()> {
    loop {
        let columns = || key_of::<E>().into_iter().map(Expr::col);
        let some = E::find().select_only().columns(key_of::<E>()).limit(DELETED_ROWS).into_query();
        let mut delete = Query::delete();
        delete.from_table(E::default()).and_where(Expr::tuple(columns()).in_subquery(some));
        if target.write.execute(&delete).await?.rows_affected() < DELETED_ROWS {
            return Ok(());
        }
    }
}

fn key_of<E: EntityTrait>() -> Vec<E::Column> {
    E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect()
}

impl Db {
    /// Lets PostgreSQL's sequence of events go on after the events that were inserted with their own numbers. SQLite does so by
    /// itself.
    pub(super) async fn continue_sequences(&self) -> Result<()> {
        let backend = self.write.get_database_backend();
        if backend == sea_orm::DbBackend::Postgres {
            let statement = "SELECT setval(pg_get_serial_sequence('event', 'seq'), COALESCE(MAX(seq), 1), \
                             MAX(seq) IS NOT NULL) FROM event";
            self.write.query_one_raw(Statement::from_string(backend, statement)).await?;
        }
        Ok(())
    }
}
