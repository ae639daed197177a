//! Tests of the plans of all statements whose cost could grow with the number of sessions.
//!
//! Owns the statements and what their plans must be, without statistics and with them, on SQLite and, if `TEST_DATABASE_URL` names
//! one, on PostgreSQL. On SQLite, a plan must use an index and scan no table. On PostgreSQL, the test runs the statement and counts
//! the rows that each step of the plan reads. Does not own the rows: those are in `filled`.

mod filled;

use chrono::TimeDelta;
use entity::{upload_session, webhook, webhook_delivery};
use filled::{ENDED, Filled, NAME, SIZE, execute, owner, postgres, sqlite};
use sea_orm::{ConnectionTrait, EntityTrait, Order, QueryFilter, QueryResult, QuerySelect, QueryTrait, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Db,
    deliveries::{self, IS_DEAD, IS_PENDING},
    download_links, events,
    list::files,
    list_ranges::{counted, listed},
    part_removal, parts,
    sessions::{joined, with_key},
    sweep, upload_tokens,
};
use crate::domain::{Direction, FileStatus, OwnerName, SessionId, SessionStatus, UploadQuery, WebhookId};

/// The limit of the statements.
const LIMIT: u64 = 10;
const PART_ROWS: &str = "part rows";
/// How many rows a step may read: the limit for each state, and more than once.
const MAX_ROWS: f64 = 200.0;

impl Filled {
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
        add(PART_ROWS, rows, "sqlite_autoindex_upload_part_1 (session_id=? AND part_number=?)");
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

    /// The rows of `EXPLAIN` with these words before the statement.
    async fn explain(&self, words: &str, mut statement: Statement) -> Vec<QueryResult> {
        statement.sql = format!("{words} {}", statement.sql);
        self.db.write.query_all_raw(statement).await.unwrap()
    }

    async fn check_sqlite(&self, has_statistics: bool) {
        for (name, statement, index) in self.statements().await {
            let rows = self.explain("EXPLAIN QUERY PLAN", statement).await;
            let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            // With statistics, an index may also be one that is as good.
            assert!(has_statistics || steps.iter().any(|step| step.contains(index)), "{name}: {steps:#?}");
            let scans = |step: &&String| {
                let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
                // A partial index has only what the statement looks for.
                table.is_some_and(|table| !["listed", "wanted"].contains(&table))
                    && !step.ends_with("VALUES CLAUSE")
                    && !["upload_session_expiry", "upload_session_to_free"].iter().any(|index| step.ends_with(index))
            };
            // SQLite tests a filter that no session can pass before it begins to scan.
            assert!(index.is_empty() || !steps.iter().any(|step| scans(&step)), "{name}: {steps:#?}");
        }
    }

    async fn check_postgres(&self) {
        for (name, statement, _) in self.statements().await {
            if name == PART_ROWS {
                // PostgreSQL reads the whole table while it is small; with 500,000 rows it uses the key.
                continue;
            }
            let rows = self.explain("EXPLAIN (ANALYZE, FORMAT JSON)", statement).await;
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
    // Not all tables of the database: other tests have schemas there.
    let tables = "account, api_token, download_link, event, instance, upload_file, upload_part, upload_part_claim, \
                  upload_session, upload_token, webhook, webhook_delivery";
    execute(&filled.db, &format!("ANALYZE {tables}")).await;
    filled.check_postgres().await;
    execute(&whole, &format!("DROP SCHEMA {schema} CASCADE")).await;
}
