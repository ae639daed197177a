//! Statements over parts: the detail behind a session's received set.

use std::collections::HashMap;

use entity::upload_part;
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Db, Result, rows};
use crate::domain::{PartRecord, Session, SessionId};

impl Db {
    /// One part of a session.
    pub async fn part(&self, session: &Session, number: u32) -> Result<Option<PartRecord>> {
        let row = upload_part::Entity::find_by_id((session.id.0, i64::from(number))).one(&self.read).await?;
        Ok(row.map(|row| rows::part(&row, &session.plan)).transpose()?)
    }

    /// Up to `limit` parts of a session with numbers above `after`, ascending.
    pub async fn parts(&self, session: &Session, after: u32, limit: u64) -> Result<Vec<PartRecord>> {
        let found = of_session(session.id)
            .filter(upload_part::COLUMN.part_number.gt(i64::from(after)))
            .limit(limit)
            .all(&self.read)
            .await?;
        Ok(found.iter().map(|row| rows::part(row, &session.plan)).collect::<Result<_, _>>()?)
    }

    /// Up to `limit` parts above `after` of each of these sessions, in one statement.
    pub async fn parts_of_many(
        &self,
        sessions: &[&Session],
        after: u32,
        limit: u64,
    ) -> Result<HashMap<SessionId, Vec<PartRecord>>> {
        // One statement: a window over the part numbers of each session would do it too, but the first `limit` received
        // numbers are known from the sessions' own sets.
        let plans: HashMap<_, _> = sessions.iter().map(|session| (session.id.0, session)).collect();
        let mut wanted = sea_orm::Condition::any();
        for session in sessions {
            let Some((first, last)) = window(session, after, limit) else { continue };
            wanted = wanted.add(
                sea_orm::Condition::all()
                    .add(upload_part::COLUMN.session_id.eq(session.id.0))
                    .add(upload_part::COLUMN.part_number.between(i64::from(first), i64::from(last))),
            );
        }
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let found = upload_part::Entity::find()
            .filter(wanted)
            .order_by_asc(upload_part::COLUMN.session_id)
            .order_by_asc(upload_part::COLUMN.part_number)
            .all(&self.read)
            .await?;
        let mut parts: HashMap<SessionId, Vec<PartRecord>> = HashMap::new();
        for row in &found {
            let Some(session) = plans.get(&row.session_id) else { continue };
            let record = rows::part(row, &session.plan)?;
            // A part may have arrived within the window since the session was read.
            if session.received.contains(record.part.number) {
                parts.entry(session.id).or_default().push(record);
            }
        }
        Ok(parts)
    }
}

pub(super) fn of_session(id: SessionId) -> sea_orm::Select<upload_part::Entity> {
    upload_part::Entity::find()
        .filter(upload_part::COLUMN.session_id.eq(id.0))
        .order_by_asc(upload_part::COLUMN.part_number)
}

/// The first and last number of the first `limit` received parts above `after`.
fn window(session: &Session, after: u32, limit: u64) -> Option<(u32, u32)> {
    let numbers = session.received.numbers_after(after).take(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut numbers = numbers.peekable();
    let first = *numbers.peek()?;
    Some((first, numbers.last()?))
}
