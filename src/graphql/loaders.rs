//! Data loaders: many look-ups of one request become one statement.
//!
//! Owns the batches. Each request has its own loaders. A loader caches its values and holds a lock while it loads, so shared
//! loaders would show one caller's data to others and make them wait for each other. A batch returns a value for every key,
//! since the crate reports a missing key as an error of its own. Errors are values, too: the crate cannot return them.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use ::dataloader::{BatchFn, cached::Loader};
use parking_lot::Mutex;

use super::errors::ApiError;
use crate::{
    domain::{FileId, FileRecord, PartRecord, Principal, Session, SessionId, SessionState},
    error::Error,
    service::Service,
};

/// Keys in one batch. A whole page fits, and SQLite allows 32,766 variables.
const MAX_BATCH: usize = 1_000;
/// Sessions whose parts one statement reads. Each is a term of an expression, and SQLite allows a depth of 1,000.
const MAX_PART_BATCH: usize = 200;
/// Yields before a batch at the root loads. One is enough: async-graphql starts all root fields before it polls the first
/// one again.
const ROOT_YIELDS: usize = 1;
/// Yields before a batch of children loads. The resolvers of one page resume one by one after their sessions have loaded, so
/// the last one joins late. In a measurement, a page of 50 sessions needed 64 yields to load in one batch.
const CHILD_YIELDS: usize = 256;

type Loaded<V> = Result<Option<V>, Arc<Error>>;

/// The loaders of one request.
pub(crate) struct Loaders {
    sessions: Loader<SessionId, Loaded<Arc<Session>>, SessionBatch>,
    states: Loader<SessionId, Loaded<SessionState>, StateBatch>,
    files: Loader<FileId, Loaded<Arc<FileRecord>>, FileBatch>,
    parts: Loader<PartsKey, Loaded<Arc<Vec<PartRecord>>>, PartBatch>,
    batch: Arc<Batch>,
    /// The first state of each session that this answer got. The whole answer shows this state.
    shown: Mutex<HashMap<SessionId, SessionState>>,
}

struct Batch {
    service: Arc<Service>,
    principal: Principal,
}
struct SessionBatch(Arc<Batch>);
struct StateBatch(Arc<Batch>);
struct FileBatch(Arc<Batch>);
struct PartBatch(Arc<Batch>);

/// The parts of a session from `first` to `last`, both included.
#[derive(Clone, Debug)]
struct PartsKey {
    session: Arc<Session>,
    first: u32,
    last: u32,
}

impl PartsKey {
    fn identity(&self) -> (SessionId, u32, u32) {
        (self.session.id, self.first, self.last)
    }
}

impl PartialEq for PartsKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for PartsKey {}

impl Hash for PartsKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Loaders {
    /// Loaders for a caller's request.
    pub(super) fn new(service: Arc<Service>, principal: Principal) -> Self {
        let batch = Arc::new(Batch { service, principal });
        Self {
            sessions: Loader::new(SessionBatch(Arc::clone(&batch)))
                .with_max_batch_size(MAX_BATCH)
                .with_yield_count(ROOT_YIELDS),
            states: Loader::new(StateBatch(Arc::clone(&batch)))
                .with_max_batch_size(MAX_BATCH)
                .with_yield_count(ROOT_YIELDS),
            files: Loader::new(FileBatch(Arc::clone(&batch)))
                .with_max_batch_size(MAX_BATCH)
                .with_yield_count(CHILD_YIELDS),
            parts: Loader::new(PartBatch(Arc::clone(&batch)))
                .with_max_batch_size(MAX_PART_BATCH)
                .with_yield_count(CHILD_YIELDS),
            batch,
            shown: Mutex::default(),
        }
    }

    /// The caller's session with this id.
    pub(super) async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>, ApiError> {
        loaded(self.sessions.try_load(id).await)
    }

    /// The state of the caller's session with this id, from memory or from a batch.
    pub(super) async fn state(&self, id: SessionId) -> Result<Option<SessionState>, ApiError> {
        let shown = self.shown.lock().get(&id).cloned();
        if shown.is_some() {
            return Ok(shown);
        }
        let Batch { service, principal } = &*self.batch;
        let state = match service.kept_state(principal, id).await? {
            Some(kept) => Some(kept),
            None => loaded(self.states.try_load(id).await)?,
        };
        Ok(state.map(|state| self.shown.lock().entry(id).or_insert(state).clone()))
    }

    /// The caller's file with this id.
    pub(super) async fn file(&self, id: FileId) -> Result<Option<Arc<FileRecord>>, ApiError> {
        loaded(self.files.try_load(id).await)
    }

    /// The received parts of a session with these numbers, from the first to the last, both included. `None` if the server has
    /// removed their records.
    pub(super) async fn parts(
        &self,
        session: Arc<Session>,
        numbers: Option<(u32, u32)>,
    ) -> Result<Option<Arc<Vec<PartRecord>>>, ApiError> {
        if !session.has_part_records() {
            return Ok(None);
        }
        let Some((first, last)) = numbers else { return Ok(Some(Arc::default())) };
        loaded(self.parts.try_load(PartsKey { session, first, last }).await)
    }
}

fn loaded<V>(result: std::io::Result<Loaded<V>>) -> Result<Option<V>, ApiError> {
    Ok(result.map_err(Error::internal)??)
}

/// A value for every key: what the service found, `None`, or an error. If the whole look-up failed, all keys share its error.
fn for_all<K: Copy + Eq + Hash, V: Into<T>, T>(
    keys: &[K],
    found: Result<HashMap<K, Result<V, Error>>, Error>,
) -> HashMap<K, Loaded<T>> {
    match found {
        Ok(mut found) => {
            let mut one = |key| found.remove(key).transpose().map(|value| value.map(Into::into)).map_err(Arc::new);
            keys.iter().map(|key| (*key, one(key))).collect()
        }
        Err(error) => {
            let error = Arc::new(error);
            keys.iter().map(|key| (*key, Err(Arc::clone(&error)))).collect()
        }
    }
}

impl BatchFn<SessionId, Loaded<Arc<Session>>> for SessionBatch {
    async fn load(&mut self, ids: &[SessionId]) -> HashMap<SessionId, Loaded<Arc<Session>>> {
        for_all(ids, self.0.service.sessions(&self.0.principal, ids).await)
    }
}

impl BatchFn<SessionId, Loaded<SessionState>> for StateBatch {
    async fn load(&mut self, ids: &[SessionId]) -> HashMap<SessionId, Loaded<SessionState>> {
        for_all(ids, self.0.service.states(&self.0.principal, ids).await)
    }
}

impl BatchFn<FileId, Loaded<Arc<FileRecord>>> for FileBatch {
    async fn load(&mut self, ids: &[FileId]) -> HashMap<FileId, Loaded<Arc<FileRecord>>> {
        for_all(ids, self.0.service.files(&self.0.principal, ids).await)
    }
}

impl BatchFn<PartsKey, Loaded<Arc<Vec<PartRecord>>>> for PartBatch {
    async fn load(&mut self, keys: &[PartsKey]) -> HashMap<PartsKey, Loaded<Arc<Vec<PartRecord>>>> {
        let wanted: Vec<_> = keys.iter().map(|key| (&*key.session, key.first, key.last)).collect();
        let found = self.0.service.parts_of_many(&wanted).await.map_err(Arc::new);
        let found = found
            .map(|found| found.into_iter().map(|(id, read)| (id, read.map_err(Arc::new))).collect::<HashMap<_, _>>());
        let of = |key: &PartsKey| match found.as_ref().map(|found| found.get(&key.session.id)) {
            Ok(None) => Ok(Some(Arc::default())),
            Ok(Some(Ok(None))) => Ok(None),
            Ok(Some(Ok(Some(parts)))) => {
                let within = parts.iter().filter(|record| (key.first..=key.last).contains(&record.part.number));
                Ok(Some(Arc::new(within.cloned().collect())))
            }
            Ok(Some(Err(error))) | Err(error) => Err(Arc::clone(error)),
        };
        keys.iter().map(|key| (key.clone(), of(key))).collect()
    }
}
