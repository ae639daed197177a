//! The lists of an owner's sessions and files.
//!
//! Owns the statements that read a page of a list. For every filter there is an index in the order of the list, so
//! the cost of a page does not grow with the number of sessions. All these indexes are of the table of sessions: a file's row has
//! no index to maintain, and both lists have one order.

use entity::{upload_file, upload_session};
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, SelectTwo,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use uuid::Uuid;

use super::{
    Db, Result,
    error::retry_transient,
    rows,
    sessions::joined,
    unreadable::{read_each, read_each_file},
};
use crate::domain::{Direction, FilePage, FileStatus, OwnerName, SessionId, UploadPage, UploadQuery, filename_key};

/// The status of a session's file, as an expression over the session's columns, with the same text as in the index.
const FILE_STATUS: &str = "CASE WHEN upload_session.file_deleted THEN 'DELETED' \
     WHEN upload_session.status = 'COMPLETE' THEN 'STORED' \
     WHEN upload_session.status IN ('FAILED', 'ABORTED') THEN 'FAILED' ELSE 'UPLOADING' END";

type Rows = SelectTwo<upload_session::Entity, upload_file::Entity>;

impl Db {
    /// A page of the owner's sessions, with their files, in one statement. If rows are invalid, it logs them, leaves
    /// them out, and reads more rows in their place.
    pub async fn list_sessions(&self, owner: &OwnerName, query: &UploadQuery) -> Result<UploadPage> {
        let mut page = Page::new(query);
        while page.lacks_rows() {
            let select = listed(joined(), owner, &page.rest, self.read.get_database_backend()).limit(page.rest.limit);
            page.add(read_each(&self.read, &select).await?);
        }
        let (uploads, has_more) = page.finish(query);
        Ok(UploadPage { uploads: uploads.into_iter().map(|(_, upload)| upload).collect(), has_more })
    }

    /// A page of the owner's files, in one statement. Treats invalid rows as [`list_sessions`](Self::list_sessions) does.
    pub async fn list_files(&self, owner: &OwnerName, query: &UploadQuery) -> Result<FilePage> {
        let mut page = Page::new(query);
        while page.lacks_rows() {
            let select = listed(files(), owner, &page.rest, self.read.get_database_backend()).limit(page.rest.limit);
            page.add(read_each_file(&self.read, &select).await?);
        }
        let (files, has_more) = page.finish(query);
        Ok(FilePage { files, has_more })
    }

    /// The versions of the owner's open sessions, oldest first.
    pub async fn open_versions(&self, owner: &OwnerName) -> Result<Vec<(SessionId, u64)>> {
        let query = UploadQuery { open: Some(true), direction: Direction::Backward, ..Default::default() };
        let columns = [upload_session::Column::Id, upload_session::Column::Version];
        let select = upload_session::Entity::find().select_only().columns(columns);
        let select = listed(select, owner, &query, self.read.get_database_backend());
        let rows = retry_transient(|| select.clone().into_tuple::<(Uuid, i64)>().all(&self.read)).await?;
        // Leaves out a row with an invalid version, as lists do.
        let version = |(id, version)| Some((SessionId(id), rows::version(SessionId(id), version).ok()?));
        Ok(rows.into_iter().filter_map(version).collect())
    }

    /// The number of the owner's sessions, and so of their files, that pass the filters. Does not count further than `max + 1`.
    pub async fn count_uploads(&self, owner: &OwnerName, query: &UploadQuery, max: u64) -> Result<u64> {
        let backend = self.read.get_database_backend();
        let statement = backend.build(&counted(owner, query, max + 1, backend));
        let rows = retry_transient(|| self.read.query_all_raw(statement.clone())).await?;
        let count = rows.first().map(|row| row.try_get::<i64>("", "count")).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
    }
}

/// A page while it is read: one item more than the client gets, to know whether there are more.
struct Page<T> {
    /// What is to be read next.
    rest: UploadQuery,
    items: Vec<(SessionId, T)>,
    is_end: bool,
}

impl<T> Page<T> {
    fn new(query: &UploadQuery) -> Self {
        let rest = UploadQuery { limit: query.limit + 1, ..query.clone() };
        Self { rest, items: Vec::new(), is_end: false }
    }

    fn lacks_rows(&self) -> bool {
        self.rest.limit > 0 && !self.is_end
    }

    fn add(&mut self, found: Vec<(SessionId, Result<T>)>) {
        self.is_end = (found.len() as u64) < self.rest.limit;
        let last = found.last().map(|(id, _)| *id);
        for (id, read) in found {
            match read {
                Ok(item) => {
                    self.items.push((id, item));
                    self.rest.limit -= 1;
                }
                Err(error) => {
                    tracing::error!(session.id = %id, %error, "an upload with an invalid row is left out of a list");
                }
            }
        }
        match self.rest.direction {
            Direction::Forward => self.rest.after = last,
            Direction::Backward => self.rest.before = last,
        }
    }

    /// The items, newest first, and whether there are more.
    fn finish(mut self, query: &UploadQuery) -> (Vec<(SessionId, T)>, bool) {
        let has_more = self.items.len() as u64 > query.limit;
        self.items.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        if query.direction == Direction::Backward {
            self.items.reverse();
        }
        (self.items, has_more)
    }
}

/// Files with the ids of their sessions. Does not read the other columns of a session, which can be long.
fn files() -> Rows {
    let ids = upload_session::Entity::find().select_only().column(upload_session::Column::Id);
    ids.find_also_related(upload_file::Entity)
}

/// The number of sessions that pass the filters, whatever the page. Stops to count at `limit`: it reads an index in its order.
fn counted(owner: &OwnerName, query: &UploadQuery, limit: u64, backend: DbBackend) -> SelectStatement {
    let ids = upload_session::Entity::find().select_only().column(upload_session::Column::Id);
    let whole = UploadQuery { after: None, before: None, ..query.clone() };
    let ids = listed(ids, owner, &whole, backend).limit(limit).into_query();
    Query::select().expr_as(Expr::cust("COUNT(*)"), "count").from_subquery(ids, "listed").take()
}

/// The owner's sessions that pass the filters, in the order of the list.
fn listed<S: QueryFilter + QueryOrder>(rows: S, owner: &OwnerName, query: &UploadQuery, backend: DbBackend) -> S {
    let mut select = rows.filter(is_owners(owner, backend));
    match (query.status, query.open) {
        (Some(status), Some(open)) if status.is_open() != open => select = select.filter(Expr::val(false)),
        (Some(status), _) => select = select.filter(upload_session::COLUMN.status.eq(status.as_str())),
        (None, Some(true)) => select = select.filter(Expr::cust(FILE_STATUS).eq(FileStatus::Uploading.as_str())),
        // An owner has few open sessions, which the read skips.
        (None, Some(false)) => select = select.filter(Expr::cust(FILE_STATUS).ne(FileStatus::Uploading.as_str())),
        (None, None) => {}
    }
    if let Some(status) = query.file_status {
        select = select.filter(Expr::cust(FILE_STATUS).eq(status.as_str()));
    }
    if let Some(name) = &query.original_filename {
        select = select.filter(upload_session::COLUMN.filename_key.eq(filename_key(name)));
    }
    if let Some(size) = query.total_size_bytes {
        // No stored file has a size that does not fit the column.
        select = select.filter(match i64::try_from(size) {
            Ok(size) => upload_session::COLUMN.total_size_bytes.eq(size),
            Err(_) => Expr::val(false),
        });
    }
    if let Some(id) = query.after {
        select = select.filter(upload_session::COLUMN.id.lt(id.0));
    }
    if let Some(id) = query.before {
        select = select.filter(upload_session::COLUMN.id.gt(id.0));
    }
    // Order by owner too, although there is only one: the database uses the index only for all of its columns.
    let order = match query.direction {
        Direction::Forward => Order::Desc,
        Direction::Backward => Order::Asc,
    };
    select.order_by(upload_session::COLUMN.owner, order.clone()).order_by(upload_session::COLUMN.id, order)
}

/// Filters by owner in a form that makes PostgreSQL use an index that starts with the owner. With `owner = X` the
/// planner may scan the primary key backwards and discard the rows of other owners, which is slow for an owner with no
/// recent sessions. `owner IN (X, X)` prevents that plan.
fn is_owners(owner: &OwnerName, backend: DbBackend) -> Expr {
    match backend {
        DbBackend::Postgres => upload_session::COLUMN.owner.is_in([owner.as_str(); 2]),
        _ => upload_session::COLUMN.owner.eq(owner.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::Statement;

    use super::*;
    use crate::domain::SessionStatus;

    async fn plan(db: &Db, statement: &Statement) -> Vec<String> {
        let sql = format!("EXPLAIN QUERY PLAN {statement}");
        let plan = db.write.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
        plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect()
    }

    #[tokio::test]
    async fn sqlite_reads_every_list_in_order_from_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
        db.migrate().await.unwrap();
        let owner = OwnerName::parse("ann").unwrap();
        let name = || Some("a.bin".to_owned());
        for (query, index) in [
            (UploadQuery::default(), "upload_session_owner (owner=?"),
            (UploadQuery { status: Some(SessionStatus::Init), ..Default::default() }, "upload_session_status (owner=?"),
            (
                UploadQuery { open: Some(true), ..Default::default() },
                "upload_session_file_status (owner=? AND <expr>=?",
            ),
            (UploadQuery { open: Some(false), ..Default::default() }, "upload_session_owner (owner=?"),
            (
                UploadQuery { file_status: Some(FileStatus::Stored), ..Default::default() },
                "upload_session_file_status (owner=? AND <expr>=?",
            ),
            (
                UploadQuery { original_filename: name(), ..Default::default() },
                "upload_session_name (owner=? AND filename_key=?",
            ),
            (
                UploadQuery { total_size_bytes: Some(5), ..Default::default() },
                "upload_session_size (owner=? AND total_size_bytes=?",
            ),
            (
                UploadQuery { original_filename: name(), total_size_bytes: Some(5), ..Default::default() },
                "upload_session_name_size (owner=? AND filename_key=? AND total_size_bytes=?",
            ),
        ] {
            let count = plan(&db, &DbBackend::Sqlite.build(&counted(&owner, &query, 10, DbBackend::Sqlite))).await;
            assert!(count.iter().any(|step| step.contains("USING") && step.contains("INDEX")), "{query:?}: {count:?}");
            let (forward, backward) = (Direction::Forward, Direction::Backward);
            for (after, direction) in [(None, forward), (None, backward), (Some(SessionId::generate()), forward)] {
                let query = UploadQuery { after, direction, ..query.clone() };
                for rows in [joined(), files()] {
                    let select = listed(rows, &owner, &query, DbBackend::Sqlite).limit(101);
                    let steps = plan(&db, &select.build(DbBackend::Sqlite)).await;
                    // Two steps: find the session, find its file by id. A third would be a sort.
                    assert_eq!(steps.len(), 2, "{steps:?}");
                    assert!(steps[0].contains(index), "{query:?}: {steps:?}");
                }
            }
        }
    }

    #[test]
    fn the_statement_for_postgresql_filters_by_owner_in_a_list() {
        let owner = OwnerName::parse("ann").unwrap();
        let query = UploadQuery { status: Some(SessionStatus::Init), ..Default::default() };
        let sql = listed(joined(), &owner, &query, DbBackend::Postgres).build(DbBackend::Postgres).to_string();
        let (_, condition) = sql.split_once("WHERE ").unwrap();
        assert_eq!(
            condition,
            r#""upload_session"."owner" IN ('ann', 'ann') AND "upload_session"."status" = 'INIT' ORDER BY "upload_session"."owner" DESC, "upload_session"."id" DESC"#
        );
    }
}
