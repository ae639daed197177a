//! Committed states of sessions in memory, so that a status needs no statement.
//!
//! Owns which states are in memory, their number, and the rule that keeps them true. Does not own the statements that read
//! and change sessions. A status reads them by [`Db::kept_state`](super::Db::kept_state).
//!
//! # Why a state in memory is never out of date
//!
//! On SQLite, this process is the only one that changes sessions: `app/lock.rs` refuses a second one. Every transaction that
//! changes a session calls [`Transaction::changes`](super::transaction::Transaction::changes) before it commits. From then until the
//! commit has ended, successfully or not, the session is *changing*:
//!
//! 1. When it begins to change, its state is removed.
//! 2. While it changes, no read keeps a state of it.
//! 3. A read keeps its state only if the session did not begin or end to change since the read began.
//! 4. A commit that has succeeded keeps the state that it wrote, unless another change of the session began or ended since this
//!    one began.
//!
//! So a kept state was read from the database at a moment without a commit of that session under way (2 and 3), or written by
//! the last commit (4), and no commit has begun since (1). It is the last committed state. A cancelled request cannot break the
//! rule: a commit that has begun runs to its end in a task of its own.
//!
//! Two fields change without a version and without `Transaction::changes`, because no status shows them: the multipart upload of
//! an object store, and whether the records of the parts are kept. Whoever needs them reads the row.
//!
//! On PostgreSQL, other nodes change sessions too. There, a state in memory answers a read only if it has the version that the
//! database returned after the read had begun. A version names exactly one state.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::{Session, SessionId, SessionState};

/// Memory for all states with their encoded forms, in bytes. The least recently used ones are removed first.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// A state that needs more memory than this is not kept: one with 100,000 ranges.
const MAX_STATE_BYTES: usize = MAX_BYTES / 8;
/// Memory for one state without its ranges and texts: 2 KiB for the session, its file and the JSON of REST, and 768 bytes for an
/// answer of GraphQL.
const BASE_BYTES: usize = 2 * 1024 + 768;
/// Memory for one range: in the set, in the received and the missing ranges of REST, and in those of GraphQL.
const RANGE_BYTES: usize = 80;

/// The states in memory.
#[derive(Clone)]
pub(super) struct Snapshots(Arc<Mutex<State>>);

struct State {
    kept: LruCache<SessionId, Kept>,
    kept_bytes: usize,
    max_bytes: usize,
    /// Sessions that are being read or changed.
    busy: HashMap<SessionId, Busy>,
}

struct Kept {
    state: SessionState,
    bytes: usize,
}

/// How a session is used at the moment.
#[derive(Default)]
struct Busy {
    reads: u32,
    changes: u32,
    /// How often a change began or ended since the session became busy.
    changed: u64,
}

/// A read of a session from the database.
pub(super) struct Reading {
    snapshots: Snapshots,
    id: SessionId,
    /// [`Busy::changed`] when the read began; `None` if the session was changing.
    began_at: Option<u64>,
}

/// A change of a session, from before its commit until the commit has ended.
pub(super) struct Changing {
    snapshots: Snapshots,
    id: SessionId,
    /// [`Busy::changed`] after the change began.
    began_at: u64,
    /// The state that was in memory when the change began.
    before: Option<SessionState>,
    /// The state that the transaction writes, if it is known.
    after: Option<SessionState>,
}

/// The states of each SQLite file that this process has open. The process, not the `Db`, is what `app/lock.rs` admits, so all
/// `Db` values on one file share their states.
static FILES: Mutex<Vec<(PathBuf, Weak<Mutex<State>>)>> = Mutex::new(Vec::new());

impl Snapshots {
    /// The states of a PostgreSQL database.
    pub(super) fn new() -> Self {
        Self::with_memory(MAX_BYTES)
    }

    /// The states of the SQLite database in this file, which exists.
    pub(super) fn of_file(file: &Path) -> Self {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let mut files = FILES.lock();
        files.retain(|(_, states)| states.strong_count() > 0);
        if let Some(states) = files.iter().find(|(known, _)| *known == file).and_then(|(_, states)| states.upgrade()) {
            return Self(states);
        }
        let new = Self::new();
        files.push((file, Arc::downgrade(&new.0)));
        new
    }

    fn with_memory(max_bytes: usize) -> Self {
        let state = State { kept: LruCache::unbounded(), kept_bytes: 0, max_bytes, busy: HashMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state of a session, if it is in memory.
    pub(super) fn get(&self, id: SessionId) -> Option<SessionState> {
        self.state().kept.get(&id).map(|kept| kept.state.clone())
    }

    /// How many states are in memory, and how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let state = self.state();
        (state.kept.len(), state.kept_bytes)
    }

    /// Begins a read of a session. The caller then reads the session from the database.
    pub(super) fn begin_read(&self, id: SessionId) -> Reading {
        let mut state = self.state();
        let busy = state.busy.entry(id).or_default();
        busy.reads += 1;
        let began_at = (busy.changes == 0).then_some(busy.changed);
        Reading { snapshots: self.clone(), id, began_at }
    }

    /// Begins a change of a session. The caller then commits it, and drops the returned value when the commit has ended.
    pub(super) fn begin_change(&self, id: SessionId) -> Changing {
        let mut state = self.state();
        let before = state.remove(id);
        let busy = state.busy.entry(id).or_default();
        busy.changes += 1;
        busy.changed += 1;
        let began_at = busy.changed;
        Changing { snapshots: self.clone(), id, began_at, before, after: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn remove(&mut self, id: SessionId) -> Option<SessionState> {
        let removed = self.kept.pop(&id)?;
        self.kept_bytes -= removed.bytes;
        Some(removed.state)
    }

    fn keep(&mut self, state: SessionState) {
        let (id, bytes) = (state.session.id, memory_of(&state));
        drop(self.remove(id));
        if bytes > MAX_STATE_BYTES {
            return;
        }
        self.kept_bytes += bytes;
        self.kept.put(id, Kept { state, bytes });
        while self.kept_bytes > self.max_bytes
            && let Some((_, removed)) = self.kept.pop_lru()
        {
            self.kept_bytes -= removed.bytes;
        }
    }

    fn end(&mut self, id: SessionId, end: impl FnOnce(&mut Busy)) {
        if let Some(busy) = self.busy.get_mut(&id) {
            end(busy);
            if busy.reads == 0 && busy.changes == 0 {
                self.busy.remove(&id);
            }
        }
    }
}

/// An upper bound for the memory of a state with its encoded forms, in bytes.
fn memory_of(SessionState { session, file, .. }: &SessionState) -> usize {
    let received = session.received.len();
    let ranges = received.min(session.plan.total_parts().saturating_sub(received)) as usize + 1;
    let texts = file.original_filename.len() + file.content_type.len() + file.metadata.as_json().get().len();
    BASE_BYTES + ranges * RANGE_BYTES + 2 * texts
}

impl Reading {
    /// Keeps the state that was read, unless the session changed meanwhile.
    pub(super) fn keep(self, state: &SessionState) {
        let mut all = self.snapshots.state();
        let now = all.busy.get(&self.id).filter(|busy| busy.changes == 0).map(|busy| busy.changed);
        if self.began_at.is_some() && self.began_at == now {
            all.keep(state.clone());
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.snapshots.state().end(self.id, |busy| busy.reads -= 1);
    }
}

impl Changing {
    /// The session that changes.
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Says that the transaction stores this session, and leaves the row of its file as it is.
    pub(super) fn stores(&mut self, session: &Session) {
        let file = self.before.as_ref().map(|before| Arc::clone(&before.file));
        self.after =
            file.map(|file| SessionState { session: Arc::new(session.clone()), file, encoded: Arc::default() });
    }

    /// Keeps the state that the transaction has written, unless another change began or ended meanwhile. The commit has succeeded.
    pub(super) fn committed(&mut self) {
        let Some(after) = self.after.take() else { return };
        let mut all = self.snapshots.state();
        if all.busy.get(&self.id).is_some_and(|busy| busy.changes == 1 && busy.changed == self.began_at) {
            all.keep(after);
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.snapshots.state().end(self.id, |busy| {
            busy.changes -= 1;
            busy.changed += 1;
        });
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}

impl fmt::Debug for Changing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Changing").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Clock, OwnerName, PartPlan, SystemClock, Upload, UploadRequest};

    const SESSIONS: usize = 3;
    const READS: usize = 4;
    const CHANGES: usize = 3;

    /// One step of one of several requests. Any order of steps can happen.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        BeginRead {
            read: usize,
            session: usize,
        },
        ReadRow {
            read: usize,
        },
        /// The read is done. If it is not `kept`, its request was cancelled.
        EndRead {
            read: usize,
            kept: bool,
        },
        BeginChange {
            change: usize,
            session: usize,
        },
        Commit {
            change: usize,
        },
        /// The commit has ended. If there was no `Commit` before, it has failed. If it is not `known`, its answer was lost.
        EndChange {
            change: usize,
            known: bool,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (session, read, change) = (0..SESSIONS, 0..READS, 0..CHANGES);
        let step = prop_oneof![
            (read.clone(), session.clone()).prop_map(|(read, session)| Step::BeginRead { read, session }),
            read.clone().prop_map(|read| Step::ReadRow { read }),
            (read, any::<bool>()).prop_map(|(read, kept)| Step::EndRead { read, kept }),
            (change.clone(), session).prop_map(|(change, session)| Step::BeginChange { change, session }),
            change.clone().prop_map(|change| Step::Commit { change }),
            (change, any::<bool>()).prop_map(|(change, known)| Step::EndChange { change, known }),
        ];
        proptest::collection::vec(step, 0..200)
    }

    fn states() -> Vec<SessionState> {
        let request = || UploadRequest::new("a", "text/plain", PartPlan::new(10, 10).unwrap());
        let owner = OwnerName::parse("ann").unwrap();
        let upload = |_| Upload::new(&owner, request(), SystemClock.now(), chrono::TimeDelta::days(1));
        (0..SESSIONS).map(|session| upload(session).into()).collect()
    }

    fn at_version(state: &SessionState, version: u64) -> SessionState {
        let mut session = (*state.session).clone();
        session.version = version;
        SessionState { session: Arc::new(session), ..state.clone() }
    }

    proptest! {
        /// The memory of two states also evicts all the time.
        #[test]
        fn a_kept_state_is_the_last_committed_one(steps in steps(), memory in 1..3_usize) {
            let snapshots = Snapshots::with_memory(memory * 2 * BASE_BYTES);
            let states = states();
            let mut rows = [1_u64; SESSIONS];
            let mut reads: BTreeMap<usize, (usize, Reading, Option<u64>)> = BTreeMap::new();
            let mut changes: BTreeMap<usize, (usize, Changing, Option<u64>)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::BeginRead { read, session } => {
                        reads.entry(read).or_insert_with(|| {
                            (session, snapshots.begin_read(states[session].session.id), None)
                        });
                    }
                    Step::ReadRow { read } => {
                        if let Some((session, _, row)) = reads.get_mut(&read) {
                            *row = Some(rows[*session]);
                        }
                    }
                    Step::EndRead { read, kept } => {
                        if let Some((session, reading, Some(row))) = reads.remove(&read) && kept {
                            reading.keep(&at_version(&states[session], row));
                        }
                    }
                    Step::BeginChange { change, session } => {
                        changes.entry(change).or_insert_with(|| {
                            (session, snapshots.begin_change(states[session].session.id), None)
                        });
                    }
                    Step::Commit { change } => {
                        if let Some((session, changing, committed)) = changes.get_mut(&change) && committed.is_none() {
                            rows[*session] += 1;
                            *committed = Some(rows[*session]);
                            changing.stores(&at_version(&states[*session], rows[*session]).session);
                        }
                    }
                    Step::EndChange { change, known } => {
                        if let Some((_, mut changing, Some(_))) = changes.remove(&change) && known {
                            changing.committed();
                        }
                    }
                }
                for (state, row) in states.iter().zip(rows) {
                    let kept = snapshots.get(state.session.id).map(|kept| kept.session.version);
                    prop_assert!(kept.is_none_or(|kept| kept == row), "{kept:?} is kept, {row} is committed");
                }
            }
            drop((reads, changes));
            prop_assert!(snapshots.state().busy.is_empty());
            prop_assert!(snapshots.state().kept_bytes <= memory * 2 * BASE_BYTES);
        }
    }

    #[test]
    fn a_commit_keeps_the_state_that_it_wrote() {
        let (snapshots, state) = (Snapshots::new(), states().remove(0));
        let id = state.session.id;
        let change = |version| {
            let mut changing = snapshots.begin_change(id);
            changing.stores(&at_version(&state, version).session);
            changing.committed();
        };
        let kept = || snapshots.get(id).map(|kept| kept.session.version);
        change(2);
        assert_eq!(kept(), None, "the file is not known");
        snapshots.begin_read(id).keep(&state);
        change(2);
        change(3);
        assert_eq!(kept(), Some(3));
    }

    #[test]
    fn a_state_is_kept_after_a_read_and_the_least_recently_used_one_is_removed() {
        let states = states();
        let snapshots = Snapshots::with_memory(2 * memory_of(&states[0]));
        let id = |at: usize| states[at].session.id;
        for state in &states[..2] {
            snapshots.begin_read(state.session.id).keep(state);
        }
        assert!(snapshots.get(id(0)).is_some() && snapshots.get(id(1)).is_some());
        assert!(snapshots.get(id(0)).is_some());
        snapshots.begin_read(id(2)).keep(&states[2]);
        assert!(snapshots.get(id(1)).is_none());
        drop(snapshots.begin_change(id(0)));
        assert!(snapshots.get(id(0)).is_none());
    }
}
