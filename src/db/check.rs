//! Looks for rows that disagree: the received set and the counters of every session against its part rows.

use std::fmt;

use entity::upload_session;
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Db, Result, rows};
use crate::domain::{PartSet, SessionId};

/// A session whose rows disagree.
#[derive(Debug)]
pub struct Disagreement {
    /// Which session.
    pub session: SessionId,
    /// In what.
    pub problem: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}: {}", self.session.0, self.problem)
    }
}

/// A page of sessions that were looked at.
#[derive(Debug)]
pub struct CheckedPage {
    /// How many.
    pub checked: u64,
    /// What is wrong with them.
    pub disagreements: Vec<Disagreement>,
    /// The last of them; `None` when there were none left.
    pub last: Option<SessionId>,
}

const PAGE: u64 = 100;

impl Db {
    /// Looks at a page of sessions, those after this one.
    pub async fn check_sessions(&self, after: Option<SessionId>) -> Result<CheckedPage> {
        let mut select = upload_session::Entity::find();
        if let Some(id) = after {
            select = select.filter(upload_session::COLUMN.id.gt(id.0));
        }
        let page = select.order_by_asc(upload_session::COLUMN.id).limit(PAGE).all(&self.read).await?;
        let (checked, last) = (page.len() as u64, page.last().map(|row| SessionId(row.id)));
        let mut disagreements = Vec::new();
        for row in page {
            let session = SessionId(row.id);
            if let Err(problem) = self.check_session(row).await? {
                disagreements.push(Disagreement { session, problem });
            }
        }
        Ok(CheckedPage { checked, disagreements, last })
    }

    async fn check_session(&self, row: upload_session::Model) -> Result<Result<(), String>> {
        let completed = row.completed_parts;
        let session = match rows::session(row) {
            Ok(session) => session,
            Err(corrupt) => return Ok(Err(corrupt.to_string())),
        };
        let (mut numbers, mut bytes, mut after) = (PartSet::new(), 0, 0);
        loop {
            let page = match self.parts(&session, after, 1_000).await {
                Err(super::Error::Corrupt(corrupt)) => return Ok(Err(corrupt.to_string())),
                page => page?,
            };
            let Some(last) = page.last() else { break };
            after = last.part.number;
            for record in &page {
                numbers.insert(record.part.number);
                bytes += record.part.size_bytes;
            }
        }
        Ok(if numbers != session.received {
            Err(format!("received parts are {}, but there are rows for {numbers}", session.received))
        } else if bytes != session.bytes_received || completed != i64::from(numbers.len()) {
            Err(format!("{} bytes are counted, but the rows hold {bytes}", session.bytes_received))
        } else {
            Ok(())
        })
    }
}
