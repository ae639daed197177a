//! Recording parts: many at once, of whichever sessions.
//!
//! Owns the one transaction that a batch of parts shares. It skips a session that another transaction has locked, so
//! that the lock delays only that session's parts.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use entity::{upload_part, upload_session};
use sea_orm::{ActiveModelTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::LockBehavior};

use super::{
    Db, PartLease, Result, Transaction, at_most_one, changes,
    error::retry_transaction,
    rows,
    sessions::{gone, locked},
};
use crate::domain::{PartRecord, Session, SessionId};

/// A part that is durable and to be recorded.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// Its session.
    pub session: SessionId,
    /// The part.
    pub part: PartRecord,
    /// The lease under which the request put the part. `None` on a local disk.
    pub lease: Option<PartLease>,
}

/// What became of a part that was to be recorded.
#[derive(Debug)]
pub enum Recorded {
    /// It was recorded; the session as it is now.
    New(Box<Session>),
    /// It had been recorded before; nothing changed.
    Before(Box<Session>, PartRecord),
    /// The session has ended; nothing changed.
    Closed(Box<Session>),
    /// Another transaction has the session just now; nothing changed, and it can be tried again.
    Locked,
    /// The lease on the part expired, and another request took it. Nothing changed.
    LeaseLost,
}

/// Most rows in one insert: SQLite takes 32,766 values, PostgreSQL 65,535.
const ROWS: usize = 1_000;

impl Db {
    /// Records that parts are durable: inserts their rows, moves their sessions and deletes their claims, in one
    /// transaction. Each session then expires `ttl` after its latest part. Answers one result for each part.
    pub async fn record_parts(&self, parts: &[NewPart], ttl: TimeDelta) -> Result<Vec<Recorded>> {
        retry_transaction(|| self.try_record_parts(parts, ttl)).await
    }

    async fn try_record_parts(&self, parts: &[NewPart], ttl: TimeDelta) -> Result<Vec<Recorded>> {
        let mut by_session: BTreeMap<SessionId, Vec<usize>> = BTreeMap::new();
        for (at, part) in parts.iter().enumerate() {
            by_session.entry(part.session).or_default().push(at);
        }
        let tx = self.begin(None).await?;
        let mut sessions = lock_sessions(&tx, by_session.keys()).await?;
        let mut recorded: Vec<Option<Recorded>> = parts.iter().map(|_| None).collect();
        let mut new = Vec::new();
        for (id, members) in by_session {
            let Some(mut session) = sessions.remove(&id) else {
                for at in members {
                    recorded[at] = Some(Recorded::Locked);
                }
                continue;
            };
            let so_far = new.len();
            for &at in &members {
                let NewPart { part, lease, .. } = &parts[at];
                if session.received.contains(part.part.number) {
                    let key = (id.0, i64::from(part.part.number));
                    let row = at_most_one(upload_part::Entity::find_by_id(key), &tx)
                        .await?
                        .ok_or_else(|| gone("upload_part"))?;
                    let before = rows::part(&row, &session.plan)?;
                    // This very one, if its commit went through and only the answer was lost.
                    if before != *part {
                        recorded[at] = Some(Recorded::Before(Box::new(session.clone()), before));
                    }
                } else if let Some(lease) = lease
                    && !lease.delete(&tx).await?
                {
                    recorded[at] = Some(Recorded::LeaseLost);
                } else if !session.record_part(part.part, part.received_at, ttl) {
                    recorded[at] = Some(Recorded::Closed(Box::new(session.clone())));
                } else {
                    new.push(rows::part_row(id, part)?);
                }
            }
            if new.len() > so_far {
                rows::session_moves(&session)?.update_without_returning(&tx).await?;
                changes::notify(&tx, &session).await?;
            }
            for at in members {
                recorded[at].get_or_insert_with(|| Recorded::New(Box::new(session.clone())));
            }
        }
        for rows in new.chunks(ROWS) {
            upload_part::Entity::insert_many(rows.to_vec()).exec_without_returning(&tx).await?;
        }
        tx.commit().await?;
        Ok(recorded.into_iter().flatten().collect())
    }
}

/// Those of these sessions that no other transaction has, kept from others until this one ends.
async fn lock_sessions(
    tx: &Transaction,
    ids: impl ExactSizeIterator<Item = &SessionId> + Clone,
) -> Result<HashMap<SessionId, Session>> {
    let among = |ids: Vec<uuid::Uuid>| upload_session::Entity::find().filter(upload_session::COLUMN.id.is_in(ids));
    let wanted = among(ids.clone().map(|id| id.0).collect()).order_by_asc(upload_session::COLUMN.id);
    let found = locked(wanted, LockBehavior::SkipLocked).all(tx).await?;
    let found: HashMap<_, _> =
        found.into_iter().map(|row| Ok((SessionId(row.id), rows::session(row)?))).collect::<Result<_>>()?;
    let passed_over: Vec<_> = ids.filter(|id| !found.contains_key(*id)).map(|id| id.0).collect();
    if !passed_over.is_empty() && among(passed_over.clone()).all(tx).await?.len() < passed_over.len() {
        return Err(gone("upload_session").into());
    }
    Ok(found)
}
