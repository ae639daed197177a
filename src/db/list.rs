//! The list of an owner's sessions.
//!
//! Owns the statement that reads a page of the list. For every filter there is an index in the order of the list, so
//! the cost of a page does not grow with the number of sessions.

use entity::{upload_file, upload_session};
use sea_orm::{ConnectionTrait, DbBackend, Order, QueryFilter, QueryOrder, QuerySelect, SelectTwo, sea_query::Expr};

use super::{Db, Result, sessions::joined, unreadable::read_each};
use crate::domain::{Direction, OwnerName, SessionQuery, UploadPage, filename_key};

impl Db {
    /// A page of the owner's sessions, with their files, in one statement. If rows are invalid, it logs them, leaves
    /// them out, and reads more rows in their place.
    pub async fn list_sessions(&self, owner: &OwnerName, query: &SessionQuery) -> Result<UploadPage> {
        let (mut rest, mut uploads) = (query.clone(), Vec::new());
        while uploads.len() as u64 <= query.limit {
            rest.limit = query.limit + 1 - uploads.len() as u64;
            let select = listed(owner, &rest, self.read.get_database_backend()).limit(rest.limit);
            let found = read_each(&self.read, &select).await?;
            let is_end = (found.len() as u64) < rest.limit;
            let last = found.last().map(|(id, _)| *id);
            for (id, read) in found {
                match read {
                    Ok(upload) => uploads.push(upload),
                    Err(error) => {
                        tracing::error!(session.id = %id, %error, "an invalid session is left out of a list");
                    }
                }
            }
            if is_end {
                break;
            }
            match query.direction {
                Direction::Forward => rest.after = last,
                Direction::Backward => rest.before = last,
            }
        }
        let has_more = uploads.len() as u64 > query.limit;
        uploads.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        if query.direction == Direction::Backward {
            uploads.reverse();
        }
        Ok(UploadPage { uploads, has_more })
    }
}

fn listed(
    owner: &OwnerName,
    query: &SessionQuery,
    backend: DbBackend,
) -> SelectTwo<upload_session::Entity, upload_file::Entity> {
    let mut select = joined().filter(is_owners(owner, backend));
    if let Some(status) = query.status {
        select = select.filter(upload_session::COLUMN.status.eq(status.as_str()));
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
    use sea_orm::{QueryTrait, Statement};

    use super::*;
    use crate::domain::{SessionId, SessionStatus};

    #[tokio::test]
    async fn sqlite_reads_every_list_in_order_from_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
        db.migrate().await.unwrap();
        let owner = OwnerName::parse("ann").unwrap();
        let name = || Some("a.bin".to_owned());
        for (query, index) in [
            (SessionQuery::default(), "upload_session_owner (owner=?"),
            (
                SessionQuery { status: Some(SessionStatus::Init), ..Default::default() },
                "upload_session_status (owner=?",
            ),
            (
                SessionQuery { original_filename: name(), ..Default::default() },
                "upload_session_name (owner=? AND filename_key=?",
            ),
            (
                SessionQuery { total_size_bytes: Some(5), ..Default::default() },
                "upload_session_size (owner=? AND total_size_bytes=?",
            ),
            (
                SessionQuery { original_filename: name(), total_size_bytes: Some(5), ..Default::default() },
                "upload_session_name_size (owner=? AND filename_key=? AND total_size_bytes=?",
            ),
        ] {
            let (forward, backward) = (Direction::Forward, Direction::Backward);
            for (after, direction) in [(None, forward), (None, backward), (Some(SessionId::generate()), forward)] {
                let query = SessionQuery { after, direction, ..query.clone() };
                let select = listed(&owner, &query, DbBackend::Sqlite).limit(101);
                let sql = format!("EXPLAIN QUERY PLAN {}", select.build(DbBackend::Sqlite));
                let plan = db.write.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
                let steps: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
                // Two steps: find the session, find its file by id. A third would be a sort.
                assert_eq!(steps.len(), 2, "{steps:?}");
                assert!(steps[0].contains(index), "{query:?}: {steps:?}");
            }
        }
    }

    #[test]
    fn the_statement_for_postgresql_filters_by_owner_in_a_list() {
        let owner = OwnerName::parse("ann").unwrap();
        let query = SessionQuery { status: Some(SessionStatus::Init), ..Default::default() };
        let sql = listed(&owner, &query, DbBackend::Postgres).build(DbBackend::Postgres).to_string();
        let (_, condition) = sql.split_once("WHERE ").unwrap();
        assert_eq!(
            condition,
            r#""upload_session"."owner" IN ('ann', 'ann') AND "upload_session"."status" = 'INIT' ORDER BY "upload_session"."owner" DESC, "upload_session"."id" DESC"#
        );
    }
}
