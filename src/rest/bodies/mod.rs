//! The JSON bodies of requests and answers, and the queries of lists.
//!
//! Owns their fields: names in snake_case, ids and digests as text, times in RFC 3339. Their comments are the descriptions in
//! `openapi.json`. Does not own the fields of a file: they are in `http/file_body.rs`.

mod account;
mod create;
mod events;
mod files;
mod health;
mod limits;
mod part;
mod session;
mod token;

pub(super) use account::AccountBody;
pub(super) use create::{CreateBody, FinalizeBody};
pub(super) use events::{EventsBody, EventsParams};
pub(super) use files::{FilesBody, FilesParams, parse_file_status};
pub(super) use health::HealthBody;
pub(super) use limits::LimitsBody;
pub(super) use part::{PartBody, PartsBody, PartsParams, ReceiptBody};
pub(super) use session::{ListBody, ListParams, SessionBody, parse_status, session_json};
pub(super) use token::{ExpiresInBody, LinkBody, UploadTokenBody};
