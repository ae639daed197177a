//! Looks for rows that disagree: the received set and the counters of every session against its part rows.

use std::fmt;

use entity::upload_session;
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, IsolationLevel, QueryFilter, QueryOrder, QuerySelect, TransactionOptions,
};

use super::{Db, Result, Transaction, rows};
use crate::domain::{PartSet, Session, SessionId};

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
    /// Those that are open and have parts, so that their bytes must be there.
    pub with_bytes: Vec<Session>,
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
        let (mut disagreements, mut with_bytes) = (Vec::new(), Vec::new());
        for row in page {
            let session = SessionId(row.id);
            match self.check_session(session).await? {
                Ok(session) if session.status.is_open() && !session.received.is_empty() => with_bytes.push(session),
                Ok(_) => {}
                Err(problem) => disagreements.push(Disagreement { session, problem }),
            }
        }
        Ok(CheckedPage { checked, disagreements, with_bytes, last })
    }

    /// A transaction that sees one state of the database, as every one does on SQLite.
    async fn snapshot(&self) -> Result<Transaction> {
        let isolation_level = match self.read.get_database_backend() {
            DbBackend::Postgres => Some(IsolationLevel::RepeatableRead),
            _ => None,
        };
        Ok(self.read.begin(TransactionOptions { isolation_level, ..Default::default() }).await?)
    }

    /// In one transaction, so that a part that arrives in between is in both or in neither.
    async fn check_session(&self, id: SessionId) -> Result<Result<Session, String>> {
        let tx = self.snapshot().await?;
        let Some(row) = super::only(upload_session::Entity::find_by_id(id.0), &tx).await? else {
            return Ok(Err("it is gone".to_owned()));
        };
        let completed = row.completed_parts;
        let session = match rows::session(row) {
            Ok(session) => session,
            Err(corrupt) => return Ok(Err(corrupt.to_string())),
        };
        let (mut numbers, mut bytes) = (PartSet::new(), 0);
        for row in super::parts::of_session(id).all(&tx).await? {
            match rows::part(&row, &session.plan) {
                Ok(record) => {
                    numbers.insert(record.part.number);
                    bytes += record.part.size_bytes;
                }
                Err(corrupt) => return Ok(Err(corrupt.to_string())),
            }
        }
        Ok(if numbers != session.received {
            Err(format!("received parts are {}, but there are rows for {numbers}", session.received))
        } else if completed != i64::from(numbers.len()) {
            Err(format!("{completed} parts are counted, but there are rows for {}", numbers.len()))
        } else if bytes != session.bytes_received {
            Err(format!("{} bytes are counted, but the rows hold {bytes}", session.bytes_received))
        } else {
            Ok(session)
        })
    }
}
