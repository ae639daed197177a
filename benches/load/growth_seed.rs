//! Fills a database with many sessions, by SQL.
//!
//! Owns the copies. The server itself makes one open and one complete session over HTTP; their rows, with all columns, are the
//! templates of all others. So the rows are valid, whatever columns a version has. Does not own what is measured: that is `growth`.

use std::{fs::File, path::Path};

use anyhow::{Context, ensure};
use entity::{event, upload_file, upload_part, upload_session};
use sea_orm::{Iden, Iterable};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::{
    growth::Size,
    http::{request, send},
    seed::OWNER,
    server::Server,
};

/// The name of the files of all open sessions, and their size: three parts, of which the first has arrived.
pub(crate) const NAME: &str = "bench.bin";
pub(crate) const FILE_BYTES: u64 = 3 * PART_BYTES;
pub(crate) const PART_BYTES: u64 = 1_024;
/// The start of the ids of all copies. They are older than all sessions that the server creates.
const SESSION: &str = "01910000-0000";
const FILE: &str = "01910000-0001";
const EVENT: &str = "01910000-0002";
/// The number of other owners.
const OTHERS: u32 = 1_000;

/// A connection of the benchmark to the database of a server.
pub(crate) enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    /// Connects to this URL of PostgreSQL, or opens this file of SQLite.
    pub(crate) async fn open(target: &str) -> anyhow::Result<Self> {
        if target.starts_with("postgres") {
            return Ok(Self::Postgres(PgConnection::connect(target).await?));
        }
        let mut sqlite = SqliteConnection::connect(&format!("sqlite://{target}")).await?;
        // 1 GiB of cache, and no sync: the seed must only be fast.
        sqlite.execute("PRAGMA cache_size = -1000000; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 10000").await?;
        Ok(Self::Sqlite(sqlite))
    }

    pub(crate) async fn execute(&mut self, statement: &str) -> anyhow::Result<()> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(statement).await.map(|_| ())?,
            Self::Postgres(postgres) => postgres.execute(statement).await.map(|_| ())?,
        }
        Ok(())
    }

    fn id(&self, id: Uuid) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", id.simple()),
            Self::Postgres(_) => format!("'{id}'::uuid"),
        }
    }

    /// The id with this start and the number `n`.
    fn numbered_id(&self, start: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("unhex('{}70008000' || printf('%012x', n))", start.replace('-', "")),
            Self::Postgres(_) => format!("('{start}-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"),
        }
    }

    /// Copies the row of `table` for which `template` holds for each number, with other values of some columns.
    async fn copy<C: Iterable + Iden>(
        &mut self,
        table: &str,
        template: &str,
        (first, last): (u64, u64),
        changes: &[(&str, String)],
    ) -> anyhow::Result<()> {
        if last < first {
            return Ok(());
        }
        let columns: Vec<String> = C::iter().map(|column| column.unquoted().to_owned()).collect();
        // The database assigns this one.
        let columns: Vec<&str> = columns.iter().map(String::as_str).filter(|column| *column != "seq").collect();
        let value = |column: &&str| changes.iter().find(|(changed, _)| changed == column).map(|(_, value)| &**value);
        let values: Vec<&str> = columns.iter().map(|column| value(column).unwrap_or(column)).collect();
        let numbers = match self {
            Self::Sqlite(_) => format!(
                "(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s)"
            ),
            Self::Postgres(_) => format!("generate_series({first}, {last}) AS s(n)"),
        };
        let (columns, values) = (columns.join(", "), values.join(", "));
        self.execute("DROP TABLE IF EXISTS template").await?;
        self.execute(&format!("CREATE TEMPORARY TABLE template AS SELECT * FROM {table} WHERE {template}")).await?;
        self.execute(&format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {numbers}, template")).await
    }
}

/// The id of the session with this number.
pub(crate) fn session_id(number: u64) -> String {
    format!("{SESSION}-7000-8000-{number:012x}")
}

/// Has the server create the templates: an open session with one part, and a complete one. Returns their ids.
pub(crate) fn templates(server: &Server) -> anyhow::Result<[Uuid; 2]> {
    let authorization = server.authorization();
    let ask = |method: &str, path: &str, kind: &str, body: &[u8], status: u16| -> anyhow::Result<Value> {
        let headers = [("Authorization", &*authorization), ("Content-Type", kind)];
        let answer = send(&server.address, &request(method, &format!("/uploads/sessions{path}"), &headers, body))?;
        ensure!(answer.status == status, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        answer.json()
    };
    let create = |parts: u64| -> anyhow::Result<Uuid> {
        let body = json!({ "original_filename": NAME, "total_size_bytes": parts * PART_BYTES }).to_string();
        let session = ask("POST", "", "application/json", body.as_bytes(), 201)?;
        ensure!(session["total_parts"] == parts, "{session}");
        let id = session["session_id"].as_str().context("an id")?;
        let part = vec![7; usize::try_from(PART_BYTES)?];
        ask("PUT", &format!("/{id}/parts/1"), "application/octet-stream", &part, 201)?;
        Ok(id.parse()?)
    };
    let (open, complete) = (create(FILE_BYTES / PART_BYTES)?, create(1)?);
    ask("POST", &format!("/{complete}/finalize"), "application/json", b"{}", 200)?;
    // The feed gives the event its position.
    let events = request("GET", "/events", &[("Authorization", &authorization)], &[]);
    ensure!(send(&server.address, &events)?.status == 200, "the events cannot be read");
    Ok([open, complete])
}

/// Copies the templates: sessions that have ended, of several owners, and then open ones of [`OWNER`], with their files, parts and
/// events. Also creates the files of the open sessions in the folder, so that their bytes are not lost.
pub(crate) async fn fill(
    database: &mut Database,
    files: &Path,
    [open, complete]: [Uuid; 2],
    size: &Size,
) -> anyhow::Result<()> {
    let file_of =
        |database: &Database, id| format!("id = (SELECT file_id FROM upload_session WHERE id = {})", database.id(id));
    let owner = format!("CASE WHEN n % 3 = 0 THEN '{OWNER}' ELSE 'owner' || (n % {OTHERS}) END");
    let (session, file) = (database.numbered_id(SESSION), database.numbered_id(FILE));
    database.execute("BEGIN").await?;
    for (template, numbers, owner, name) in [
        (complete, (1, size.ended), owner, "'old-' || n || '.bin'".to_owned()),
        (open, (size.ended + 1, size.ended + size.open), format!("'{OWNER}'"), format!("'{NAME}'")),
    ] {
        let of_file = file_of(database, template);
        let of_session = format!("id = {}", database.id(template));
        let of_part = format!("session_id = {}", database.id(template));
        let changes = [("id", file.clone()), ("owner", owner.clone()), ("original_filename", name.clone())];
        database.copy::<upload_file::Column>("upload_file", &of_file, numbers, &changes).await?;
        let changes = [
            ("id", session.clone()),
            ("file_id", file.clone()),
            ("owner", owner.clone()),
            ("filename_key", name),
            // The server keeps the rows of the parts of open sessions only: the others ended long ago.
            ("part_rows", if template == open { "part_rows" } else { "'REMOVED'" }.to_owned()),
        ];
        database.copy::<upload_session::Column>("upload_session", &of_session, numbers, &changes).await?;
        if template == open {
            let changes = [("session_id", session.clone())];
            database.copy::<upload_part::Column>("upload_part", &of_part, numbers, &changes).await?;
        } else {
            let changes = [
                ("id", database.numbered_id(EVENT)),
                ("position", "n + 1".to_owned()),
                ("owner", owner),
                ("session_id", session.clone()),
                ("file_id", file.clone()),
            ];
            database.copy::<event::Column>("event", &of_part, numbers, &changes).await?;
            let positions = "UPDATE instance SET last_event_position = (SELECT MAX(position) FROM event)";
            database.execute(positions).await?;
        }
    }
    count(database).await?;
    database.execute("COMMIT").await?;
    for number in size.ended + 1..=size.ended + size.open {
        File::create(files.join("uploading").join(session_id(number)))?.set_len(FILE_BYTES)?;
    }
    Ok(())
}

/// Removes the sessions that the server has created since.
pub(crate) async fn remove_new(database: &mut Database, templates: [Uuid; 2]) -> anyhow::Result<()> {
    // Templates have earlier ids than sessions that the benchmark creates.
    let newest = templates.into_iter().max().context("two ids")?;
    let newest = database.id(newest);
    database.execute("BEGIN").await?;
    let new = format!("SELECT file_id FROM upload_session WHERE id > {newest}");
    database.execute("DROP TABLE IF EXISTS template").await?;
    database.execute(&format!("CREATE TEMPORARY TABLE template AS {new}")).await?;
    database.execute(&format!("DELETE FROM upload_session WHERE id > {newest}")).await?;
    database.execute("DELETE FROM upload_file WHERE id IN (SELECT file_id FROM template)").await?;
    database.execute("COMMIT").await
}

/// Counts the accounts again.
async fn count(database: &mut Database) -> anyhow::Result<()> {
    database.execute("DELETE FROM account").await?;
    database
        .execute(
            "INSERT INTO account (owner, bytes_used, open_sessions, events_dropped_to) \
             SELECT owner, CAST(SUM(total_size_bytes) AS bigint), \
             CAST(SUM(CASE WHEN status IN ('INIT', 'IN_PROGRESS') THEN 1 ELSE 0 END) AS bigint), 0 \
             FROM upload_session GROUP BY owner",
        )
        .await
}
