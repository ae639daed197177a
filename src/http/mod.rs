//! HTTP/1.1: the server, its connections, and the rules that hold for every request.
//!
//! Owns sockets, the limits on connections, the minimum transfer rate, the graceful stop, bearer tokens, preconditions,
//! request bodies, interim answers, arguments that edges share, problem details, and the log span and metrics of a request.
//! Does not own routes: those are in the edges.

mod auth;
mod body;
mod connection;
mod descriptors;
mod digest;
mod entity_tags;
mod event_stream;
mod extract;
mod fallback;
mod file_body;
mod host;
mod interim;
mod json_body;
mod lingering_close;
mod min_rate;
mod observe;
pub(crate) mod openapi;
mod peers;
mod preconditions;
mod problem;
mod public_url;
mod server;
mod settings;
mod shutdown;
mod socket;
mod token_watch;

pub(crate) use auth::{bearer_token, content_link, parse_bearer};
pub(crate) use body::{CheckedBody, refuse_partial};
pub(crate) use descriptors::raise_descriptor_limit;
pub(crate) use digest::take_digest_of_file;
pub(crate) use event_stream::event_stream;
pub(crate) use extract::{Caller, ContentCaller, SessionPath, UploadCaller, idempotency_key, media_type, path_param};
pub(crate) use fallback::{foreign_origin, no_such_method, no_such_route, overloaded, panicked};
pub(crate) use file_body::{FileBody, FileRecordBody};
pub(crate) use interim::Interim;
pub(crate) use json_body::{parse_object, read_json, read_optional_json};
pub(crate) use lingering_close::drain_unread_body;
pub(crate) use min_rate::{MinRate, PacedBody};
pub(crate) use observe::{Observer, observe};
pub(crate) use preconditions::{Freshness, Preconditions, Validator, allows_range};
pub(crate) use problem::{Problem, ProblemType, error_of, head as error_head};
pub(crate) use public_url::PublicUrl;
pub(crate) use server::{Server, StopRequest};
pub(crate) use settings::ConnectionSettings;
pub use shutdown::Shutdown;
pub(crate) use token_watch::token_end;
