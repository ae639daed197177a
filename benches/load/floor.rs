//! The floor for the `status` suite: a bare axum server that reads the same row and does nothing else. It has no tokens, no
//! checks, no logs and no limits, and it gets the ranges precomputed in a file.

use std::{collections::HashMap, fs, net::SocketAddr, sync::Arc};

use axum::{Json, Router, extract, routing::get};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool, Row, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use uuid::Uuid;

/// The number of connections with which Partway reads.
const CONNECTIONS: u32 = 8;

/// The columns that Partway reads of a session.
macro_rules! columns {
    () => {
        "s.id, s.file_id, s.owner, s.status, s.status_reason, s.chunk_size_bytes, s.total_size_bytes, s.total_parts, \
         s.completed_parts, s.bytes_received, s.received_parts, s.version, s.idempotency_key, s.declared_sha256, s.declared_crc64nvme, s.storage_checksum, \
         s.append_offset, s.tail_sha256, s.tail_location, s.auto_finalize, s.file_deleted, s.part_rows, s.expires_at, s.created_at, s.updated_at"
    };
}

/// A `SELECT` of the columns of a session and of its file.
macro_rules! with_file {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", f.original_filename, f.content_type, f.size_bytes, f.sha256, f.crc64nvme, f.composite_sha256, f.metadata, \
             f.upload_metadata, f.retain_until, f.status AS file_status FROM upload_session s JOIN upload_file f ON f.id = s.file_id ",
            $rest
        )
    };
}

const ONE_WITH_FILE: &str = with_file!("WHERE s.id = $1");
const NEWEST_WITH_FILES: &str = with_file!("WHERE s.owner = $1 ORDER BY s.id DESC LIMIT 51");
const ONE_SESSION: &str = concat!("SELECT ", columns!(), " FROM upload_session s WHERE s.id = $1");

/// The ranges of a session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ranges {
    pub(crate) received: Vec<(u32, u32)>,
    pub(crate) received_text: Vec<String>,
    pub(crate) missing_text: Vec<String>,
}

type AllRanges = Arc<HashMap<Uuid, Ranges>>;

/// `floor DATABASE RANGES`: serves the status of each session by its id.
pub(crate) async fn serve(database: &str, ranges: &str) -> anyhow::Result<()> {
    let ranges: AllRanges = Arc::new(serde_json::from_slice(&fs::read(ranges)?)?);
    let router = if database.starts_with("postgres") {
        let options = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        postgres::router(options.connect(database).await?, ranges)
    } else {
        let options = SqlitePoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        let target = SqliteConnectOptions::new().filename(database);
        sqlite::router(options.connect_with(target).await?, ranges)
    };
    listen(router).await
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

/// The body of Partway's REST answer.
#[derive(Serialize)]
struct StatusBody<'a> {
    session_id: Uuid,
    status: String,
    status_reason: Option<String>,
    total_parts: i64,
    completed_parts: i64,
    received_parts: &'a [String],
    missing_parts: &'a [String],
    chunk_size_bytes: i64,
    total_size_bytes: i64,
    bytes_received: i64,
    contiguous_bytes: i64,
    auto_finalize: bool,
    version: i64,
    file: FileBody,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct FileBody {
    file_id: Uuid,
    original_filename: String,
    content_type: String,
    size_bytes: i64,
    sha256: Option<String>,
    crc64nvme: Option<String>,
    composite_sha256: Option<String>,
    status: String,
    metadata: serde_json::Value,
    retain_until: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct Page<'a> {
    sessions: Vec<StatusBody<'a>>,
    next: Option<Uuid>,
}

/// The body of Partway's GraphQL answer to [`super::status::QUERY`].
#[derive(Serialize)]
struct Answer {
    data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    upload_session: Progress,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    status: String,
    total_parts: i64,
    completed_parts: i64,
    received_parts: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    first: u32,
    last: u32,
}

/// The server for one driver. A macro, because the two drivers share no trait that would make generic code short.
macro_rules! status_server {
    ($name:ident, $pool:ty, $row:ty) => {
        mod $name {
            use super::*;

            type State = extract::State<($pool, AllRanges)>;

            pub(super) fn router(pool: $pool, ranges: AllRanges) -> Router {
                Router::new()
                    .route("/rest/{id}", get(rest))
                    .route("/graphql/{id}", get(graphql))
                    .route("/list", get(list))
                    .with_state((pool, ranges))
            }

            fn session<'a>(row: &$row, ranges: &'a AllRanges) -> StatusBody<'a> {
                let _ = row.get::<Vec<u8>, _>("received_parts");
                let id = row.get("id");
                let (chunk_size_bytes, total_size_bytes): (i64, i64) =
                    (row.get("chunk_size_bytes"), row.get("total_size_bytes"));
                let prefix = ranges[&id].received.first().filter(|(first, _)| *first == 1);
                let contiguous_bytes = prefix.map_or(0, |(_, last)| i64::from(*last) * chunk_size_bytes);
                let file = FileBody {
                    file_id: row.get("file_id"),
                    original_filename: row.get("original_filename"),
                    content_type: row.get("content_type"),
                    size_bytes: row.get("size_bytes"),
                    sha256: row.get::<Option<Vec<u8>>, _>("sha256").map(hex::encode),
                    crc64nvme: row.get::<Option<Vec<u8>>, _>("crc64nvme").map(|bytes| STANDARD.encode(bytes)),
                    composite_sha256: row.get::<Option<Vec<u8>>, _>("composite_sha256").map(hex::encode),
                    status: row.get("file_status"),
                    metadata: serde_json::from_str(row.get("metadata")).unwrap_or_default(),
                    retain_until: row.get("retain_until"),
                };
                StatusBody {
                    session_id: id,
                    status: row.get("status"),
                    status_reason: row.get("status_reason"),
                    total_parts: row.get("total_parts"),
                    completed_parts: row.get("completed_parts"),
                    received_parts: &ranges[&id].received_text,
                    missing_parts: &ranges[&id].missing_text,
                    chunk_size_bytes,
                    total_size_bytes,
                    bytes_received: row.get("bytes_received"),
                    contiguous_bytes: contiguous_bytes.min(total_size_bytes),
                    auto_finalize: row.get("auto_finalize"),
                    version: row.get("version"),
                    file,
                    created_at: row.get("created_at"),
                    updated_at: row.get("updated_at"),
                    expires_at: row.get("expires_at"),
                }
            }

            async fn rest(
                extract::State((pool, ranges)): State,
                extract::Path(id): extract::Path<Uuid>,
            ) -> axum::response::Response {
                let row = sqlx::query(ONE_WITH_FILE).bind(id).fetch_one(&pool).await.expect("the session");
                axum::response::IntoResponse::into_response(Json(session(&row, &ranges)))
            }

            async fn graphql(
                extract::State((pool, ranges)): State,
                extract::Path(id): extract::Path<Uuid>,
            ) -> Json<Answer> {
                let row = sqlx::query(ONE_SESSION).bind(id).fetch_one(&pool).await.expect("the session");
                let _ = row.get::<Vec<u8>, _>("received_parts");
                let received = ranges[&id].received.iter().map(|(first, last)| Range { first: *first, last: *last });
                let upload_session = Progress {
                    status: row.get("status"),
                    total_parts: row.get("total_parts"),
                    completed_parts: row.get("completed_parts"),
                    received_parts: received.collect(),
                };
                Json(Answer { data: Data { upload_session } })
            }

            async fn list(extract::State((pool, ranges)): State) -> axum::response::Response {
                let query = sqlx::query(NEWEST_WITH_FILES).bind(super::super::seed::OWNER);
                let rows = query.fetch_all(&pool).await.expect("the sessions");
                let sessions: Vec<_> = rows.iter().take(50).map(|row| session(row, &ranges)).collect();
                let next = sessions.last().map(|last| last.session_id).filter(|_| rows.len() > 50);
                axum::response::IntoResponse::into_response(Json(Page { sessions, next }))
            }
        }
    };
}

status_server!(sqlite, SqlitePool, sqlx::sqlite::SqliteRow);
status_server!(postgres, PgPool, sqlx::postgres::PgRow);
