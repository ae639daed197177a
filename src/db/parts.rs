//! Reads of parts.
//!
//! Owns the reads of part rows. Does not own which parts are received: that is the received set in the session's row.

use std::collections::HashMap;

use entity::upload_part;
use sea_orm::{
    Condition, ConnectionTrait, EntityTrait, FromQueryResult, Iterable, Order, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use uuid::Uuid;

use super::{Db, Result, at_most_one, error::retry_transient, rows};
use crate::domain::{PartRecord, Session, SessionId};

impl Db {
    /// One part of a session.
    pub async fn part(&self, session: &Session, number: u32) -> Result<Option<PartRecord>> {
        let key = (session.id.0, i64::from(number));
        let row = retry_transient(|| at_most_one(upload_part::Entity::find_by_id(key), &self.read)).await?;
        Ok(row.map(|row| rows::part(&row, &session.plan)).transpose()?)
    }

    /// Up to `limit` parts of a session with numbers above `after`, ascending.
    pub async fn parts(&self, session: &Session, after: u32, limit: u64) -> Result<Vec<PartRecord>> {
        let wanted = of_session(session.id).filter(upload_part::COLUMN.part_number.gt(i64::from(after))).limit(limit);
        let found = retry_transient(|| wanted.clone().all(&self.read)).await?;
        Ok(found.iter().map(|row| rows::part(row, &session.plan)).collect::<Result<_, _>>()?)
    }

    /// Every part of a session, ascending.
    pub async fn all_parts(&self, session: &Session) -> Result<Vec<PartRecord>> {
        let found = retry_transient(|| of_session(session.id).all(&self.read)).await?;
        Ok(found.iter().map(|row| rows::part(row, &session.plan)).collect::<Result<_, _>>()?)
    }

    /// The parts of each of these sessions, from the first number to the last, both included, in one statement. Returns
    /// only parts in the given session's received set. If a row is invalid, only the entry of its session is an error.
    pub async fn parts_of_many(
        &self,
        wanted: &[(&Session, u32, u32)],
    ) -> Result<HashMap<SessionId, Result<Vec<PartRecord>>>> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let ranges = wanted.iter().map(|(session, first, last)| (session.id.0, (*first).into(), (*last).into()));
        let statement = self.read.get_database_backend().build(&in_ranges(ranges));
        let rows = || upload_part::Model::find_by_statement(statement.clone());
        let found = retry_transient(|| rows().all(&self.read)).await?;
        let sessions: HashMap<_, _> = wanted.iter().map(|(session, ..)| (session.id.0, session)).collect();
        let mut parts: HashMap<SessionId, Result<Vec<PartRecord>>> = HashMap::new();
        for row in &found {
            let Some(session) = sessions.get(&row.session_id) else { continue };
            let read = parts.entry(session.id).or_insert_with(|| Ok(Vec::new()));
            match (rows::part(row, &session.plan), &mut *read) {
                // Another part of the range may have been recorded since the session was read; it is left out.
                (Ok(record), Ok(records)) if session.received.contains(record.part.number) => records.push(record),
                (Err(corrupt), Ok(_)) => *read = Err(corrupt.into()),
                _ => {}
            }
        }
        Ok(parts)
    }
}

/// The parts of each session from the first number to the last. A join and not a condition with OR, for which PostgreSQL would need
/// bitmaps of the index.
pub(super) fn in_ranges(ranges: impl Iterator<Item = (Uuid, i64, i64)>) -> SelectStatement {
    let column = |column| Expr::col((upload_part::Entity, column));
    let [id, first, last] = ["column1", "column2", "column3"].map(|column| Expr::col(("wanted", column)));
    let is_in_range = Condition::all()
        .add(column(upload_part::Column::SessionId).eq(id))
        .add(column(upload_part::Column::PartNumber).between(first, last));
    Query::select()
        .columns(upload_part::Column::iter().map(|column| (upload_part::Entity, column)))
        .from_values(ranges, "wanted")
        .inner_join(upload_part::Entity, is_in_range)
        .order_by((upload_part::Entity, upload_part::Column::SessionId), Order::Asc)
        .order_by((upload_part::Entity, upload_part::Column::PartNumber), Order::Asc)
        .take()
}

pub(super) fn of_session(id: SessionId) -> sea_orm::Select<upload_part::Entity> {
    upload_part::Entity::find()
        .filter(upload_part::COLUMN.session_id.eq(id.0))
        .order_by_asc(upload_part::COLUMN.part_number)
}
