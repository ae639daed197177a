//! Tests of the plans of all statements whose cost could grow with the number of sessions.
//!
//! Owns a database with many rows, without statistics and then with them, on SQLite and, if `TEST_DATABASE_URL` names one, on
//! PostgreSQL. On SQLite, a plan must use an index and scan no table. On PostgreSQL, the test runs the statement and counts the
//! rows that each step of the plan reads.

use chrono::TimeDelta;
use entity::{event, upload_file, upload_part, upload_session, webhook, webhook_delivery};
use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, Iden, Iterable, Order, QueryFilter, QuerySelect, QueryTrait, Statement,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    Created, Db,
    deliveries::{self, IS_DEAD, IS_PENDING},
    download_links, events,
    list::files,
    list_ranges::{counted, listed},
    part_removal, parts,
    sessions::{joined, with_key},
    sweep, upload_tokens,
};
use crate::domain::{
    AccountLimits, Clock, Direction, Event, FileStatus, Metadata, OwnerName, PartPlan, SessionId, SessionStatus,
    SystemClock, Timestamp, Upload, UploadQuery, UploadRequest, WebhookId,
};

/// Sessions of many owners that have ended, and then open ones of one owner, all of the same name and size.
const ENDED: u64 = 6_000;
const OPEN: u64 = 6_000;
const NAME: &str = "a.bin";
const SIZE: u64 = 10;
/// The limit of the statements.
const LIMIT: u64 = 10;
/// How many rows a step may read: the limit for each state, and more than once.
const MAX_ROWS: f64 = 200.0;

/// A database with rows.
struct Filled {
    db: Db,
    /// The newest session, which is open.
    open: SessionId,
    now: Timestamp,
    folder: TempDir,
}

fn owner() -> OwnerName {
    OwnerName::parse("ann").unwrap()
}

async fn sqlite() -> Filled {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(&folder.path().join("partway.db")).await.unwrap();
    Filled::new(db, folder).await
}

/// In a schema of its own, which the test drops. `None` if the tests do not run on PostgreSQL.
async fn postgres() -> Option<(Filled, Db, String)> {
    let url = std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())?;
    let (whole, schema) = (Db::open_postgres(&url, 4).await.unwrap(), format!("plans_{}", Uuid::now_v7().simple()));
    execute(&whole, &format!("CREATE SCHEMA {schema}")).await;
    let separator = if url.contains('?') { '&' } else { '?' };
    let db = Db::open_postgres(&format!("{url}{separator}options[search_path]={schema}"), 4).await.unwrap();
    let filled = Filled::new(db, tempfile::tempdir().unwrap()).await;
    Some((filled, whole, schema))
}

async fn execute(db: &Db, statement: &str) {
    db.write.execute_raw(Statement::from_string(db.write.get_database_backend(), statement)).await.unwrap();
}

impl Filled {
    async fn new(db: Db, folder: TempDir) -> Self {
        db.migrate().await.unwrap();
        let now = SystemClock.now();
        let request = UploadRequest {
            original_filename: NAME.to_owned(),
            content_type: "text/plain".to_owned(),
            plan: PartPlan::new(SIZE, SIZE).unwrap(),
            declared_sha256: None,
            metadata: Metadata::default(),
            idempotency_key: None,
            auto_finalize: false,
            upload_metadata: None,
            retain_until: None,
        };
        let upload = Upload::new(&owner(), request, now, TimeDelta::days(1));
        let limits = AccountLimits { max_bytes: None, max_open_sessions: 10 };
        assert!(matches!(db.create_upload(&upload, &limits).await.unwrap(), Created::New));
        let filled = Self { db, open: upload.session.id, now, folder };
        filled.fill(&upload).await;
        filled
    }

    fn backend(&self) -> DbBackend {
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

    /// Every statement with its name, and the index that it must use on SQLite.
    async fn statements(&self) -> Vec<(String, Statement, &'static str)> {
        let (backend, now, past) = (self.backend(), self.now, self.now - TimeDelta::days(9));
        let webhooks: Vec<Uuid> = webhook::Entity::find()
            .select_only()
            .column(webhook::Column::Id)
            .into_tuple()
            .all(&self.db.read)
            .await
            .unwrap();
        let webhook = WebhookId(webhooks[0]);
        let mut all = Vec::new();
        let mut add = |name: &str, statement: Statement, index| all.push((name.to_owned(), statement, index));
        let session = |select: sea_orm::Select<upload_session::Entity>| select.limit(LIMIT).build(backend);
        add("expired", session(sweep::expired(past)), "upload_session_expiry (expires_at<?)");
        add("open", session(sweep::open_after(None)), "upload_session_expiry");
        let middle = Some((now + TimeDelta::days(1), self.open));
        add("open after", session(sweep::open_after(middle)), "upload_session_expiry ((expires_at,id)>(?,?))");
        add("to free", session(sweep::to_be_freed(now, now)), "upload_session_to_free");
        add("to finalize", session(sweep::to_be_finalized(self.open)), "upload_session_to_finalize (id>?)");
        add("old parts", session(part_removal::with_old_parts(past)), "upload_session_part_rows (updated_at<?)");
        add("due files", sweep::due_files(now).limit(LIMIT).build(backend), "upload_file_retention (retain_until<?)");
        let rows = part_removal::some_rows_of(&[self.open, SessionId::generate()]).build(backend);
        add("part rows", rows, "sqlite_autoindex_upload_part_1 (session_id=? AND part_number=?)");
        let ranges = backend.build(&parts::in_ranges([(self.open.0, 1, 5), (Uuid::now_v7(), 1, 5)].into_iter()));
        add("parts", ranges, "sqlite_autoindex_upload_part_1 (session_id=? AND part_number>? AND part_number<?)");
        add(
            "with key",
            with_key(&owner(), "key").build(backend),
            "upload_session_idempotency (owner=? AND idempotency_key=?)",
        );
        for order in [Order::Asc, Order::Desc] {
            add("waiting", events::waiting(order).limit(1).build(backend), "event_position (position=?)");
        }
        let last = i64::try_from(ENDED - 5).unwrap();
        add("numbered", events::numbered_after(last).build(backend), "event_position (position>?)");
        for name in ["owner7", "ann"] {
            let feed = events::feed(&OwnerName::parse(name).unwrap(), 20, backend).limit(LIMIT).build(backend);
            add("feed", feed, "event_feed (owner=? AND position>?)");
        }
        add("settled", events::settled_before(now).limit(LIMIT).build(backend), "event_created (created_at<?)");
        add(
            "due",
            deliveries::due(webhook, now).limit(LIMIT).build(backend),
            "webhook_delivery_due (webhook_id=? AND next_attempt_at<?)",
        );
        for (state, index) in
            [(IS_PENDING, "webhook_delivery_due (webhook_id=?)"), (IS_DEAD, "webhook_delivery_dead (webhook_id=?)")]
        {
            let ids = deliveries::in_state(webhook, state).limit(LIMIT).select_only();
            add(state, ids.column(webhook_delivery::Column::EventId).build(backend), index);
        }
        add("links", download_links::expired(past).limit(LIMIT).build(backend), "download_link_expiry (expires_at<?)");
        add("tokens", upload_tokens::to_check(past).limit(LIMIT).build(backend), "upload_token_check (check_at<?)");
        let ids = upload_session::Entity::find().filter(upload_session::COLUMN.id.is_in([self.open.0, Uuid::now_v7()]));
        add("by ids", ids.build(backend), "sqlite_autoindex_upload_session_1 (id=?)");
        self.add_lists(&mut all);
        all
    }

    fn add_lists(&self, all: &mut Vec<(String, Statement, &'static str)>) {
        let backend = self.backend();
        let name = || Some(NAME.to_owned());
        let (status, size) = (Some(SessionStatus::Failed), Some(SIZE));
        let filters = || UploadQuery { limit: LIMIT, ..Default::default() };
        for (query, index) in [
            (filters(), "upload_session_owner (owner=?"),
            (UploadQuery { status, ..filters() }, "upload_session_state (owner=? AND <expr>=?"),
            (UploadQuery { open: Some(true), ..filters() }, "upload_session_state (owner=? AND <expr>=?"),
            (UploadQuery { open: Some(false), ..filters() }, "upload_session_state (owner=? AND <expr>=?"),
            (UploadQuery { status, open: Some(true), ..filters() }, ""),
            (
                UploadQuery { file_status: Some(FileStatus::Stored), ..filters() },
                "upload_session_state (owner=? AND <expr>=?",
            ),
            (
                UploadQuery { original_filename: name(), ..filters() },
                "upload_session_name_state (owner=? AND filename_key=? AND <expr>=?",
            ),
            (
                UploadQuery { original_filename: name(), status, ..filters() },
                "upload_session_name_state (owner=? AND filename_key=? AND <expr>=?",
            ),
            (
                UploadQuery { total_size_bytes: size, open: Some(false), ..filters() },
                "upload_session_size_state (owner=? AND total_size_bytes=? AND <expr>=?",
            ),
            (
                UploadQuery { original_filename: name(), total_size_bytes: size, ..filters() },
                "upload_session_name_size_state (owner=? AND <expr>=? AND <expr>=?",
            ),
            (
                UploadQuery { original_filename: name(), total_size_bytes: size, open: Some(false), ..filters() },
                "upload_session_name_size_state (owner=? AND <expr>=? AND <expr>=?",
            ),
        ] {
            all.push((format!("count {query:?}"), backend.build(&counted(&owner(), &query, backend)), index));
            let (forward, backward) = (Direction::Forward, Direction::Backward);
            for (after, direction) in [(None, forward), (None, backward), (Some(self.open), forward)] {
                let query = UploadQuery { after, direction, ..query.clone() };
                for rows in [joined(), files()] {
                    let select = listed(rows, &owner(), &query, backend);
                    all.push((format!("list {query:?}"), select.build(backend), index));
                }
            }
        }
    }

    async fn rows_of(&self, sql: String) -> Vec<sea_orm::QueryResult> {
        self.db.write.query_all_raw(Statement::from_string(self.backend(), sql)).await.unwrap()
    }

    async fn check_sqlite(&self, has_statistics: bool) {
        for (name, statement, index) in self.statements().await {
            let rows = self.rows_of(format!("EXPLAIN QUERY PLAN {statement}")).await;
            let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            // With statistics, an index may also be one that is as good.
            assert!(has_statistics || steps.iter().any(|step| step.contains(index)), "{name}: {steps:#?}");
            let scans = |step: &&String| {
                let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
                // A partial index has only what the statement looks for.
                table.is_some_and(|table| !["listed", "wanted", "CONSTANT"].contains(&table))
                    && !["upload_session_expiry", "upload_session_to_free"].iter().any(|index| step.ends_with(index))
            };
            assert_eq!(steps.iter().find(scans), None, "{name}: {steps:#?}");
        }
    }

    async fn check_postgres(&self) {
        for (name, statement, _) in self.statements().await {
            let rows = self.rows_of(format!("EXPLAIN (ANALYZE, FORMAT JSON) {statement}")).await;
            let plan: Value = rows[0].try_get("", "QUERY PLAN").unwrap();
            let read = most_rows(&plan[0]["Plan"]);
            assert!(read <= MAX_ROWS, "{name}: a step reads {read} rows\n{plan:#}");
        }
    }
}

/// The largest number of rows that a step of the plan reads.
fn most_rows(step: &Value) -> f64 {
    let number = |field: &str| step[field].as_f64().unwrap_or_default();
    let removed = number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    let own = (number("Actual Rows") + removed) * number("Actual Loops");
    let below = step["Plans"].as_array().into_iter().flatten().map(most_rows);
    below.fold(own, f64::max)
}

#[tokio::test]
async fn sqlite_reads_few_rows_for_every_statement() {
    let filled = sqlite().await;
    filled.check_sqlite(false).await;
    execute(&filled.db, "ANALYZE").await;
    // A connection reads the statistics when it opens the database.
    let file = filled.folder.path().join("partway.db");
    let db = Db::open_sqlite(&file).await.unwrap();
    Filled { db, ..filled }.check_sqlite(true).await;
}

#[tokio::test]
async fn postgresql_reads_few_rows_for_every_statement() {
    let Some((filled, whole, schema)) = postgres().await else { return };
    filled.check_postgres().await;
    execute(&filled.db, "ANALYZE").await;
    filled.check_postgres().await;
    execute(&whole, &format!("DROP SCHEMA {schema} CASCADE")).await;
}
