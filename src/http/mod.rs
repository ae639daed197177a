//! What every HTTP edge stands on: the server and its connections.
//!
//! Owns sockets, who may be connected, how slow a peer may be, and how a server stops. Knows no route and no protocol but
//! HTTP/1.1 itself.

mod connection;
mod descriptors;
mod least_rate;
mod peers;
mod readiness;
mod server;
mod socket;

pub use descriptors::raise_descriptor_limit;
pub use least_rate::{LeastRate, PacedBody};
pub use readiness::Readiness;
pub use server::{Server, StopRequest};
