//! The floor on PostgreSQL: the requests of all clients share a few connections, on which their reads are pipelined.

use std::{
    borrow::Cow,
    ops::RangeFrom,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract, response::Response, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use tokio_postgres::{Client, Config, NoTls, Row, Statement, types::FromSql};
use uuid::Uuid;

use super::{
    AllRanges, Answer, Data, FileBody, NEWEST_WITH_FILES, ONE_WITH_FILE, PROGRESS, Page, Progress, StatusBody, json,
};
use crate::seed::OWNER;

const CONNECTIONS: usize = 2;

/// A connection with its prepared statements.
struct Prepared {
    client: Client,
    one_with_file: Statement,
    progress: Statement,
    newest_with_files: Statement,
}

#[derive(Clone)]
struct State {
    connections: Arc<Vec<Prepared>>,
    turn: Arc<AtomicUsize>,
    ranges: AllRanges,
}

pub(super) async fn router(database: &str, ranges: AllRanges) -> anyhow::Result<Router> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(database).await?);
    }
    let router = Router::new().route("/rest/{id}", get(rest)).route("/graphql/{id}", get(graphql));
    let state = State { connections: Arc::new(connections), turn: Arc::default(), ranges };
    Ok(router.route("/list", get(list)).with_state(state))
}

async fn connect(database: &str) -> anyhow::Result<Prepared> {
    // The parameter `options[search_path]` of the URL is sqlx's.
    let (url, search_path) = match database.split_once("options[search_path]=") {
        Some((url, schema)) => (url.trim_end_matches(['?', '&']), Some(format!("-c search_path={schema}"))),
        None => (database, None),
    };
    let mut config = Config::from_str(url)?;
    if let Some(search_path) = search_path {
        config.options(search_path);
    }
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(Prepared {
        one_with_file: client.prepare(ONE_WITH_FILE).await?,
        progress: client.prepare(PROGRESS).await?,
        newest_with_files: client.prepare(NEWEST_WITH_FILES).await?,
        client,
    })
}

impl State {
    fn connection(&self) -> &Prepared {
        &self.connections[self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }
}

async fn rest(extract::State(state): extract::State<State>, extract::Path(id): extract::Path<Uuid>) -> Response {
    let Prepared { client, one_with_file, .. } = state.connection();
    let row = client.query_one(one_with_file, &[&id]).await.expect("the session");
    json(&Columns { row: &row, next: 0.. }.status(&state.ranges))
}

async fn graphql(extract::State(state): extract::State<State>, extract::Path(id): extract::Path<Uuid>) -> Response {
    let Prepared { client, progress, .. } = state.connection();
    let row = client.query_one(progress, &[&id]).await.expect("the session");
    let received_parts = &*state.ranges[&id].received_objects;
    let upload_session =
        Progress { status: row.get(0), total_parts: row.get(1), completed_parts: row.get(2), received_parts };
    json(&Answer { data: Data { upload_session } })
}

async fn list(extract::State(state): extract::State<State>) -> Response {
    let Prepared { client, newest_with_files, .. } = state.connection();
    let rows = client.query(newest_with_files, &[&OWNER]).await.expect("the sessions");
    let encode = |row| {
        let status = Columns { row, next: 0.. }.status(&state.ranges);
        serde_json::value::to_raw_value(&status).expect("JSON")
    };
    let sessions = rows.iter().take(Page::LIMIT).map(encode).collect();
    let next = rows.get(Page::LIMIT - 1).map(|row| row.get(0)).filter(|_| rows.len() > Page::LIMIT);
    json(&Page { sessions, next })
}

/// Reads the columns of a row one after the other.
struct Columns<'a> {
    row: &'a Row,
    next: RangeFrom<usize>,
}

impl<'a> Columns<'a> {
    fn value<T: FromSql<'a>>(&mut self) -> T {
        self.row.get(self.next.next().unwrap_or_default())
    }

    fn time(&mut self) -> Cow<'a, str> {
        utc(self.value())
    }

    fn status(&mut self, ranges: &'a AllRanges) -> StatusBody<'a> {
        let session_id = self.value();
        let ranges = &ranges[&session_id];
        let (status, status_reason, total_parts, completed_parts) =
            (self.value(), self.value(), self.value(), self.value());
        let _received: &[u8] = self.value();
        let (chunk_size_bytes, total_size_bytes, bytes_received) = (self.value(), self.value(), self.value());
        let _append_offset: i64 = self.value();
        StatusBody {
            session_id,
            status,
            status_reason,
            total_parts,
            completed_parts,
            received_parts: &ranges.received,
            missing_parts: &ranges.missing,
            chunk_size_bytes,
            total_size_bytes,
            bytes_received,
            contiguous_bytes: ranges.contiguous_bytes,
            auto_finalize: self.value(),
            version: self.value(),
            file: FileBody {
                file_id: self.value(),
                original_filename: self.value(),
                content_type: self.value(),
                size_bytes: self.value(),
                sha256: self.value::<Option<&[u8]>>().map(hex::encode),
                crc64nvme: self.value::<Option<&[u8]>>().map(|bytes| STANDARD.encode(bytes)),
                composite_sha256: self.value::<Option<&[u8]>>().map(hex::encode),
                status: self.value(),
                metadata: serde_json::from_str(self.value()).expect("metadata is JSON"),
                retain_until: self.value::<Option<DateTime<Utc>>>().map(utc),
            },
            created_at: self.time(),
            updated_at: self.time(),
            expires_at: self.time(),
        }
    }
}

fn utc(time: DateTime<Utc>) -> Cow<'static, str> {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}
