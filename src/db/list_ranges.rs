//! Which rows a list has, and from which index they come.
//!
//! Owns the filters of a list as ranges of indexes. For every combination of filters there is an index with the state of a session
//! and its file before the id. A list with one state is one range; a list with several is the merge of their ranges, each of which
//! is cut off after as many rows as the page has. So the cost of a page does not grow with the number of sessions, and a skipped
//! session costs nothing. All these indexes are of the table of sessions: a file's row has no index to maintain, and both lists
//! have one order. Does not own the pages: those are in `list`.

use entity::upload_session;
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, Query, SelectStatement, UnionType},
};

use crate::domain::{Direction, FileStatus, OwnerName, SessionStatus, UploadQuery, filename_key};

// The expressions of the indexes, with the same text.
const STATE: &str = "CASE WHEN upload_session.file_deleted THEN 'DELETED' ELSE upload_session.status END";
/// Name and size are one value: PostgreSQL without statistics would choose any index that begins with the name.
const NAME_AND_SIZE: &str = "(CAST(upload_session.total_size_bytes AS text) || '/' || upload_session.filename_key)";

/// The values of [`STATE`], each with the status of the session and of the file.
const STATES: [(&str, SessionStatus, FileStatus); 6] = [
    (SessionStatus::Init.as_str(), SessionStatus::Init, FileStatus::Uploading),
    (SessionStatus::InProgress.as_str(), SessionStatus::InProgress, FileStatus::Uploading),
    (SessionStatus::Complete.as_str(), SessionStatus::Complete, FileStatus::Stored),
    (FileStatus::Deleted.as_str(), SessionStatus::Complete, FileStatus::Deleted),
    (SessionStatus::Failed.as_str(), SessionStatus::Failed, FileStatus::Failed),
    (SessionStatus::Aborted.as_str(), SessionStatus::Aborted, FileStatus::Failed),
];

/// A state; `None` for any.
type State = Option<&'static str>;

/// At most `query.limit` of the owner's sessions that pass the filters, in the order of the list.
pub(super) fn listed<S>(rows: S, owner: &OwnerName, query: &UploadQuery, backend: DbBackend) -> S
where
    S: QueryFilter + QueryOrder + QuerySelect,
{
    let rows = match &*states(query) {
        [state] => range(rows, owner, query, *state, backend),
        states => {
            let mut ids = merged(owner, query, states, backend);
            ids.order_by("id", order(query)).limit(query.limit);
            let rows = rows.filter(upload_session::Column::Id.in_subquery(ids));
            rows.order_by(upload_session::Column::Id, order(query))
        }
    };
    rows.limit(query.limit)
}

/// The number of the owner's sessions that pass the filters, whatever the page. Stops to count at `query.limit`.
pub(super) fn counted(owner: &OwnerName, query: &UploadQuery, backend: DbBackend) -> SelectStatement {
    let whole = UploadQuery { after: None, before: None, ..query.clone() };
    let ids = merged(owner, &whole, &states(&whole), backend).limit(query.limit).take();
    Query::select().expr_as(Expr::cust("COUNT(*)"), "count").from_subquery(ids, "listed").take()
}

/// All open sessions of the owner, in no order.
pub(super) fn open<S: QueryFilter>(rows: S, owner: &OwnerName, backend: DbBackend) -> S {
    let states = STATES.iter().filter(|(_, status, _)| status.is_open()).map(|(state, ..)| *state);
    let of_owner = is_owners(upload_session::Column::Owner, owner, backend);
    rows.filter(of_owner).filter(Expr::cust(STATE).is_in(states))
}

/// Filters by owner in a form that makes PostgreSQL use an index that starts with the owner, if the order starts with the owner
/// too. With `owner = X` the planner may scan an index of the second column and discard the rows of other owners, which is slow for
/// an owner with few rows there. `owner IN (X, X)` prevents that plan.
pub(super) fn is_owners(column: impl ColumnTrait, owner: &OwnerName, backend: DbBackend) -> Expr {
    match backend {
        DbBackend::Postgres => column.is_in([owner.as_str(); 2]),
        _ => column.eq(owner.as_str()),
    }
}

/// The states that pass the filters. A list without any filter is one range.
fn states(query: &UploadQuery) -> Vec<State> {
    let is_whole = query.original_filename.is_none() && query.total_size_bytes.is_none();
    if let (true, None, None, None) = (is_whole, query.status, query.open, query.file_status) {
        return vec![None];
    }
    let passes = |(_, status, file): &&(&str, SessionStatus, FileStatus)| {
        query.status.is_none_or(|wanted| wanted == *status)
            && query.open.is_none_or(|wanted| wanted == status.is_open())
            && query.file_status.is_none_or(|wanted| wanted == *file)
    };
    STATES.iter().filter(passes).map(|(state, ..)| Some(*state)).collect()
}

/// The ids of the first sessions of each state. Without a state, none.
fn merged(owner: &OwnerName, query: &UploadQuery, states: &[State], backend: DbBackend) -> SelectStatement {
    let ids = |state: &State| {
        let ids = upload_session::Entity::find().select_only().column(upload_session::Column::Id);
        let ids = range(ids, owner, query, *state, backend).limit(query.limit).into_query();
        // A part of a union can have its own order and limit only in a subquery.
        Query::select().column("id").from_subquery(ids, "listed").take()
    };
    let mut ranges = states.iter().map(ids);
    let none = || Query::select().column("id").from(upload_session::Entity).and_where(Expr::val(false)).take();
    let mut merged = ranges.next().unwrap_or_else(none);
    for range in ranges {
        merged.union(UnionType::All, range);
    }
    merged
}

/// The owner's sessions in this state that pass the other filters, in the order of their index.
fn range<S>(rows: S, owner: &OwnerName, query: &UploadQuery, state: State, backend: DbBackend) -> S
where
    S: QueryFilter + QueryOrder,
{
    let mut select = rows.filter(is_owners(upload_session::Column::Owner, owner, backend));
    match (&query.original_filename, query.total_size_bytes) {
        (Some(name), Some(size)) => {
            let wanted = format!("{size}/{}", filename_key(name));
            select = select.filter(Expr::cust(NAME_AND_SIZE).eq(wanted));
        }
        (Some(name), None) => select = select.filter(upload_session::COLUMN.filename_key.eq(filename_key(name))),
        // No stored file has a size that does not fit the column.
        (None, Some(size)) => {
            select = select.filter(match i64::try_from(size) {
                Ok(size) => upload_session::COLUMN.total_size_bytes.eq(size),
                Err(_) => Expr::val(false),
            });
        }
        (None, None) => {}
    }
    if let Some(state) = state {
        select = select.filter(Expr::cust(STATE).eq(state));
    }
    if let Some(id) = query.after {
        select = select.filter(upload_session::COLUMN.id.lt(id.0));
    }
    if let Some(id) = query.before {
        select = select.filter(upload_session::COLUMN.id.gt(id.0));
    }
    // Order by owner too, although there is only one: the database uses the index only for all of its columns.
    select.order_by(upload_session::COLUMN.owner, order(query)).order_by(upload_session::COLUMN.id, order(query))
}

fn order(query: &UploadQuery) -> Order {
    match query.direction {
        Direction::Forward => Order::Desc,
        Direction::Backward => Order::Asc,
    }
}
