//! The database and the storage that tests run on: SQLite and a folder, unless the environment names others.
//!
//! `TEST_DATABASE_URL` names a PostgreSQL database in which every test gets its own schema, `TEST_STORAGE_URL` an
//! object store in which it gets a prefix. `scripts/test-services` starts both.

use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The PostgreSQL database of these tests, if they run on one. With a schema for the test that uses this folder.
pub(crate) fn database_url(data: &Path) -> Option<String> {
    let url = variable("TEST_DATABASE_URL")?;
    let schema = format!("test_{}", name_of(data));
    let separator = if url.contains('?') { '&' } else { '?' };
    let url_of_schema = format!("{url}{separator}options[search_path]={schema}");
    execute(url, format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
    Some(url_of_schema)
}

/// The object store of these tests, if they run on one. With a prefix for the test that uses this folder.
pub(crate) fn storage_url(data: &Path) -> Option<String> {
    Some(format!("{}/{}", variable("TEST_STORAGE_URL")?.trim_end_matches('/'), name_of(data)))
}

/// A unique name: that of the temporary folder.
fn name_of(data: &Path) -> String {
    hex::encode(&Sha256::digest(data.as_os_str().as_encoded_bytes())[..8])
}

/// Runs a statement in PostgreSQL. On its own thread with its own runtime, so that it works with or without one.
pub(crate) fn execute(url: String, statement: String) {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await.expect("TEST_DATABASE_URL");
            connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        });
    };
    std::thread::spawn(run).join().unwrap();
}
