//! Recording parts, in batches.
//!
//! Owns the transaction that records a batch of parts of one or more sessions. It skips a session that another
//! transaction has locked, so the lock delays only the parts of that session. Does not collect the batch: that is
//! `service::persist`.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use entity::{upload_part, upload_session};
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, sea_query::LockBehavior};

use super::{
    Db, PartLease, Result, Transaction, at_most_one,
    error::retry_transaction,
    rows, session_change,
    sessions::{locked, missing_row},
};
use crate::domain::{PartRecord, Session, SessionId, Sha256Digest};

/// A durable part that is not recorded yet.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// Its session.
    pub session: SessionId,
    /// The part.
    pub part: PartRecord,
    /// The lease under which the request put the part. `None` on a local disk.
    pub lease: Option<PartLease>,
    /// The digest of the tail that the part begins with.
    pub tail: Option<Sha256Digest>,
    /// Whether an append brought the last bytes of the part.
    pub is_appended: bool,
}

/// The result of recording one part.
#[derive(Debug)]
pub enum Recorded {
    /// The part is recorded. The session after the change.
    New(Box<Session>),
    /// The part was recorded before, maybe with other bytes. The session, and the recorded part. Nothing changed.
    Replay(Box<Session>, PartRecord),
    /// The session has ended. Nothing changed.
    Closed(Box<Session>),
    /// Another transaction has locked the session. Nothing changed; the caller can retry.
    Locked,
    /// The lease on the part expired, and another request took it. Nothing changed.
    LeaseLost,
    /// An append has recorded another tail of the part, whose bytes may be others. Nothing changed.
    OtherTail,
}

/// The largest number of rows in one insert. A row has 7 values. A statement may have 32,766 values on SQLite, and
/// 65,535 on PostgreSQL.
const MAX_ROWS: usize = 1_000;

impl Db {
    /// Records parts in one transaction: inserts their rows, updates their sessions and deletes their leases. Each
    /// session then expires `ttl` after its latest part. Returns one result for each part, in their order.
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
        for (id, indexes) in by_session {
            let Some(mut session) = sessions.remove(&id) else {
                for at in indexes {
                    recorded[at] = Some(Recorded::Locked);
                }
                continue;
            };
            let (new_before, before) = (new.len(), session.clone());
            for &at in &indexes {
                let NewPart { part, lease, tail, is_appended, .. } = &parts[at];
                if session.received.contains(part.part.number) {
                    let key = (id.0, i64::from(part.part.number));
                    let row = at_most_one(upload_part::Entity::find_by_id(key), &tx)
                        .await?
                        .ok_or_else(|| missing_row("upload_part"))?;
                    let before = rows::part(&row, &session.plan)?;
                    // An equal record is this one: an earlier attempt committed it, and only the answer was lost.
                    if before != *part {
                        recorded[at] = Some(Recorded::Replay(Box::new(session.clone()), before));
                    }
                } else if session.tail_of(part.part).map(|tail| tail.sha256) != *tail {
                    recorded[at] = Some(Recorded::OtherTail);
                } else if let Some(lease) = lease
                    && !lease.delete(&tx).await?
                {
                    recorded[at] = Some(Recorded::LeaseLost);
                } else if !match is_appended {
                    true => session.append_part(part.part, part.received_at, ttl),
                    false => session.record_part(part.part, part.received_at, ttl),
                } {
                    recorded[at] = Some(Recorded::Closed(Box::new(session.clone())));
                } else {
                    new.push(rows::part_row(id, part)?);
                }
            }
            if new.len() > new_before {
                session_change::store(&tx, &before, &session).await?;
            }
            for at in indexes {
                recorded[at].get_or_insert_with(|| Recorded::New(Box::new(session.clone())));
            }
        }
        for rows in new.chunks(MAX_ROWS) {
            upload_part::Entity::insert_many(rows.to_vec()).exec_without_returning(&tx).await?;
        }
        tx.commit().await?;
        Ok(recorded.into_iter().flatten().collect())
    }
}

/// Locks these sessions until the transaction ends. Returns those that it could lock; skips those that another
/// transaction has locked.
async fn lock_sessions(
    tx: &Transaction,
    ids: impl ExactSizeIterator<Item = &SessionId> + Clone,
) -> Result<HashMap<SessionId, Session>> {
    let by_ids = |ids: Vec<uuid::Uuid>| upload_session::Entity::find().filter(upload_session::COLUMN.id.is_in(ids));
    let wanted = by_ids(ids.clone().map(|id| id.0).collect()).order_by_asc(upload_session::COLUMN.id);
    let found = locked(wanted, LockBehavior::SkipLocked).all(tx).await?;
    let found: HashMap<_, _> =
        found.into_iter().map(|row| Ok((SessionId(row.id), rows::session(row)?))).collect::<Result<_>>()?;
    let skipped: Vec<_> = ids.filter(|id| !found.contains_key(*id)).map(|id| id.0).collect();
    if !skipped.is_empty() && by_ids(skipped.clone()).all(tx).await?.len() < skipped.len() {
        return Err(missing_row("upload_session").into());
    }
    Ok(found)
}
