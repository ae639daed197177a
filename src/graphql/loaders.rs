//! Batching: many look-ups of one request become one statement.
//!
//! One set of loaders per request, never in the schema: a loader keeps what it loaded, and holds a lock while it loads,
//! so a shared one would leak between callers and make them wait for each other. Every key gets a value, since the crate
//! treats a key without one as an error of its own; errors are values too, for the crate has no way to return them.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use ::dataloader::{BatchFn, cached::Loader};

use super::errors::ApiError;
use crate::{
    domain::{FileId, FileRecord, PartRecord, Principal, Session, SessionId},
    error::Error,
    service::Service,
};

/// Above the largest page, so that a page is one batch; below SQLite's 32,766 variables.
const MAX_BATCH: usize = 1_000;
/// Sessions whose parts are asked for in one statement: each is a term of it, and SQLite nests at most 1,000.
const MAX_PART_BATCH: usize = 200;
/// How often a child's look-up lets others join its batch before it loads. Those who waited for one batch of sessions
/// come out of it one by one, so the last of a page joins late; measured, 50 of them need 64.
const CHILD_YIELDS: usize = 256;

type Loaded<V> = Result<Option<V>, Arc<Error>>;

/// The loaders of one request.
pub(crate) struct Loaders {
    sessions: Loader<SessionId, Loaded<Arc<Session>>, SessionBatch>,
    files: Loader<FileId, Loaded<Arc<FileRecord>>, FileBatch>,
    parts: Loader<PartsKey, Loaded<Arc<Vec<PartRecord>>>, PartBatch>,
}

struct Batch {
    service: Arc<Service>,
    principal: Principal,
}
struct SessionBatch(Arc<Batch>);
struct FileBatch(Arc<Batch>);
struct PartBatch(Arc<Batch>);

/// A page of a session's parts.
#[derive(Clone, Debug)]
struct PartsKey {
    session: Arc<Session>,
    after: u32,
    limit: u64,
}

impl PartsKey {
    fn identity(&self) -> (SessionId, u32, u64) {
        (self.session.id, self.after, self.limit)
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
            sessions: Loader::new(SessionBatch(Arc::clone(&batch))).with_max_batch_size(MAX_BATCH),
            files: Loader::new(FileBatch(Arc::clone(&batch)))
                .with_max_batch_size(MAX_BATCH)
                .with_yield_count(CHILD_YIELDS),
            parts: Loader::new(PartBatch(batch)).with_max_batch_size(MAX_PART_BATCH).with_yield_count(CHILD_YIELDS),
        }
    }

    /// The caller's session with this id.
    pub(super) async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>, ApiError> {
        loaded(self.sessions.try_load(id).await)
    }

    /// The caller's file with this id.
    pub(super) async fn file(&self, id: FileId) -> Result<Option<Arc<FileRecord>>, ApiError> {
        loaded(self.files.try_load(id).await)
    }

    /// The first `limit` received parts of a session with numbers above `after`.
    pub(super) async fn parts(
        &self,
        session: Arc<Session>,
        after: u32,
        limit: u64,
    ) -> Result<Arc<Vec<PartRecord>>, ApiError> {
        let parts = loaded(self.parts.try_load(PartsKey { session, after, limit }).await)?;
        Ok(parts.unwrap_or_default())
    }
}

fn loaded<V>(result: std::io::Result<Loaded<V>>) -> Result<Option<V>, ApiError> {
    Ok(result.map_err(Error::internal)??)
}

/// A value for every key: what was found, nothing, or the error that all of them met.
fn for_all<K: Copy + Eq + Hash, V>(keys: &[K], found: Result<HashMap<K, V>, Error>) -> HashMap<K, Loaded<Arc<V>>> {
    match found {
        Ok(mut found) => keys.iter().map(|key| (*key, Ok(found.remove(key).map(Arc::new)))).collect(),
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

impl BatchFn<FileId, Loaded<Arc<FileRecord>>> for FileBatch {
    async fn load(&mut self, ids: &[FileId]) -> HashMap<FileId, Loaded<Arc<FileRecord>>> {
        for_all(ids, self.0.service.files(&self.0.principal, ids).await)
    }
}

impl BatchFn<PartsKey, Loaded<Arc<Vec<PartRecord>>>> for PartBatch {
    /// One statement for all keys that ask for the same page; in one query that is nearly always all of them.
    async fn load(&mut self, keys: &[PartsKey]) -> HashMap<PartsKey, Loaded<Arc<Vec<PartRecord>>>> {
        let mut pages: HashMap<(u32, u64), Vec<&PartsKey>> = HashMap::new();
        for key in keys {
            pages.entry((key.after, key.limit)).or_default().push(key);
        }
        let mut loaded = HashMap::with_capacity(keys.len());
        for ((after, limit), keys) in pages {
            let sessions: Vec<&Session> = keys.iter().map(|key| &*key.session).collect();
            let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
            let mut found = for_all(&ids, self.0.service.parts_of_many(&sessions, after, limit).await);
            loaded.extend(keys.into_iter().map(|key| (key.clone(), found.remove(&key.session.id).unwrap_or(Ok(None)))));
        }
        loaded
    }
}
