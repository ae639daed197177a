//! Opening the database and the storage that the settings name.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};

use crate::{
    config::{Config, DatabaseTarget, StorageTarget, SyncParts},
    db::Db,
    domain::Clock,
    service::Service,
    storage::{LocalDisk, ObjectStorage, Storage},
    telemetry::Metrics,
};

/// Keeps other servers away from a database file and a folder until it is dropped: which of two requests for a part may
/// write there is decided in memory. PostgreSQL and object stores need none.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// Another server has it.
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        if let DatabaseTarget::Sqlite(file) = config.database()? {
            create_dir(file.parent().unwrap_or(Path::new("")))?;
            files.push(lock(&file.with_added_extension("lock"))?);
        }
        if let StorageTarget::Folder(folder) = config.storage()? {
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

/// The use cases over the configured database and storage, with the schema brought up to date.
pub async fn open_service(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
    let db = migrate(config).await?;
    let storage: Arc<dyn Storage> = match config.storage()? {
        StorageTarget::Folder(folder) => {
            create_dir(&folder)?;
            Arc::new(LocalDisk::open(&folder, config.sync == SyncParts::Always)?)
        }
        StorageTarget::Objects(url) => Arc::new(ObjectStorage::open(&url, config.storage_memory.0)?),
    };
    Ok(Service::new(db, storage, clock, config.limits(), Arc::new(Metrics::default())))
}

/// The same, for those who look at bytes: only if database and storage belong together.
pub async fn open_bound_service(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Service> {
    let service = open_service(config, clock).await?;
    service.bind_storage().await.map_err(|error| anyhow::anyhow!("{}", error.with_causes()))?;
    Ok(service)
}

/// The configured database, with the schema brought up to date.
pub async fn migrate(config: &Config) -> anyhow::Result<Db> {
    let (db, name) = match config.database()? {
        DatabaseTarget::Sqlite(file) => {
            create_dir(file.parent().unwrap_or(Path::new("")))?;
            let name = format!("database {}", file.display());
            (Db::open_sqlite(&file).await.with_context(|| name.clone())?, name)
        }
        // The URL may have a password in it.
        DatabaseTarget::Postgres(url) => {
            let db = Db::open_postgres(&url, config.database_connections).await.context("PostgreSQL")?;
            (db, "PostgreSQL".to_owned())
        }
    };
    db.migrate().await.context(name)?;
    Ok(db)
}

fn create_dir(dir: &Path) -> anyhow::Result<()> {
    // Only the server's own user may read what people upload.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    // A name is durable only when the folder that it is in is synced.
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    made.and_then(|()| File::open(parent)?.sync_all()).with_context(|| format!("create folder {}", dir.display()))
}
