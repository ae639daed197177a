//! HTTP/1.1: the server, its connections, and the rules that hold for every request.
//!
//! Owns sockets, the limits on connections, the minimum transfer rate, the graceful stop, bearer tokens, preconditions,
//! request bodies, problem details, and the log span and metrics of a request. Does not own routes: those are in `rest`,
//! `graphql` and `web`.

mod auth;
mod body;
mod connection;
mod descriptors;
mod digest;
mod entity_tags;
mod fallback;
mod host;
mod json_body;
mod lingering_close;
mod min_rate;
mod observe;
mod peers;
mod preconditions;
mod problem;
mod server;
mod settings;
mod shutdown;
mod socket;

pub use auth::{authenticate, bearer_token, parse_bearer};
pub use body::CheckedBody;
pub use descriptors::raise_descriptor_limit;
pub use fallback::{foreign_origin, no_such_method, no_such_route, overloaded, panicked};
pub use json_body::{parse_object, read_json};
pub use lingering_close::drain_unread_body;
pub use min_rate::{MinRate, PacedBody};
pub use observe::{Observer, observe};
pub use preconditions::{Freshness, Preconditions, Validator, allows_range};
pub use problem::{Problem, head as error_head};
pub use server::{Server, StopRequest};
pub use settings::ConnectionSettings;
pub use shutdown::Shutdown;
