//! Opening the database and the storage.
//!
//! Owns the lock files, the creation of folders, and the order in which the two stores are opened.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};

use crate::{
    config::{Config, DatabaseTarget, StorageTarget},
    db::Db,
    domain::Clock,
    metrics::Metrics,
    service::{Room, Service},
    storage::{LocalDisk, ObjectStorage, Storage},
};

/// An exclusive lock on a SQLite database and a storage folder, until it is dropped. Two processes must not use them,
/// because claims on parts are in memory. PostgreSQL and object stores need no lock: there nodes use leases.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another process has it.
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        if let DatabaseTarget::Sqlite(file) = config.stores.database()? {
            create_dir(folder_of(&file))?;
            files.push(lock(&file.with_added_extension("lock"))?);
        }
        if let StorageTarget::Folder(folder) = config.stores.storage()? {
            create_dir(&folder)?;
            files.push(lock(&folder.join("partway.lock"))?);
        }
        Ok(Self { _files: files })
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = opened.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{} is in use by another partway process", path.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The use cases over the configured database and storage. Migrates the schema.
async fn open_service(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
    let db = Box::pin(migrate(config)).await?;
    closed_if_failed(service(db.clone(), config, clock), &db).await
}

/// The use cases over an existing database. Does not create one, because the operator may have mistyped its place.
///
/// # Errors
/// The database does not exist or has no tables of Partway.
pub async fn open_existing_service(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
    let missing = |name: &str| {
        anyhow::anyhow!(
            "there is no {name}: `partway serve` and `partway migrate` create it. If it is elsewhere, use --data or \
             --database"
        )
    };
    if let DatabaseTarget::Sqlite(file) = config.stores.database()?
        && !file.exists()
    {
        return Err(missing(&format!("database {}", std::path::absolute(file)?.display())));
    }
    let (db, name) = Box::pin(open_database(config)).await?;
    let open = async {
        if db.is_new().await.with_context(|| name.clone())? {
            return Err(missing(&format!("table of Partway in {name}")));
        }
        Box::pin(db.migrate()).await.context(name)?;
        service(db.clone(), config, clock)
    };
    closed_if_failed(open.await, &db).await
}

/// Closes the database after an error. A SQLite database that is not closed keeps a part of its content in the
/// write-ahead log.
async fn closed_if_failed<T>(opened: anyhow::Result<T>, db: &Db) -> anyhow::Result<T> {
    if opened.is_err() {
        db.close().await;
    }
    opened
}

/// The use cases over the configured database and storage, which must belong together. For commands that access bytes.
pub async fn open_bound_service(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
    bind(open_service(config, clock).await?).await
}

async fn bind(service: Service) -> anyhow::Result<Service> {
    let bound = service.bind_storage().await;
    if bound.is_err() {
        service.close().await;
    }
    bound.map_err(|error| anyhow::anyhow!("{}", error.with_causes()))?;
    Ok(service)
}

/// The use cases over the configured database and this storage, which must belong together. Does not check the free
/// space of the storage.
///
/// # Errors
/// The database cannot be opened, or they do not belong together.
pub async fn open_service_over(
    storage: Arc<dyn Storage>,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Service> {
    let service = service_over(Box::pin(migrate(config)).await?, storage, Room::default(), config, clock);
    bind(service).await
}

/// The configured database. Migrates the schema.
pub async fn migrate(config: &Config) -> anyhow::Result<Db> {
    let (db, name) = Box::pin(open_database(config)).await?;
    let migrated = Box::pin(db.migrate()).await.context(name);
    closed_if_failed(migrated, &db).await?;
    Ok(db)
}

/// The configured database, and its name for error messages.
async fn open_database(config: &Config) -> anyhow::Result<(Db, String)> {
    Ok(match config.stores.database()? {
        DatabaseTarget::Sqlite(file) => {
            create_dir(folder_of(&file))?;
            let name = format!("database {}", file.display());
            (Db::open_sqlite(&file).await.with_context(|| name.clone())?, name)
        }
        // The name is not the URL, which may contain a password.
        DatabaseTarget::Postgres(url) => {
            let db = Db::open_postgres(&url, config.stores.database_connections).await.context("PostgreSQL")?;
            (db, "PostgreSQL".to_owned())
        }
    })
}

fn service(db: Db, config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
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
    Ok(service_over(db, storage, room, config, clock))
}

fn service_over(db: Db, storage: Arc<dyn Storage>, room: Room, config: &Config, clock: Arc<dyn Clock>) -> Service {
    let metrics = Arc::new(Metrics::new(db.statements().clone()));
    Service::new(db, storage, clock, config.limits, room, metrics)
}

/// The folder that a file is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn create_dir(dir: &Path) -> anyhow::Result<()> {
    // Only the server's user may read uploaded files.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| sync_parent(dir)).with_context(|| format!("create folder {}", dir.display()))
}

/// Makes the name of a new folder durable: that needs a sync of its parent folder.
fn sync_parent(dir: &Path) -> io::Result<()> {
    match File::open(folder_of(dir)) {
        // A sync needs permission to read the parent folder, which the server may not have. Then the folder existed
        // before, or the operating system writes its name later.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}
