//! Opening two databases and two storages for `partway move`.
//!
//! Owns that nothing else uses them meanwhile: lock files for SQLite and folders, a lock in PostgreSQL. The source is opened without
//! a change. Does not own the move: that is `service/moving`.

use std::{fmt, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail, ensure};

use super::{
    Lock,
    stores::{closed_if_failed, expect_finished_move, missing, open_storage},
};
use crate::{
    config::{Config, DatabaseTarget, StorageTarget},
    db::{Db, ExclusiveUse},
    domain::Clock,
    metrics::Metrics,
    service::{MoveOptions, MoveOutcome, MovePlan, MoveReport, MoveSource, Room, Service},
    storage::{LocalDisk, ObjectStorage, PartLimits, Storage},
    webhooks::Sender,
};

/// A source and a target that nothing else uses.
#[derive(Debug)]
pub struct Moving {
    source: MoveSource,
    target: Arc<Service>,
    /// Of PostgreSQL databases.
    databases: Vec<ExclusiveUse>,
    _files: [Lock; 2],
}

/// Storages to use instead of the configured ones. The target's free space is then not checked.
#[derive(Default)]
pub struct MoveStorages {
    /// That of the source.
    pub source: Option<Arc<dyn Storage>>,
    /// That of the target.
    pub target: Option<Arc<dyn Storage>>,
}

impl fmt::Debug for MoveStorages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveStorages").finish_non_exhaustive()
    }
}

/// An open database, and its lock if it is in PostgreSQL.
type Locked = (Db, Option<ExclusiveUse>);

impl Moving {
    /// Opens the source and the target. Creates the target if it does not exist.
    ///
    /// # Errors
    /// One of them is in use, the source does not exist or has the schema of another version, or they are the same.
    pub async fn open(
        source: &Config,
        target: &Config,
        clock: Arc<dyn Clock>,
        storages: MoveStorages,
    ) -> anyhow::Result<Self> {
        ensure!(
            source.stores.database()? != target.stores.database()?,
            "the database of the target is that of the source"
        );
        ensure!(
            source.stores.storage()? != target.stores.storage()?,
            "the storage of the target is that of the source"
        );
        let (from, source_lock) = lock_source(source, storages.source)?;
        let (db, source_use) = Box::pin(open_source_database(source)).await.context("source")?;
        let opened = async {
            let to = Lock::take(target).context("target")?;
            let (service, target_use) =
                Box::pin(open_target(target, clock, storages.target)).await.context("target")?;
            anyhow::Ok((to, service, target_use))
        };
        let (to, service, target_use) = closed_if_failed(opened.await, &db).await?;
        let databases = [source_use, target_use].into_iter().flatten().collect();
        let source = MoveSource { db, storage: from };
        Ok(Self { source, target: Arc::new(service), databases, _files: [source_lock, to] })
    }

    /// Moves everything, and marks the target as ready if nothing speaks against it.
    ///
    /// # Errors
    /// The source or the target failed, or is not one that a move can use.
    pub async fn run(&mut self, options: &MoveOptions) -> anyhow::Result<MoveReport> {
        let failed = |error: crate::error::Error| anyhow!("{}", error.with_causes());
        let report = self.target.move_from(&self.source, options).await.map_err(failed)?;
        if report.outcome == MoveOutcome::Ready {
            for database in &mut self.databases {
                let lost = "the connection that kept servers away from PostgreSQL was lost; run the same command again";
                database.check().await.context(lost)?;
            }
            self.target.finish_move().await.map_err(failed)?;
        }
        Ok(report)
    }

    /// Closes both databases. From then on, servers can use them.
    pub async fn close(self) {
        self.target.close().await;
        self.source.db.close().await;
        for database in self.databases {
            database.release().await;
        }
    }
}

/// What a move would copy, and what it could not. Opens only the source, and changes nothing.
///
/// # Errors
/// The source is in use, does not exist, or has the schema of another version.
pub async fn plan_move(source: &Config, target: &Config, ends_uploads: bool) -> anyhow::Result<MovePlan> {
    let limits = match target.stores.storage()? {
        StorageTarget::Folder(_) => PartLimits::NONE,
        StorageTarget::Objects(_) => PartLimits::OF_STORES,
    };
    let (storage, _lock) = lock_source(source, None)?;
    let (db, alone) = Box::pin(open_source_database(source)).await.context("source")?;
    let source = MoveSource { db, storage };
    let plan = source.plan(limits, ends_uploads).await;
    source.db.close().await;
    if let Some(alone) = alone {
        alone.release().await;
    }
    plan.map_err(|error| anyhow!("{}", error.with_causes()))
}

/// Takes the lock files of the source, and opens its storage.
fn lock_source(config: &Config, storage: Option<Arc<dyn Storage>>) -> anyhow::Result<(Arc<dyn Storage>, Lock)> {
    // A mistyped path must not create a folder with a lock file.
    if let DatabaseTarget::Sqlite(file) = config.stores.database()? {
        expect_exists("database", &file)?;
    }
    let storage: Arc<dyn Storage> = match (storage, config.stores.storage()?) {
        (Some(storage), _) => storage,
        (None, StorageTarget::Folder(folder)) => {
            expect_exists("folder", &folder)?;
            Arc::new(LocalDisk::open_to_read(&folder)?)
        }
        (None, StorageTarget::Objects(url)) => Arc::new(ObjectStorage::open(&url, config.stores.storage_memory.0)?),
    };
    Ok((storage, Lock::take(config).context("source")?))
}

fn expect_exists(what: &str, path: &Path) -> anyhow::Result<()> {
    ensure!(path.exists(), "source: there is no {what} {}; use --data, --database or --storage", path.display());
    Ok(())
}

async fn open_source_database(config: &Config) -> anyhow::Result<Locked> {
    let (db, alone) = match config.stores.database()? {
        DatabaseTarget::Sqlite(file) => (Db::open_sqlite_to_read(&file).await.with_context(|| name_of(&file))?, None),
        DatabaseTarget::Postgres(url) => {
            let connections = config.stores.database_connections;
            let (db, alone) = Db::open_postgres_to_read(&url, connections).await.context("PostgreSQL")?;
            (db, Some(alone))
        }
    };
    let checked = async {
        if db.is_new().await? {
            return Err(missing("table of Partway in the database"));
        }
        if !db.is_current().await? {
            bail!("an earlier version of partway made the schema of its database: run `partway migrate` on it first");
        }
        expect_finished_move(&db).await
    };
    closed_if_failed(checked.await, &db).await?;
    Ok((db, alone))
}

async fn open_target(
    config: &Config,
    clock: Arc<dyn Clock>,
    storage: Option<Arc<dyn Storage>>,
) -> anyhow::Result<(Service, Option<ExclusiveUse>)> {
    let (db, alone) = match config.stores.database()? {
        DatabaseTarget::Sqlite(file) => (Db::open_sqlite(&file).await.with_context(|| name_of(&file))?, None),
        DatabaseTarget::Postgres(url) => {
            let connections = config.stores.database_connections;
            let (db, alone) = Db::open_postgres_alone(&url, connections).await.context("PostgreSQL")?;
            (db, Some(alone))
        }
    };
    let opened = async {
        // A database of an earlier version that is in use is not even migrated. An interrupted migration has left no sessions.
        ensure!(
            db.is_current().await? || !db.has_sessions().await.unwrap_or(false),
            "the database of the target is not empty; name a new one"
        );
        Box::pin(db.migrate()).await?;
        storage.map_or_else(|| open_storage(config), |storage| Ok((storage, Room::default())))
    };
    let (storage, room) = closed_if_failed(opened.await, &db).await?;
    let metrics = Arc::new(Metrics::new(db.metrics().clone()));
    Ok((Service::new(db, storage, clock, config.limits, room, metrics, Sender::new(config.webhooks)), alone))
}

fn name_of(file: &Path) -> String {
    format!("database {}", file.display())
}
