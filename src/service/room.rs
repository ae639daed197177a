//! The check for free disk space.
//!
//! Owns the floor `min_free_space`, below which the server accepts no new bytes. The floor protects the database, which
//! needs space for each commit, and other programs on the same file systems. Below it, clients can still read, finalize
//! and abort. Does not watch object stores and PostgreSQL servers.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Service;
use crate::{
    error::{Error, Result},
    metrics::Place,
};

/// The file systems that must keep free space.
#[derive(Debug, Default)]
pub struct Room {
    /// The folder of the bytes; `None` with an object store.
    pub storage: Option<PathBuf>,
    /// The folder of the SQLite database; `None` with PostgreSQL.
    pub database: Option<PathBuf>,
    /// Bytes that must stay free on each.
    pub min_free_bytes: u64,
    /// Bytes of parts that are arriving and not yet allocated.
    pub under_way_bytes: Arc<AtomicU64>,
}

/// Space that is reserved for an arriving part, until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    under_way_bytes: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.under_way_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Room {
    /// The free bytes of the file systems to watch. Those that cannot be asked are left out.
    fn free_bytes(&self) -> Vec<(Place, u64)> {
        let watched = [(Place::Storage, &self.storage), (Place::Database, &self.database)];
        let free = |folder: &Path| free_bytes_of(folder).inspect_err(|error| tracing::warn!(%error, "free space"));
        watched.into_iter().filter_map(|(place, folder)| Some((place, free(folder.as_deref()?).ok()?))).collect()
    }

    /// Checks that `min_free_bytes` stays free if the server stores `bytes` more.
    fn check(&self, bytes: u64) -> Result<()> {
        let wanted =
            [(&self.storage, bytes.saturating_add(self.under_way_bytes.load(Ordering::Relaxed))), (&self.database, 0)];
        for (folder, bytes) in wanted {
            let Some(folder) = folder else { continue };
            let free_bytes = free_bytes_of(folder)
                .map_err(|error| Error::unavailable("the storage cannot accept the request now", error))?;
            if free_bytes < self.min_free_bytes.saturating_add(bytes) {
                return Err(Error::storage_full(bytes, free_bytes, self.min_free_bytes));
            }
        }
        Ok(())
    }
}

fn free_bytes_of(folder: &Path) -> rustix::io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

impl Service {
    /// The free bytes of the file systems to watch.
    pub(super) async fn free_bytes(&self) -> Vec<(Place, u64)> {
        let room = Arc::clone(&self.room);
        tokio::task::spawn_blocking(move || room.free_bytes()).await.unwrap_or_default()
    }

    /// Checks that `min_free_space` stays free if the server stores `bytes` more.
    ///
    /// # Errors
    /// `UNAVAILABLE`: free space would fall below the floor.
    pub(super) async fn check_room(&self, bytes: u64) -> Result<()> {
        let room = Arc::clone(&self.room);
        // A network file system can take seconds to answer.
        let checked = tokio::task::spawn_blocking(move || room.check(bytes)).await;
        checked.unwrap_or_else(|failed| Err(Error::internal(failed)))
    }

    /// Reserves space for a part.
    ///
    /// # Errors
    /// `UNAVAILABLE`: free space would fall below the floor.
    pub(super) async fn reserve_room(&self, bytes: u64) -> Result<Reservation> {
        let under_way_bytes = Arc::clone(&self.room.under_way_bytes);
        under_way_bytes.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { under_way_bytes, bytes };
        // `under_way_bytes` includes this part already, so this checks for 0 more.
        self.check_room(0).await?;
        Ok(reservation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(min_free_bytes: u64) -> Room {
        let folder = Some(std::env::temp_dir());
        Room { storage: folder.clone(), database: folder, min_free_bytes, under_way_bytes: Arc::default() }
    }

    #[test]
    fn the_floor_counts_the_new_part_and_the_parts_that_are_arriving() {
        let enough = room(0);
        assert!(enough.check(1).is_ok());
        assert!(enough.check(u64::MAX).is_err());
        enough.under_way_bytes.store(u64::MAX / 2, Ordering::Relaxed);
        assert!(enough.check(1).is_err());
        assert!(room(u64::MAX).check(0).is_err());
        assert!(Room { min_free_bytes: u64::MAX, ..Room::default() }.check(u64::MAX).is_ok(), "no folder to fill");
    }
}
