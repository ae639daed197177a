//! Recording parts, in batches.
//!
//! Owns the transaction that records a batch of parts of one or more sessions. It skips a session that another
//! transaction has locked, so the lock delays only the parts of that session. On SQLite, new parts of sessions in memory are
//! recorded by one command. Does not collect the batch: that is `service::persist`.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use chrono::TimeDelta;
use entity::{upload_part, upload_session};
use sea_orm::{DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryTrait, sea_query::LockBehavior};

use super::{
    Db, PartLease, Result, Transaction, at_most_one,
    error::retry_transaction,
    rows, session_change,
    sessions::{locked, missing_row},
    whole_transaction::WholeTransaction,
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

impl NewPart {
    /// Whether the session has not received the part, and has the tail that the part begins with.
    fn is_new_in(&self, session: &Session) -> bool {
        let tail = session.tail_of(self.part.part).map(|tail| tail.sha256);
        !session.received.contains(self.part.part.number) && tail == self.tail
    }

    /// Adds the part to the session. Returns false, and changes nothing, if the session has ended.
    fn add_to(&self, session: &mut Session, ttl: TimeDelta) -> bool {
        let PartRecord { part, received_at, .. } = self.part;
        match self.is_appended {
            true => session.append_part(part, received_at, ttl),
            false => session.record_part(part, received_at, ttl),
        }
    }
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
        match self.record_new_parts(parts, ttl).await? {
            Some(recorded) => Ok(recorded),
            None => retry_transaction(|| self.try_record_parts(parts, ttl)).await,
        }
    }

    /// Records parts by one command. Returns `None`, and changes nothing, if a read is necessary: the database is PostgreSQL, a
    /// session is not in memory or has changed meanwhile, or a part has a lease or cannot be recorded.
    async fn record_new_parts(&self, parts: &[NewPart], ttl: TimeDelta) -> Result<Option<Vec<Recorded>>> {
        let Some(writer) = &self.whole_writer else { return Ok(None) };
        let turn = self.write.turn().await?;
        let mut sessions = BTreeMap::new();
        for new in parts {
            let (_, after) = match sessions.entry(new.session) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => match self.snapshots.get(new.session) {
                    Some(state) => entry.insert((Arc::clone(&state.session), (*state.session).clone())),
                    None => return Ok(None),
                },
            };
            if new.lease.is_some() || !new.is_new_in(after) || !new.add_to(after, ttl) {
                return Ok(None);
            }
        }
        let mut transaction = WholeTransaction::default();
        for (before, after) in sessions.values() {
            transaction.store(&self.snapshots, before, after)?;
        }
        let rows = parts.iter().map(|new| rows::part_row(new.session, &new.part)).collect::<Result<Vec<_>, _>>()?;
        for rows in rows.chunks(MAX_ROWS) {
            transaction.add(upload_part::Entity::insert_many(rows.to_vec()).build(DbBackend::Sqlite));
        }
        self.metrics.statements.inc_by(transaction.statements);
        if !writer.commit(transaction, turn).await? {
            return Ok(None);
        }
        let recorded = |new: &NewPart| Some(Recorded::New(Box::new(sessions.get(&new.session)?.1.clone())));
        Ok(parts.iter().map(recorded).collect())
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
                let new_part @ NewPart { part, lease, .. } = &parts[at];
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
                } else if !new_part.is_new_in(&session) {
                    recorded[at] = Some(Recorded::OtherTail);
                } else if let Some(lease) = lease
                    && !lease.delete(&tx).await?
                {
                    recorded[at] = Some(Recorded::LeaseLost);
                } else if !new_part.add_to(&mut session, ttl) {
                    recorded[at] = Some(Recorded::Closed(Box::new(session.clone())));
                } else {
                    new.push(rows::part_row(id, part)?);
                }
            }
            if new.len() > new_before {
                session_change::store(&tx, &before, &session).await?;
                tx.stores(&session);
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

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::domain::{AccountLimits, Clock, Digests, OwnerName, PartPlan, SystemClock, Upload, UploadRequest};

    const TTL: TimeDelta = TimeDelta::days(1);

    /// A database with one session of three parts, whose state is in memory.
    async fn with_session(folder: &std::path::Path) -> (Db, Session) {
        let db = Db::open_sqlite(&folder.join("a.db")).await.unwrap();
        db.migrate().await.unwrap();
        let request = UploadRequest::new("a", "text/plain", PartPlan::new(30, 10).unwrap());
        let upload = Upload::new(&OwnerName::parse("ann").unwrap(), request, SystemClock.now(), TTL);
        let limits = AccountLimits { max_bytes: None, max_open_sessions: 9 };
        db.create_upload(&upload, &limits).await.unwrap();
        db.state(&upload.session.owner, upload.session.id).await.unwrap();
        (db, upload.session)
    }

    fn part(session: &Session, number: u32) -> NewPart {
        let digests = Digests::of(b"0123456789");
        let part = PartRecord {
            part: session.plan.part(number).unwrap(),
            sha256: digests.sha256,
            crc64nvme: Some(digests.crc64nvme),
            storage_etag: None,
            received_at: SystemClock.now(),
        };
        NewPart { session: session.id, part, lease: None, tail: None, is_appended: false }
    }

    async fn stored(db: &Db, session: &Session) -> (String, u64, usize) {
        let found = db.session(&session.owner, session.id).await.unwrap().unwrap();
        (found.received.to_string(), found.version, db.all_parts(session).await.unwrap().len())
    }

    #[tokio::test]
    async fn new_parts_of_a_session_in_memory_take_one_command_and_keep_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let (db, session) = with_session(folder.path()).await;
        let recorded = db.record_new_parts(&[part(&session, 3), part(&session, 1)], TTL).await.unwrap();
        let recorded = recorded.expect("the session is in memory");
        assert!(recorded.iter().all(|recorded| matches!(recorded, Recorded::New(now) if now.version == 3)));
        let kept = db.kept_state(&session.owner, session.id).await.unwrap().expect("the commit keeps the state");
        assert_eq!(*kept.session, db.session(&session.owner, session.id).await.unwrap().unwrap());
        assert_eq!(stored(&db, &session).await, ("1,3".to_owned(), 3, 2));
    }

    #[tokio::test]
    async fn a_row_that_another_program_has_changed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (db, session) = with_session(folder.path()).await;
        db.write.execute_unprepared("UPDATE upload_session SET version = 41").await.unwrap();
        assert!(db.record_new_parts(&[part(&session, 1)], TTL).await.unwrap().is_none());
        assert_eq!(stored(&db, &session).await, (String::new(), 41, 0), "nothing changed");
        let recorded = db.record_parts(&[part(&session, 1)], TTL).await.unwrap();
        assert!(matches!(&recorded[..], [Recorded::New(now)] if now.version == 42));
        assert_eq!(stored(&db, &session).await, ("1".to_owned(), 42, 1));
    }
}
