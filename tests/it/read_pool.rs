//! Reads of sessions from SQLite, for which status reads have their own connections.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use partway::{
    db::Db,
    domain::{OwnerName, SessionId},
};

use crate::support::TestApp;

/// Maximum duration of a read on a busy machine, unless it waits for a connection that never returns to the pool.
const SOON: Duration = Duration::from_secs(20);
/// More than the number of connections.
const MANY: usize = 200;

struct Reading {
    app: TestApp,
    db: Db,
    owner: OwnerName,
    id: SessionId,
}

impl Reading {
    async fn begin() -> Self {
        let app = TestApp::on_disk_with(|config| config.stores.database = String::new()).await;
        let id = app.user("ann").await.create_id(25).await.parse().unwrap();
        let db = Db::open_sqlite(&app.folder().join("partway.db")).await.unwrap();
        Self { app, db, owner: OwnerName::parse("ann").unwrap(), id }
    }

    /// Asserts that many concurrent reads succeed.
    async fn assert_all_answered(&self) {
        let reads = (0..MANY).map(|_| self.db.session(&self.owner, self.id));
        for read in tokio::time::timeout(SOON, join_all(reads)).await.expect("no read waits forever") {
            assert_eq!(read.unwrap().unwrap().id, self.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_reads_succeed_with_more_readers_than_connections() {
    let reading = Arc::new(Reading::begin().await);
    let tasks = (0..4).map(|_| {
        let reading = Arc::clone(&reading);
        tokio::spawn(async move { reading.assert_all_answered().await })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test]
async fn dropped_reads_keep_no_connection() {
    let reading = Reading::begin().await;
    reading.assert_all_answered().await;
    for _ in 0..MANY {
        let read = reading.db.session(&reading.owner, reading.id);
        // Poll the read once, which sends the statement, and drop it.
        drop(Box::pin(read).now_or_never());
    }
    reading.assert_all_answered().await;
}

#[tokio::test]
async fn a_failed_statement_affects_no_other_statement() {
    let reading = Reading::begin().await;
    reading.assert_all_answered().await;
    reading.app.execute("ALTER TABLE upload_session RENAME TO away").await;
    for read in join_all((0..MANY).map(|_| reading.db.session(&reading.owner, reading.id))).await {
        assert!(!read.unwrap_err().is_unavailable(), "the statement is wrong, but the database is available");
    }
    reading.app.execute("ALTER TABLE away RENAME TO upload_session").await;
    reading.assert_all_answered().await;
}

/// The pool uses a connection without a test for up to one second.
#[tokio::test]
async fn all_reads_over_more_than_a_second_succeed() {
    let reading = Reading::begin().await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1_100) {
        reading.assert_all_answered().await;
    }
}
