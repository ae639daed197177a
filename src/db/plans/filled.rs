//! A database with many sessions, for tests of plans.
//!
//! Owns the rows. They are copies of one row of each table, with all its columns.

use chrono::TimeDelta;
use entity::{event, upload_file, upload_session};
use sea_orm::{ConnectionTrait, DbBackend, Iden, Iterable, Statement};
use tempfile::TempDir;
use uuid::Uuid;

use super::super::{Created, Db, events};
use crate::domain::{
    AccountLimits, Clock, Event, OwnerName, PartPlan, SessionId, SystemClock, Timestamp, Upload, UploadRequest,
};

/// Sessions of many owners that have ended, and then open ones of one owner, all of the same name and size.
pub(super) const ENDED: u64 = 6_000;
const OPEN: u64 = 6_000;
pub(super) const NAME: &str = "a.bin";
pub(super) const SIZE: u64 = 10;

/// A database with rows.
pub(super) struct Filled {
    pub(super) db: Db,
    /// The newest session, which is open.
    pub(super) open: SessionId,
    pub(super) now: Timestamp,
    pub(super) folder: TempDir,
}

pub(super) fn owner() -> OwnerName {
    OwnerName::parse("ann").unwrap()
}

pub(super) async fn sqlite() -> Filled {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
    Filled::new(db, folder).await
}

/// In a schema of its own, which the test drops. `None` if the tests do not run on PostgreSQL.
pub(super) async fn postgres() -> Option<(Filled, Db, String)> {
    let url = std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())?;
    let (whole, schema) = (Db::open_postgres(&url, 4).await.unwrap(), format!("plans_{}", Uuid::now_v7().simple()));
    execute(&whole, &format!("CREATE SCHEMA {schema}")).await;
    let separator = if url.contains('?') { '&' } else { '?' };
    let db = Db::open_postgres(&format!("{url}{separator}options[search_path]={schema}"), 4).await.unwrap();
    let filled = Filled::new(db, tempfile::tempdir().unwrap()).await;
    Some((filled, whole, schema))
}

pub(super) async fn execute(db: &Db, statement: &str) {
    db.write.execute_raw(Statement::from_string(db.write.get_database_backend(), statement)).await.unwrap();
}

impl Filled {
    async fn new(db: Db, folder: TempDir) -> Self {
        db.migrate().await.unwrap();
        let now = SystemClock.now();
        let request = UploadRequest::new(NAME, "text/plain", PartPlan::new(SIZE, SIZE).unwrap());
        let upload = Upload::new(&owner(), request, now, TimeDelta::days(1));
        let limits = AccountLimits { max_bytes: None, max_open_sessions: 10 };
        assert!(matches!(db.create_upload(&upload, &limits).await.unwrap(), Created::New));
        let filled = Self { db, open: upload.session.id, now, folder };
        filled.fill(&upload).await;
        filled
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.db.write.get_database_backend()
    }

    fn id(&self, start: &str) -> String {
        match self.backend() {
            DbBackend::Postgres => format!("('{start}-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"),
            _ => format!("unhex('{}70008000' || printf('%012x', n))", start.replace('-', "")),
        }
    }

    /// Copies the only row of a table, with other values of some columns.
    async fn copy<C: Iterable + Iden>(&self, table: &str, (first, last): (u64, u64), changes: &[(&str, &str)]) {
        let columns: Vec<String> = C::iter().map(|column| column.unquoted().to_owned()).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).filter(|column| *column != "seq").collect();
        let value = |column: &&str| changes.iter().find(|(changed, _)| changed == column).map(|(_, value)| *value);
        let values: Vec<&str> = columns.iter().map(|column| value(column).unwrap_or(column)).collect();
        let numbers = match self.backend() {
            DbBackend::Postgres => format!("generate_series({first}, {last}) AS s(n)"),
            _ => format!(
                "(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)"
            ),
        };
        let (columns, values) = (columns.join(", "), values.join(", "));
        let template = format!("(SELECT * FROM {table} LIMIT 1) AS template");
        execute(&self.db, &format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {numbers}, {template}")).await;
    }

    async fn fill(&self, upload: &Upload) {
        let ids = ["01910000-0000", "01910000-0001", "01910000-0002"].map(|start| self.id(start));
        let [session, file, event] = ids.each_ref().map(String::as_str);
        for (numbers, owner, status, file_status) in [
            ((1, ENDED), "'owner' || (n % 50)", "'FAILED'", "'FAILED'"),
            (
                (ENDED + 1, ENDED + OPEN),
                "'ann'",
                "CASE WHEN n % 2 = 0 THEN 'INIT' ELSE 'IN_PROGRESS' END",
                "'UPLOADING'",
            ),
        ] {
            let changes = [("id", file), ("owner", owner), ("status", file_status)];
            self.copy::<upload_file::Column>("upload_file", numbers, &changes).await;
            // The parts of every other session are still there.
            let part_rows = "CASE WHEN n % 2 = 0 THEN 'REMOVED' ELSE 'KEPT' END";
            let changes = [("id", session), ("file_id", file), ("owner", owner), ("status", status)];
            let changes = [&changes[..], &[("part_rows", part_rows), ("bytes_freed", "TRUE")]].concat();
            self.copy::<upload_session::Column>("upload_session", numbers, &changes).await;
        }
        let part = "INSERT INTO upload_part (session_id, part_number, size_bytes, sha256, received_at) \
                    SELECT id, 1, 10, id_bytes, created_at FROM upload_session WHERE part_rows = 'KEPT'";
        let hash = if self.backend() == DbBackend::Postgres { "uuid_send(id)" } else { "id" };
        execute(&self.db, &part.replace("id_bytes", hash)).await;
        let event_row = Event::of_unreadable(None, owner(), (upload.session.id, upload.file.id), self.now);
        let tx = self.db.begin(None).await.unwrap();
        events::insert(&tx, &event_row).await.unwrap();
        tx.commit().await.unwrap();
        let changes = [("id", event), ("owner", "'owner' || (n % 50)"), ("position", "n")];
        self.copy::<event::Column>("event", (1, ENDED), &changes).await;
        execute(&self.db, "DELETE FROM event WHERE position IS NULL").await;
        let webhooks = "INSERT INTO webhook (id, url, event_types, secret, created_at, disabled_at) \
                        SELECT id, 'http://x', '', 's', created_at, created_at FROM event WHERE position = 1";
        execute(&self.db, webhooks).await;
        let deliveries = "INSERT INTO webhook_delivery \
             (event_id, webhook_id, state, attempts, next_attempt_at, created_at, updated_at) \
             SELECT event.id, webhook.id, CASE WHEN position = 7 THEN 'PENDING' WHEN position = 8 THEN 'DEAD' ELSE \
             'DELIVERED' END, 1, event.created_at, event.created_at, event.created_at FROM event, webhook";
        execute(&self.db, deliveries).await;
        for table in [
            "upload_token (id, token_hash, session_id, created_at, check_at)",
            "download_link (id, token_hash, file_id, created_at, expires_at)",
        ] {
            let of = if table.starts_with("upload_token") { "id" } else { "file_id" };
            let rows = format!("SELECT id, {hash}, {of}, created_at, expires_at FROM upload_session");
            execute(&self.db, &format!("INSERT INTO {table} {rows}")).await;
        }
    }
}
