//! A move in the process of the test: from a server that has stopped to a new database and storage.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use partway::{
    app::{MoveStorages, Moving, Opening, open_service},
    domain::{Clock, SystemClock},
    service::{MoveOptions, MoveReport},
};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use super::{Faults, Place, TestApp, app::Data};

/// The rows of a table: each the text of its columns, by their names.
pub(crate) type Table = Vec<BTreeMap<String, String>>;

/// A database and a storage that a move fills.
pub(crate) struct MoveTarget {
    data: Arc<Data>,
}

pub(crate) fn move_options() -> MoveOptions {
    MoveOptions { leaves_behind: false, ends_uploads: false, on_progress: Arc::new(|_| ()) }
}

impl MoveTarget {
    pub(crate) fn new(place: &Place) -> Self {
        Self { data: Arc::new(Data::new(Some(place.empty_copy()), |_, _| ())) }
    }

    /// Begins, or begins again, a move from an app that has stopped.
    pub(crate) async fn open(&self, source: &TestApp, from: &Faults, to: &Faults) -> anyhow::Result<Moving> {
        let folder = |data: &Data| data.folder.path().join("files");
        let opened = |data: &Data, faults: &Faults| Some(faults.over(data.place.as_ref().unwrap().open(&folder(data))));
        let storages = MoveStorages { source: opened(&source.data, from), target: opened(&self.data, to) };
        let clock = Arc::clone(&source.clock) as Arc<dyn Clock>;
        Moving::open(&source.data.config, &self.data.config, clock, storages).await
    }

    /// A whole move without faults.
    pub(crate) async fn fill(&self, source: &TestApp, options: &MoveOptions) -> anyhow::Result<MoveReport> {
        let faults = Faults::default();
        let mut moving = self.open(source, &faults, &faults).await?;
        let report = moving.run(options).await;
        moving.close().await;
        report
    }

    /// A server on what was moved.
    pub(crate) async fn app(&self) -> TestApp {
        TestApp::open(Arc::clone(&self.data), None, &Faults::default()).await
    }

    /// The rows of all tables.
    pub(crate) async fn tables(&self) -> BTreeMap<String, Table> {
        tables_of(&self.data).await
    }

    /// On SQLite, also if the other tests run on PostgreSQL.
    pub(crate) fn on_sqlite(place: &Place) -> Self {
        let on_sqlite = |config: &mut partway::config::Config, _: &Path| config.stores.database.clear();
        Self { data: Arc::new(Data::new(Some(place.empty_copy()), on_sqlite)) }
    }

    /// The test leaves no server's data behind.
    pub(crate) fn expect_damage(&self) {
        self.data.is_damaged.store(true, Ordering::Relaxed);
    }

    /// Creates the tables.
    pub(crate) async fn migrate(&self) {
        partway::app::migrate(&self.data.config).await.unwrap().close().await;
    }

    /// Runs a statement in the SQLite database.
    pub(crate) async fn execute(&self, statement: &str) {
        let file = format!("sqlite://{}/partway.db", self.data.folder.path().display());
        let database = Database::connect(file).await.unwrap();
        database.execute_unprepared(statement).await.unwrap();
        database.close().await.unwrap();
    }

    /// Whether a server refuses to start because the move is not finished.
    pub(crate) async fn is_refused(&self) -> bool {
        let place = self.data.place.as_ref().unwrap();
        let storage = Some(place.open(&self.folder().join("files")));
        let opening = Opening { bind: true, storage, ..Opening::default() };
        let opened = open_service(&self.data.config, Arc::new(SystemClock), opening).await;
        opened.is_err_and(|error| error.to_string().contains("has not finished"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.data.folder.path()
    }

    /// What the storage has, if it is a folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["uploading", "arriving", "stored"] {
            for entry in self.data.folder.path().join("files").join(folder).read_dir().into_iter().flatten() {
                found.push(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
            }
        }
        found.sort();
        found
    }
}

/// Every file below a folder, with its bytes. Without lock files.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_none_or(|extension| extension != "lock") {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The rows of all tables of an app.
pub(crate) async fn tables(app: &TestApp) -> BTreeMap<String, Table> {
    tables_of(&app.data).await
}

async fn tables_of(data: &Data) -> BTreeMap<String, Table> {
    let database = match data.config.stores.database.as_str() {
        "" => format!("sqlite://{}/partway.db", data.folder.path().display()),
        url => url.to_owned(),
    };
    let database = Database::connect(database).await.unwrap();
    let is_sqlite = database.get_database_backend() == DbBackend::Sqlite;
    let names = match is_sqlite {
        true => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        false => "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema()",
    };
    let text = |column: &str| match is_sqlite {
        true => format!("quote({column}) AS {column}"),
        false => format!("COALESCE(CAST({column} AS text), 'NULL') AS {column}"),
    };
    let mut found = BTreeMap::new();
    for name in column(&database, names).await.into_iter().filter(|name| name != "seaql_migrations") {
        let columns = match is_sqlite {
            true => format!("SELECT name FROM pragma_table_info('{name}')"),
            false => format!(
                "SELECT column_name::text AS name FROM information_schema.columns \
                 WHERE table_name = '{name}' AND table_schema = current_schema()"
            ),
        };
        let columns = column(&database, &columns).await;
        let texts: Vec<String> = columns.iter().map(|column| text(column)).collect();
        let rows = query(&database, &format!("SELECT {} FROM {name}", texts.join(", "))).await;
        let row = |row: &sea_orm::QueryResult| {
            columns.iter().map(|column| (column.clone(), row.try_get("", column).unwrap())).collect()
        };
        let mut rows: Table = rows.iter().map(row).collect();
        rows.sort();
        found.insert(name, rows);
    }
    database.close().await.unwrap();
    found
}

async fn column(database: &DatabaseConnection, statement: &str) -> Vec<String> {
    query(database, statement).await.iter().map(|row| row.try_get("", "name").unwrap()).collect()
}

async fn query(database: &DatabaseConnection, statement: &str) -> Vec<sea_orm::QueryResult> {
    let statement = Statement::from_string(database.get_database_backend(), statement);
    database.query_all_raw(statement).await.unwrap()
}
