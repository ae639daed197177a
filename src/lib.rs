//! Partway: a resumable-upload server that reports which parts have arrived.
//!
//! The map of the crate, from the outside in. `docs/architecture.md` shows which module may import which, and a test
//! checks it.
//!
//! - [`cli`] the command line; [`app`] wires everything; [`config`] settings; `logs` the log.
//! - Edges, one protocol each: `rest`, `graphql`, `tus`, `rufh` (resumable uploads of the IETF), `web` (GraphiQL).
//! - `http` what every edge needs: the server and its connections, tokens, bodies, preconditions, errors.
//! - [`service`] the use cases, one file each; [`error`] the one error type and the one table of codes.
//! - `metrics` the counters, which edges and use cases increment; `spans` and `traces` what is exported to a collector.
//! - [`db`] SQL; [`storage`] bytes; [`webhooks`] messages to receivers of events; `identity` tokens of an identity provider.
//! - `group_commit` one sync, or one transaction, for items that arrive together; `owner_locks` one task at a time for
//!   each owner; `tls` of outgoing connections.
//! - [`domain`] the rules: sessions, parts, received sets, digests.
//! - [`client`] the HTTP client that resumes uploads; it uses only the REST contract of the server.

// `println!` and `eprintln!` panic if the output is closed or full; `cli::output` does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
mod graphql;
mod group_commit;
mod http;
pub mod identity;
mod logs;
mod metrics;
mod owner_locks;
mod rest;
mod rufh;
pub mod service;
mod spans;
pub mod storage;
mod tls;
pub mod traces;
mod tus;
mod web;
pub mod webhooks;
