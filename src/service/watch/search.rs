//! The search for the changed sessions of an owner.
//!
//! Owns the search, which all streams of the owner share, so its cost does not grow with their number. Owns how much of the
//! database such streams may use: few searches run at the same time, and the streams of one owner read states one after another.
//! Code that holds a lock runs in its own task, because the server does not poll a stream while its client does not read. Does not
//! own what a stream does with the result: that is `all`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep, sleep_until},
};

use super::followed::{INTERVAL, OwnerSubscription};
use crate::{
    db,
    domain::{OwnerName, SessionId, Upload},
    error::{Error, Result},
    service::Service,
};

/// Searches that run at the same time, of all owners.
const AT_ONCE: usize = 2;
/// A search keeps its permit after its end, for this multiple of its time: on SQLite, every commit makes all followed owners search.
const HOLD_FACTOR: u32 = 3;
/// After a search, the next one of the same owner waits for this multiple of its time, so that the searches of an owner with many
/// open sessions take at most a tenth of the time.
const PAUSE_FACTOR: u32 = 10;
/// Events that one statement reads.
pub(super) const EVENTS_AT_ONCE: u64 = 200;

static SEARCHES: Semaphore = Semaphore::const_new(AT_ONCE);

/// States by their ids; an invalid row is an error.
type Uploads = HashMap<SessionId, db::Result<Upload>>;

/// What the streams of an owner share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The number of reports that a session of the owner may have changed.
    reported: AtomicU64,
    last: Mutex<Option<Last>>,
    /// Held while a stream reads states.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Last {
    found: Arc<Found>,
    next_at: Instant,
}

/// The result of a search.
#[derive(Debug)]
pub(super) struct Found {
    /// The number of changes that were reported when the search began. The search has found all of them.
    reported: u64,
    /// The versions of the open sessions, oldest first.
    pub(super) open: Vec<(SessionId, u64)>,
    /// The sessions that have ended, or whose file was deleted, with the positions in the feed: those after `after`.
    pub(super) ends: Vec<(SessionId, u64)>,
    /// The position of the search before.
    pub(super) after: u64,
    /// The position of this search: it has found the ends up to here.
    pub(super) position: u64,
}

impl OwnerSubscription {
    /// Waits for a change, and returns what a search has found that began after it.
    pub(super) async fn search(&mut self, service: &Arc<Service>, owner: &OwnerName) -> Result<Arc<Found>> {
        self.changed().await;
        let (shared, service, owner) = (Arc::clone(&self.shared), Arc::clone(service), owner.clone());
        let change = shared.reported();
        let searching = tokio::spawn(async move { shared.found_since(change, &service, &owner).await });
        searching.await.map_err(Error::internal)?
    }

    /// Reads the states of these sessions, when it is this stream's turn.
    pub(super) async fn read(&self, service: &Arc<Service>, owner: &OwnerName, ids: Vec<SessionId>) -> Result<Uploads> {
        let (shared, service, owner) = (Arc::clone(&self.shared), Arc::clone(service), owner.clone());
        let reading = tokio::spawn(async move {
            let _turn = shared.turn.lock().await;
            service.db.uploads(&owner, &ids).await
        });
        Ok(reading.await.map_err(Error::internal)??)
    }
}

impl Shared {
    pub(super) fn count_change(&self) {
        self.reported.fetch_add(1, Ordering::SeqCst);
    }

    fn reported(&self) -> u64 {
        self.reported.load(Ordering::SeqCst)
    }

    async fn found_since(&self, change: u64, service: &Service, owner: &OwnerName) -> Result<Arc<Found>> {
        let mut last = self.last.lock().await;
        if let Some(Last { found, next_at }) = &*last {
            if found.reported >= change {
                return Ok(Arc::clone(found));
            }
            sleep_until(*next_at).await;
        }
        let permit = SEARCHES.acquire().await.map_err(Error::internal)?;
        let (began, reported) = (Instant::now(), self.reported());
        let before = last.as_ref().map(|last| last.found.position);
        let found = Arc::new(service.search(owner, reported, before).await?);
        let took = began.elapsed();
        tokio::spawn(async move {
            sleep(took * HOLD_FACTOR).await;
            drop(permit);
        });
        let next_at = Instant::now() + INTERVAL.max(took * PAUSE_FACTOR);
        *last = Some(Last { found: Arc::clone(&found), next_at });
        Ok(found)
    }
}

impl Service {
    async fn search(&self, owner: &OwnerName, reported: u64, before: Option<u64>) -> Result<Found> {
        // Before the feed: a session that ends between the two reads is then in at least one of them.
        let open = self.db.open_versions(owner).await?;
        self.db.number_events(self.clock.now()).await?;
        let Some(after) = before else {
            let head = self.db.events_head().await?;
            return Ok(Found { reported, open, ends: Vec::new(), after: head, position: head });
        };
        let (mut ends, mut position) = (Vec::new(), after);
        loop {
            let page = self.db.events(owner, position, EVENTS_AT_ONCE).await?;
            ends.extend(page.events.iter().filter_map(|event| Some((event.session_id?, event.position?))));
            position = page.next;
            if !page.has_more {
                return Ok(Found { reported, open, ends, after, position });
            }
        }
    }
}
