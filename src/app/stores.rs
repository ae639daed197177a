//! Opening the database and the storage.
//!
//! Owns the order in which the two are opened, and the close of the database after a failure. Does not own the lock on
//! them: that is `lock`. Does not own the creation of folders: that is `folders`.

use std::{fmt, sync::Arc};

use anyhow::{Context, anyhow};

use super::folders::{create_dir, folder_of};
use crate::{
    config::{Config, DatabaseTarget, StorageTarget},
    db::{Db, MoveState},
    domain::Clock,
    metrics::Metrics,
    service::{Room, Service},
    storage::{LocalDisk, ObjectStorage, Storage},
    webhooks::Sender,
};

/// How [`open_service`] opens the database and the storage.
#[derive(Default)]
pub struct Opening {
    /// Whether a missing database is an error. If false, the server creates it. Commands set this, because the operator
    /// may have mistyped its path.
    pub must_exist: bool,
    /// Whether to check that the database and the storage belong together. It must be true if the service accesses bytes.
    pub bind: bool,
    /// A storage to use instead of the configured one. The service does not check its free space.
    pub storage: Option<Arc<dyn Storage>>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("must_exist", &self.must_exist)
            .field("bind", &self.bind)
            .finish_non_exhaustive()
    }
}

/// Opens the database and the storage, and migrates the schema. Returns the use cases over them.
///
/// # Errors
/// A store cannot be opened, a database that must exist does not, or the two stores do not belong together.
pub async fn open_service(config: &Config, clock: Arc<dyn Clock>, opening: Opening) -> anyhow::Result<Service> {
    let Opening { must_exist, bind, storage } = opening;
    let db = Box::pin(open_database(config, must_exist)).await?;
    let stores = match storage {
        Some(storage) => Ok((storage, Room::default())),
        None => open_storage(config),
    };
    let (storage, room) = closed_if_failed(stores, &db).await?;
    let metrics = Arc::new(Metrics::new(db.metrics().clone()));
    let service = Service::new(db, storage, clock, config.limits, room, metrics, Sender::new(config.webhooks));
    if bind && let Err(error) = service.bind_storage().await {
        service.close().await;
        return Err(anyhow!("{}", error.with_causes()));
    }
    Ok(service)
}

/// Opens the configured database and migrates the schema. Creates the database if it does not exist.
pub async fn migrate(config: &Config) -> anyhow::Result<Db> {
    open_database(config, false).await
}

async fn open_database(config: &Config, must_exist: bool) -> anyhow::Result<Db> {
    let target = config.stores.database()?;
    if must_exist
        && let DatabaseTarget::Sqlite(file) = &target
        && !file.exists()
    {
        return Err(missing(&format!("database {}", std::path::absolute(file)?.display())));
    }
    let (db, name) = Box::pin(connect(&target, config.stores.database_connections)).await?;
    let migrated = async {
        if must_exist && db.is_new().await.with_context(|| name.clone())? {
            return Err(missing(&format!("table of Partway in {name}")));
        }
        Box::pin(db.migrate()).await.context(name)?;
        expect_finished_move(&db).await
    };
    closed_if_failed(migrated.await, &db).await?;
    Ok(db)
}

pub(super) fn missing(name: &str) -> anyhow::Error {
    anyhow!(
        "there is no {name}: `partway serve` and `partway migrate` create it. If it is elsewhere, use --data or \
         --database"
    )
}

/// Refuses a database that a move has not filled yet.
pub(super) async fn expect_finished_move(db: &Db) -> anyhow::Result<()> {
    match db.move_state().await? {
        Some(MoveState { finished_at: None, .. }) => Err(anyhow!(
            "`partway move` has not finished with this database: run the same `partway move` again, or use another database"
        )),
        _ => Ok(()),
    }
}

/// Connects to the database. Returns it and its name for error messages.
async fn connect(target: &DatabaseTarget, connections: u32) -> anyhow::Result<(Db, String)> {
    Ok(match target {
        DatabaseTarget::Sqlite(file) => {
            create_dir(folder_of(file))?;
            let name = format!("database {}", file.display());
            (Db::open_sqlite(file).await.with_context(|| name.clone())?, name)
        }
        // The name is not the URL, which may contain a password.
        DatabaseTarget::Postgres(url) => {
            (Db::open_postgres(url, connections).await.context("PostgreSQL")?, "PostgreSQL".to_owned())
        }
    })
}

/// Closes the database after a failure. Otherwise the last changes stay in its write-ahead log.
pub(super) async fn closed_if_failed<T>(opened: anyhow::Result<T>, db: &Db) -> anyhow::Result<T> {
    if opened.is_err() {
        db.close().await;
    }
    opened
}

/// Opens the configured storage. Also returns the file systems that must keep free space.
pub(super) fn open_storage(config: &Config) -> anyhow::Result<(Arc<dyn Storage>, Room)> {
    let mut room = Room { min_free_bytes: config.stores.min_free_space.0, ..Room::default() };
    if let DatabaseTarget::Sqlite(file) = config.stores.database()? {
        room.database = Some(folder_of(&file).to_owned());
    }
    let storage: Arc<dyn Storage> = match config.stores.storage()? {
        StorageTarget::Folder(folder) => {
            create_dir(&folder)?;
            let disk = LocalDisk::open(&folder, config.stores.sync)?;
            room.storage = Some(folder);
            Arc::new(disk)
        }
        StorageTarget::Objects(url) => Arc::new(ObjectStorage::open(&url, config.stores.storage_memory.0)?),
    };
    Ok((storage, room))
}
