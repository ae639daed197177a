//! Partway: a resumable-upload server that can be asked what has arrived.
//!
//! The crate's map, from the outside in. Who may import whom is drawn in `docs/architecture.md` and held by a test.
//!
//! - [`cli`] the command line; [`app`] wires everything; [`config`] settings; [`logs`] the log.
//! - Edges, one protocol each: [`rest`], [`graphql`], [`web`] (GraphiQL).
//! - [`http`] what every edge needs: the server and its connections, tokens, bodies, preconditions, errors.
//! - [`service`] the use cases, one file each; [`error`] the one error type and the one table of codes.
//! - [`metrics`] the counters; edges and use cases count.
//! - [`db`] SQL; [`storage`] bytes.
//! - [`group_commit`] group commit: one sync, or one transaction, for what arrives together.
//! - [`domain`] the rules: sessions, parts, received sets, digests.
//! - [`client`] the HTTP client that resumes; it knows the server by its REST contract alone.

// They panic where the output is closed or full; `cli::output` does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod group_commit;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod rest;
pub mod service;
pub mod storage;
pub mod web;
