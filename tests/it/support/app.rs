//! A whole server in this process: temporary database and folder, a clock that the test moves, no socket.

use std::{path::Path, sync::Arc};

use axum::{Router, http::Request};
use chrono::TimeDelta;
use partway::{
    app::App,
    config::Config,
    domain::{Clock, ManualClock, SystemClock},
    service::Service,
};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::{database_url, storage_url};

pub(crate) struct TestApp {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    folder: Arc<TempDir>,
}

/// An owner with a token.
#[derive(Clone)]
pub(crate) struct TestUser {
    pub(crate) router: Router,
    pub(crate) token: String,
}

impl TestApp {
    /// Parts of 10 bytes, at most 1,000 of them, files up to 100 kB.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_folder(|config, folder| {
            config.stores.storage = storage_url(folder).unwrap_or_default();
            change(config);
        })
        .await
    }

    /// With its bytes in a folder, wherever other tests have theirs: for what is true of folders alone, and for files of
    /// several parts of 10 bytes, which no object store completes.
    pub(crate) async fn on_disk() -> Self {
        Self::on_disk_with(|_| ()).await
    }

    pub(crate) async fn on_disk_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_folder(|config, _| change(config)).await
    }

    async fn in_folder(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config::from_defaults(&serde_json::json!({ "data": folder.path(), "max_parts": 1_000 })).unwrap();
        // No object store but one for tests takes such parts; what is refused at a start is tested with the settings.
        config.limits.chunk_size = bytesize::ByteSize::b(10);
        config.limits.max_file_size = bytesize::ByteSize::kb(100);
        config.stores.database = database_url(folder.path()).unwrap_or_default();
        config.stores.database_connections = 6;
        // However little is free where the tests run.
        config.stores.min_free_space = bytesize::ByteSize::b(0);
        change(&mut config, folder.path());
        Self::open(config, Arc::new(folder)).await
    }

    async fn open(config: Config, folder: Arc<TempDir>) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = App::open(&config, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        Self { router: app.router, service: app.service, clock, config, folder }
    }

    /// Another process on the same data, as after a restart.
    pub(crate) async fn restarted(self) -> Self {
        Self::open(self.config.clone(), Arc::clone(&self.folder)).await
    }

    /// Another process on the same data, at the same time.
    pub(crate) async fn beside(&self) -> Self {
        Self::open(self.config.clone(), Arc::clone(&self.folder)).await
    }

    /// Another process on the same data that reaches its database by another way.
    pub(crate) async fn with_database(&self, url: String) -> Self {
        let mut config = self.config.clone();
        config.stores.database = url;
        Self::open(config, Arc::clone(&self.folder)).await
    }

    pub(crate) async fn user(&self, owner: &str) -> TestUser {
        let created = self.service.create_token(owner, "test", None).await.unwrap();
        TestUser { router: self.router.clone(), token: created.token.reveal().to_owned() }
    }

    /// Runs a statement in the database, past the server.
    pub(crate) async fn execute(&self, statement: &'static str) {
        match self.config.stores.database.as_str() {
            "" => {
                let file = format!("sqlite://{}/partway.db", self.folder().display());
                sqlx::SqliteConnection::connect(&file).await.unwrap().execute(statement).await.unwrap();
            }
            url => drop(sqlx::PgConnection::connect(url).await.unwrap().execute(statement).await.unwrap()),
        }
    }

    pub(crate) fn anonymous(&self) -> TestUser {
        TestUser { router: self.router.clone(), token: String::new() }
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.clock.advance(by);
    }

    /// The files below the data folder's `files`, without the lock, of one that is [`on_disk`](Self::on_disk).
    pub(crate) fn bytes_on_disk(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["uploading", "stored"] {
            for entry in self.storage().join(folder).read_dir().unwrap() {
                found.push(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
            }
        }
        found
    }

    pub(crate) fn storage(&self) -> std::path::PathBuf {
        self.folder().join("files")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many database statements a request takes. Who asks is known from earlier requests.
    pub(crate) async fn statements<T>(&self, request: impl Future<Output = T>) -> (u64, T) {
        let statements = || self.service.metrics().db_statements.get();
        let before = statements();
        let answer = request.await;
        (statements() - before, answer)
    }
}

impl TestUser {
    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match self.token.as_str() {
            "" => request,
            token => request.header("authorization", format!("Bearer {token}")),
        }
    }
}
