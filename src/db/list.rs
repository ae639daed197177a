//! The list of an owner's sessions.
//!
//! Owns the statement behind every page of it. Whatever it is narrowed to, an index has the order of the list: a page costs
//! the same at any number of sessions.

use entity::{upload_file, upload_session};
use sea_orm::{ConnectionTrait, DbBackend, Order, QueryFilter, QueryOrder, QuerySelect, SelectTwo, sea_query::Expr};

use super::{Db, Result, sessions::joined, unreadable::read_each};
use crate::domain::{FileRecord, OwnerName, Session, SessionId, SessionStatus};

/// Which of an owner's sessions to list.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Only those with this status.
    pub status: Option<SessionStatus>,
    /// Only those for a file with this name, in the form in which names are compared.
    pub filename_key: Option<String>,
    /// Only those for a file of this size.
    pub total_size_bytes: Option<u64>,
    /// Only those older than this one.
    pub older_than: Option<SessionId>,
    /// Only those newer than this one.
    pub newer_than: Option<SessionId>,
    /// Count from the oldest instead of the newest. The page itself is newest first all the same.
    pub from_oldest: bool,
    /// At most so many.
    pub limit: u64,
}

/// Some of an owner's sessions, newest first, with their files.
#[derive(Debug)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<(Session, FileRecord)>,
    /// Whether there are more in the direction of counting.
    pub has_more: bool,
}

impl Db {
    /// A page of the owner's sessions, with their files, in one statement, unless there are rows that cannot be read: they
    /// are logged and left out, and others read in their place.
    pub async fn list_sessions(&self, owner: &OwnerName, filter: &ListFilter) -> Result<SessionPage> {
        let (mut rest, mut sessions) = (filter.clone(), Vec::new());
        while sessions.len() as u64 <= filter.limit {
            rest.limit = filter.limit + 1 - sessions.len() as u64;
            let select = listed(owner, &rest, self.read.get_database_backend()).limit(rest.limit);
            let found = read_each(&self.read, &select).await?;
            let is_end = (found.len() as u64) < rest.limit;
            let last = found.last().map(|(id, _)| *id);
            for (id, read) in found {
                match read {
                    Ok(read) => sessions.push(read),
                    Err(error) => tracing::error!(session.id = %id.0, %error, "left out of a list"),
                }
            }
            if is_end {
                break;
            }
            *(if filter.from_oldest { &mut rest.newer_than } else { &mut rest.older_than }) = last;
        }
        let has_more = sessions.len() as u64 > filter.limit;
        sessions.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
        if filter.from_oldest {
            sessions.reverse();
        }
        Ok(SessionPage { sessions, has_more })
    }
}

fn listed(
    owner: &OwnerName,
    filter: &ListFilter,
    backend: DbBackend,
) -> SelectTwo<upload_session::Entity, upload_file::Entity> {
    let mut select = joined().filter(is_owners(owner, backend));
    if let Some(status) = filter.status {
        select = select.filter(upload_session::COLUMN.status.eq(status.as_str()));
    }
    if let Some(key) = &filter.filename_key {
        select = select.filter(upload_session::COLUMN.filename_key.eq(key.as_str()));
    }
    if let Some(size) = filter.total_size_bytes {
        // No file is larger than a column can say.
        select = select.filter(match i64::try_from(size) {
            Ok(size) => upload_session::COLUMN.total_size_bytes.eq(size),
            Err(_) => Expr::val(false),
        });
    }
    if let Some(id) = filter.older_than {
        select = select.filter(upload_session::COLUMN.id.lt(id.0));
    }
    if let Some(id) = filter.newer_than {
        select = select.filter(upload_session::COLUMN.id.gt(id.0));
    }
    // By owner too, although there is one: the index is taken only for all of its columns.
    let order = if filter.from_oldest { Order::Asc } else { Order::Desc };
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
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn every_list_is_read_in_order_from_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
        db.migrate().await.unwrap();
        let owner = OwnerName::parse("ann").unwrap();
        let key = || Some("a.bin".to_owned());
        for (filter, index) in [
            (ListFilter::default(), "upload_session_owner (owner=?"),
            (ListFilter { status: Some(SessionStatus::Init), ..Default::default() }, "upload_session_status (owner=?"),
            (
                ListFilter { filename_key: key(), ..Default::default() },
                "upload_session_name (owner=? AND filename_key=?",
            ),
            (
                ListFilter { total_size_bytes: Some(5), ..Default::default() },
                "upload_session_size (owner=? AND total_size_bytes=?",
            ),
            (
                ListFilter { filename_key: key(), total_size_bytes: Some(5), ..Default::default() },
                "upload_session_name_size (owner=? AND filename_key=? AND total_size_bytes=?",
            ),
        ] {
            for (older_than, from_oldest) in [(None, false), (None, true), (Some(SessionId(Uuid::now_v7())), false)] {
                let filter = ListFilter { older_than, from_oldest, ..filter.clone() };
                let select = listed(&owner, &filter, DbBackend::Sqlite).limit(101);
                let sql = format!("EXPLAIN QUERY PLAN {}", select.build(DbBackend::Sqlite));
                let plan = db.write.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap();
                let steps: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
                // The session, and its file by its id: no sorting.
                assert_eq!(steps.len(), 2, "{steps:?}");
                assert!(steps[0].contains(index), "{filter:?}: {steps:?}");
            }
        }
    }

    #[test]
    fn postgresql_is_not_told_of_an_equality() {
        let owner = OwnerName::parse("ann").unwrap();
        let filter = ListFilter { status: Some(SessionStatus::Init), ..Default::default() };
        let sql = listed(&owner, &filter, DbBackend::Postgres).build(DbBackend::Postgres).to_string();
        let (_, asked) = sql.split_once("WHERE ").unwrap();
        assert_eq!(
            asked,
            r#""upload_session"."owner" IN ('ann', 'ann') AND "upload_session"."status" = 'INIT' ORDER BY "upload_session"."owner" DESC, "upload_session"."id" DESC"#
        );
    }
}
