//! What every HTTP edge stands on: the server and its connections, and what HTTP itself says of requests and answers.
//!
//! Owns sockets, who may be connected, how slow a peer may be, how a server stops, what a request's conditions say, what its
//! body must be, and how an error is shown. Knows no
//! route and no protocol but HTTP/1.1 itself.

mod body;
mod connection;
mod descriptors;
mod digest;
mod entity_tags;
mod host;
mod least_rate;
mod peers;
mod preconditions;
mod problem;
mod readiness;
mod server;
mod socket;

pub use body::{CheckedBody, read_whole};
pub use descriptors::raise_descriptor_limit;
pub use host::Malformed;
pub use least_rate::{LeastRate, PacedBody};
pub use preconditions::{Freshness, Preconditions, Validator, allows_range};
pub use problem::{Problem, panicked, render as render_problem};
pub use readiness::Readiness;
pub use server::{Server, StopRequest};
