//! What every HTTP edge needs: the server and its connections, and what HTTP itself says of requests and answers.
//!
//! Owns sockets, how many connections there may be, how slow a client may be, how the server stops, bearer tokens,
//! preconditions, request bodies, errors as problem details, and the observation of requests. Knows no route and no protocol
//! but HTTP/1.1.

mod auth;
mod body;
mod connection;
mod descriptors;
mod digest;
mod entity_tags;
mod fallback;
mod host;
mod json_body;
mod min_rate;
mod lingering_close;
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
pub use min_rate::{MinRate, PacedBody};
pub use lingering_close::drain_unread_body;
pub use observe::{Observer, observe};
pub use preconditions::{Freshness, Preconditions, Validator, allows_range};
pub use problem::{Problem, head as error_head};
pub use server::{Server, StopRequest};
pub use settings::ConnectionSettings;
pub use shutdown::Shutdown;
