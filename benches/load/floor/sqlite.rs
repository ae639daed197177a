//! The floor on SQLite: each request reads the row in its own thread, with a prepared statement.

use std::{borrow::Cow, ops::RangeFrom, sync::Arc};

use axum::{Router, extract, response::Response, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags, Result, Row, types::FromSql};
use uuid::Uuid;

use super::{
    AllRanges, Answer, Data, FileBody, NEWEST_WITH_FILES, ONE_WITH_FILE, PROGRESS, Page, Progress, StatusBody, json,
};
use crate::seed::OWNER;

/// As many connections as there are threads that serve requests, on two cores with one to spare.
const CONNECTIONS: usize = 3;

#[derive(Clone)]
struct State {
    connections: Arc<Vec<Mutex<Connection>>>,
    ranges: AllRanges,
}

pub(super) fn router(database: &str, ranges: AllRanges) -> anyhow::Result<Router> {
    let open = || Ok(Mutex::new(Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?));
    let connections = (0..CONNECTIONS).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let router = Router::new().route("/rest/{id}", get(rest)).route("/graphql/{id}", get(graphql));
    Ok(router.route("/list", get(list)).with_state(State { connections: Arc::new(connections), ranges }))
}

impl State {
    /// A connection that no other thread uses.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connections.iter().find_map(Mutex::try_lock).unwrap_or_else(|| self.connections[0].lock())
    }
}

async fn rest(extract::State(state): extract::State<State>, extract::Path(id): extract::Path<Uuid>) -> Response {
    let connection = state.connection();
    let mut statement = connection.prepare_cached(ONE_WITH_FILE).expect("the statement");
    let answer =
        statement.query_row([id.as_bytes()], |row| Ok(json(&Columns { row, next: 0.. }.status(&state.ranges)?)));
    answer.expect("the session")
}

async fn graphql(extract::State(state): extract::State<State>, extract::Path(id): extract::Path<Uuid>) -> Response {
    let connection = state.connection();
    let mut statement = connection.prepare_cached(PROGRESS).expect("the statement");
    let answer = statement.query_row([id.as_bytes()], |row| {
        let mut columns = Columns { row, next: 0.. };
        let (status, total_parts, completed_parts) = (columns.text()?, columns.value()?, columns.value()?);
        columns.skip()?;
        let received_parts = &*state.ranges[&id].received_objects;
        let upload_session = Progress { status, total_parts, completed_parts, received_parts };
        Ok(json(&Answer { data: Data { upload_session } }))
    });
    answer.expect("the session")
}

async fn list(extract::State(state): extract::State<State>) -> Response {
    let connection = state.connection();
    let mut statement = connection.prepare_cached(NEWEST_WITH_FILES).expect("the statement");
    let mut rows = statement.query([OWNER]).expect("the sessions");
    // A row borrows the statement, so each one is encoded before the next one is read.
    let (mut sessions, mut next, mut count) = (Vec::new(), None, 0);
    while let Some(row) = rows.next().expect("a session") {
        count += 1;
        if count <= Page::LIMIT {
            let status = Columns { row, next: 0.. }.status(&state.ranges).expect("a session");
            next = Some(status.session_id);
            sessions.push(serde_json::value::to_raw_value(&status).expect("JSON"));
        }
    }
    json(&Page { sessions, next: next.filter(|_| count > Page::LIMIT) })
}

/// Reads the columns of a row one after the other.
struct Columns<'a> {
    row: &'a Row<'a>,
    next: RangeFrom<usize>,
}

impl<'a> Columns<'a> {
    fn at(&mut self) -> usize {
        self.next.next().unwrap_or_default()
    }

    fn value<T: FromSql>(&mut self) -> Result<T> {
        let at = self.at();
        self.row.get(at)
    }

    fn text(&mut self) -> Result<&'a str> {
        let at = self.at();
        Ok(self.row.get_ref(at)?.as_str()?)
    }

    fn optional_text(&mut self) -> Result<Option<&'a str>> {
        let at = self.at();
        Ok(self.row.get_ref(at)?.as_str_or_null()?)
    }

    fn id(&mut self) -> Result<Uuid> {
        let at = self.at();
        Ok(Uuid::from_slice(self.row.get_ref(at)?.as_blob()?).unwrap_or_default())
    }

    fn digest(&mut self) -> Result<Option<String>> {
        let at = self.at();
        Ok(self.row.get_ref(at)?.as_blob_or_null()?.map(hex::encode))
    }

    fn base64(&mut self) -> Result<Option<String>> {
        let at = self.at();
        Ok(self.row.get_ref(at)?.as_blob_or_null()?.map(|bytes| STANDARD.encode(bytes)))
    }

    /// A time. The database has `2026-11-29T12:00:00.123456+00:00`.
    fn time(&mut self) -> Result<Cow<'a, str>> {
        Ok(utc(self.text()?))
    }

    fn skip(&mut self) -> Result<()> {
        let at = self.at();
        self.row.get_ref(at).map(drop)
    }

    fn status(&mut self, ranges: &'a AllRanges) -> Result<StatusBody<'a>> {
        let session_id = self.id()?;
        let ranges = &ranges[&session_id];
        let (status, status_reason) = (self.text()?, self.optional_text()?);
        let (total_parts, completed_parts) = (self.value()?, self.value()?);
        self.skip()?;
        let (chunk_size_bytes, total_size_bytes, bytes_received) = (self.value()?, self.value()?, self.value()?);
        self.skip()?;
        Ok(StatusBody {
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
            auto_finalize: self.value()?,
            version: self.value()?,
            file: FileBody {
                file_id: self.id()?,
                original_filename: self.text()?,
                content_type: self.text()?,
                size_bytes: self.value()?,
                sha256: self.digest()?,
                crc64nvme: self.base64()?,
                composite_sha256: self.digest()?,
                status: self.text()?,
                metadata: serde_json::from_str(self.text()?).expect("metadata is JSON"),
                retain_until: self.optional_text()?.map(utc),
            },
            created_at: self.time()?,
            updated_at: self.time()?,
            expires_at: self.time()?,
        })
    }
}

fn utc(text: &str) -> Cow<'_, str> {
    match text.strip_suffix("+00:00") {
        Some(time) => Cow::Owned(time.replacen(' ', "T", 1) + "Z"),
        None => Cow::Borrowed(text),
    }
}
