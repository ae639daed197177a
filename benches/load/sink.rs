//! The floor for receiving parts: a bare axum server that hashes a part once, writes it in place and syncs it. A second
//! variant also commits one row durably for each part.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract,
    http::StatusCode,
    routing::{get, put},
};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

struct Sink {
    folder: PathBuf,
    files: Mutex<HashMap<String, Arc<File>>>,
    database: Option<SqlitePool>,
}

/// `floor sink FOLDER` and `floor commits FOLDER`.
pub(crate) async fn serve(folder: &str, commits: bool) -> anyhow::Result<()> {
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    let database = if commits {
        let target = SqliteConnectOptions::new().filename(folder.join("parts.db")).create_if_missing(true);
        let target = target.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let options = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
        let pool = options.connect_with(target).await?;
        sqlx::query("CREATE TABLE part (file TEXT, at INTEGER, sha256 BLOB, PRIMARY KEY (file, at))")
            .execute(&pool)
            .await?;
        Some(pool)
    } else {
        None
    };
    let sink = Arc::new(Sink { folder, files: Mutex::default(), database });
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/{file}/{offset}", put(receive).delete(remove))
        .with_state(sink);
    super::floor::listen(router.layer(extract::DefaultBodyLimit::disable())).await
}

async fn receive(
    extract::State(sink): extract::State<Arc<Sink>>,
    extract::Path((name, offset)): extract::Path<(String, u64)>,
    body: Body,
) -> StatusCode {
    let (file, mut hasher, mut at) = (sink.file(&name), Sha256::new(), offset);
    let mut body = body.into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.expect("the whole part");
        hasher.update(&bytes);
        file.write_all_at(&bytes, at).expect("room");
        at += bytes.len() as u64;
    }
    let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
    synced.expect("no panic").expect("a disk that works");
    if let Some(database) = &sink.database {
        let row =
            sqlx::query("INSERT INTO part VALUES (?, ?, ?)").bind(name).bind(i64::try_from(offset).expect("a size"));
        row.bind(hasher.finalize().to_vec()).execute(database).await.expect("a new row");
    }
    StatusCode::CREATED
}

async fn remove(
    extract::State(sink): extract::State<Arc<Sink>>,
    extract::Path((name, _)): extract::Path<(String, u64)>,
) -> StatusCode {
    sink.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    std::fs::remove_file(sink.folder.join(name)).expect("the file");
    StatusCode::NO_CONTENT
}

impl Sink {
    fn file(&self, name: &str) -> Arc<File> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(File::create_new(self.folder.join(name)).expect("a new file"));
        Arc::clone(files.entry(name.to_owned()).or_insert_with(new))
    }
}
