//! A whole server in the process of the test: a temporary database and folder, a clock that the test moves, and no
//! socket.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, http::Request};
use chrono::TimeDelta;
use partway::{
    app::{App, Opening, Shutdown, open_service},
    config::Config,
    domain::{Clock, ManualClock, SystemClock},
    service::{CheckOptions, Finding, Service},
    storage::Storage,
};
use sqlx::{Connection, Executor};
use tempfile::TempDir;

use super::{Faults, Place, database_url, storage_url};

pub(crate) struct TestApp {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) shutdown: Shutdown,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: Config,
    pub(super) data: Arc<Data>,
}

/// The rows and bytes on which one or several apps work. When the last app is dropped, rows and bytes must agree.
pub(super) struct Data {
    pub(super) folder: TempDir,
    /// The settings of the first app.
    pub(super) config: Config,
    /// The storage of the bytes, if it is not the storage of the settings.
    pub(super) place: Option<Place>,
    pub(super) is_damaged: AtomicBool,
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

    /// Always with its bytes in a folder. For tests of folders, and for files with several parts of 10 bytes, which an
    /// object store refuses to complete.
    pub(crate) async fn on_disk() -> Self {
        Self::on_disk_with(|_| ()).await
    }

    pub(crate) async fn on_disk_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::in_folder(|config, _| change(config)).await
    }

    /// An app with its bytes in a new storage of this kind, into which the test can inject faults.
    pub(crate) async fn with_faults(place: &Place) -> (Self, Faults) {
        Self::with_faults_and(place, |_| ()).await
    }

    pub(crate) async fn with_faults_and(place: &Place, change: impl FnOnce(&mut Config)) -> (Self, Faults) {
        let faults = Faults::default();
        let data = Data::new(Some(place.empty_copy()), |config, _| change(config));
        (Self::open(Arc::new(data), None, &faults).await, faults)
    }

    async fn in_folder(change: impl FnOnce(&mut Config, &Path)) -> Self {
        Self::open(Arc::new(Data::new(None, change)), None, &Faults::default()).await
    }

    /// On this data. With the settings of the first app, unless the test gives others.
    pub(super) async fn open(data: Arc<Data>, config: Option<Config>, faults: &Faults) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let config = config.unwrap_or_else(|| data.config.clone());
        let now = Arc::clone(&clock) as Arc<dyn Clock>;
        let app = match &data.place {
            None => App::open(&config, now).await.unwrap(),
            Some(place) => {
                let service = data.service(place, now, faults).await.unwrap();
                App::over(Arc::new(service), &config).unwrap()
            }
        };
        Self { router: app.router, service: app.service, shutdown: app.shutdown, clock, config, data }
    }

    /// The test damages rows or bytes directly. So they are not checked at its end.
    pub(crate) fn expect_damage(&self) {
        self.data.is_damaged.store(true, Ordering::Relaxed);
    }

    /// Another process on the same data, as after a restart.
    pub(crate) async fn restarted(self) -> Self {
        self.beside().await
    }

    /// Another process on the same data, as after a restart: no state of a session is in its memory.
    pub(crate) async fn restarted_with(self, user: TestUser) -> (Self, TestUser) {
        let TestUser { router, token } = user;
        let (data, config) = (Arc::clone(&self.data), self.config.clone());
        drop((self, router));
        let app = Self::open(data, Some(config), &Faults::default()).await;
        let user = TestUser { router: app.router.clone(), token };
        // The next request then needs no statement to check the token.
        user.get("/me").await.expect(200);
        (app, user)
    }

    /// Another process on the same data, at the same time.
    pub(crate) async fn beside(&self) -> Self {
        self.beside_with(&Faults::default()).await
    }

    /// Another process on the same data at the same time, with its own faults.
    pub(crate) async fn beside_with(&self, faults: &Faults) -> Self {
        Self::open(Arc::clone(&self.data), Some(self.config.clone()), faults).await
    }

    /// Another process on the same data at the same time, with other settings.
    pub(crate) async fn beside_with_config(&self, config: Config) -> Self {
        Self::open(Arc::clone(&self.data), Some(config), &Faults::default()).await
    }

    /// Another process on the same data that connects to the database by another address.
    pub(crate) async fn with_database(&self, url: String) -> Self {
        let mut config = self.config.clone();
        config.stores.database = url;
        self.beside_with_config(config).await
    }

    /// The storage of an app [`with_faults`](Self::with_faults), without the faults.
    pub(crate) fn faultless_storage(&self) -> Arc<dyn Storage> {
        self.data.place.as_ref().unwrap().open(&self.storage())
    }

    pub(crate) async fn user(&self, owner: &str) -> TestUser {
        let created = self.service.create_token(owner, "test", None).await.unwrap();
        TestUser { router: self.router.clone(), token: created.token.reveal().to_owned() }
    }

    /// Runs a statement directly in the database.
    pub(crate) async fn execute(&self, statement: &'static str) {
        match self.config.stores.database.as_str() {
            "" => {
                let file = format!("sqlite://{}/partway.db", self.folder().display());
                sqlx::SqliteConnection::connect(&file).await.unwrap().execute(statement).await.unwrap();
            }
            url => drop(sqlx::PgConnection::connect(url).await.unwrap().execute(statement).await.unwrap()),
        }
    }

    /// The only value that a statement returns from an SQLite database.
    pub(crate) async fn text(&self, query: &'static str) -> String {
        let file = format!("sqlite://{}/partway.db", self.folder().display());
        let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }

    /// The only number that a statement returns.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        match self.config.stores.database.as_str() {
            "" => {
                let file = format!("sqlite://{}/partway.db", self.folder().display());
                let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
            url => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
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
        for folder in ["uploading", "arriving", "stored"] {
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
        self.data.folder.path()
    }

    /// The number of database statements of a request. The server has cached the token before.
    pub(crate) async fn statements<T>(&self, request: impl Future<Output = T>) -> (u64, T) {
        let statements = || self.service.metrics().db.statements.get();
        let before = statements();
        let answer = request.await;
        (statements() - before, answer)
    }
}

impl Data {
    pub(super) fn new(place: Option<Place>, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config::from_defaults(&serde_json::json!({ "data": folder.path(), "max_parts": 1_000 })).unwrap();
        // Only an object store for tests accepts such small parts. Other tests check that the start refuses them.
        config.limits.chunk_size = bytesize::ByteSize::b(10);
        config.limits.max_file_size = bytesize::ByteSize::kb(100);
        config.stores.database = database_url(folder.path()).unwrap_or_default();
        config.stores.database_connections = 6;
        // The tests must also run on a disk with little free space.
        config.stores.min_free_space = bytesize::ByteSize::b(0);
        change(&mut config, folder.path());
        Self { folder, config, place, is_damaged: AtomicBool::new(false) }
    }

    /// The use cases over this database and storage.
    async fn service(&self, place: &Place, clock: Arc<dyn Clock>, faults: &Faults) -> anyhow::Result<Service> {
        let storage = faults.over(place.open(&self.folder.path().join("files")));
        open_service(&self.config, clock, Opening { bind: true, storage: Some(storage), ..Opening::default() }).await
    }

    /// All problems of rows and bytes. Compares every byte with the digests.
    async fn problems(&self) -> anyhow::Result<Vec<Finding>> {
        let clock = Arc::new(SystemClock);
        let service = Arc::new(match &self.place {
            None => open_service(&self.config, clock, Opening { must_exist: true, ..Opening::default() }).await?,
            Some(place) => self.service(place, clock, &Faults::default()).await?,
        });
        let on_read = Some(Arc::new(|_, _| ()) as Arc<dyn Fn(u64, u64) + Send + Sync>);
        let report = service.check(CheckOptions { on_read, ..CheckOptions::default() }).await;
        let report = report.map_err(|error| anyhow::anyhow!("{}", error.with_causes()))?;
        Ok(report.problems)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // A test that has failed already reports its own error.
        if std::thread::panicking() || *self.is_damaged.get_mut() {
            return;
        }
        // The runtime of the test is blocked here, so the check needs another one.
        let problems = std::thread::scope(|scope| {
            let check = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.problems())
            };
            scope.spawn(check).join().unwrap()
        });
        assert_eq!(problems.unwrap(), [], "the test left rows and bytes that do not agree");
    }
}

impl TestUser {
    /// The same owner, in another process on the same data.
    pub(crate) fn at(&self, app: &TestApp) -> Self {
        Self { router: app.router.clone(), token: self.token.clone() }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match self.token.as_str() {
            "" => request,
            token => request.header("authorization", format!("Bearer {token}")),
        }
    }
}
