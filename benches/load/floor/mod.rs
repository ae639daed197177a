//! The floor for the `status` suite: a bare axum server that gives the same answers in the cheapest honest way. It has no tokens,
//! no checks, no logs and no limits.
//!
//! Owns the answers. Each answer needs one read of the row that holds the session, by the fastest driver: `sqlite` reads in the
//! thread of the request, `postgres` pipelines the reads of all requests on few connections. The JSON of the ranges is ready-made.

mod postgres;
mod sqlite;

use std::{borrow::Cow, collections::HashMap, fs, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The columns that an answer shows, in the order of [`StatusBody`].
macro_rules! columns {
    () => {
        "s.id, s.status, s.status_reason, s.total_parts, s.completed_parts, s.received_parts, s.chunk_size_bytes, \
         s.total_size_bytes, s.bytes_received, s.append_offset, s.auto_finalize, s.version, s.file_id, f.original_filename, \
         f.content_type, f.size_bytes, f.sha256, f.crc64nvme, f.composite_sha256, f.status, f.metadata, f.retain_until, s.created_at, \
         s.updated_at, s.expires_at FROM upload_session s JOIN upload_file f ON f.id = s.file_id "
    };
}

const ONE_WITH_FILE: &str = concat!("SELECT ", columns!(), "WHERE s.id = $1");
const NEWEST_WITH_FILES: &str = concat!("SELECT ", columns!(), "WHERE s.owner = $1 ORDER BY s.id DESC LIMIT 51");
const PROGRESS: &str = "SELECT status, total_parts, completed_parts, received_parts FROM upload_session WHERE id = $1";

/// The JSON of the ranges of a session.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ranges {
    pub(crate) received: Box<RawValue>,
    pub(crate) missing: Box<RawValue>,
    /// The received ranges as objects, for GraphQL.
    pub(crate) received_objects: Box<RawValue>,
    pub(crate) contiguous_bytes: i64,
}

type AllRanges = Arc<HashMap<Uuid, Ranges>>;

/// `floor DATABASE RANGES`: serves the status of each session by its id.
pub(crate) async fn serve(database: &str, ranges: &str) -> anyhow::Result<()> {
    let ranges: AllRanges = Arc::new(serde_json::from_slice(&fs::read(ranges)?)?);
    listen(match database.starts_with("postgres") {
        true => postgres::router(database, ranges).await?,
        false => sqlite::router(database, ranges)?,
    })
    .await
}

/// Serves on a free port and prints the address.
pub(crate) async fn listen(router: Router) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

fn json(answer: &impl Serialize) -> Response {
    let body = serde_json::to_vec(answer).expect("JSON can hold every answer");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The body of Partway's REST answer.
#[derive(Serialize)]
struct StatusBody<'a> {
    session_id: Uuid,
    status: &'a str,
    status_reason: Option<&'a str>,
    total_parts: i64,
    completed_parts: i64,
    received_parts: &'a RawValue,
    missing_parts: &'a RawValue,
    chunk_size_bytes: i64,
    total_size_bytes: i64,
    bytes_received: i64,
    contiguous_bytes: i64,
    auto_finalize: bool,
    version: i64,
    file: FileBody<'a>,
    created_at: Cow<'a, str>,
    updated_at: Cow<'a, str>,
    expires_at: Cow<'a, str>,
}

#[derive(Serialize)]
struct FileBody<'a> {
    file_id: Uuid,
    original_filename: &'a str,
    content_type: &'a str,
    size_bytes: i64,
    sha256: Option<String>,
    crc64nvme: Option<String>,
    composite_sha256: Option<String>,
    status: &'a str,
    metadata: &'a RawValue,
    retain_until: Option<Cow<'a, str>>,
}

/// A page of sessions, each already encoded.
#[derive(Serialize)]
struct Page {
    sessions: Vec<Box<RawValue>>,
    next: Option<Uuid>,
}

impl Page {
    const LIMIT: usize = 50;
}

/// The body of Partway's GraphQL answer to [`super::status::QUERY`].
#[derive(Serialize)]
struct Answer<'a> {
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    upload_session: Progress<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress<'a> {
    status: &'a str,
    total_parts: i64,
    completed_parts: i64,
    received_parts: &'a RawValue,
}
