//! Tests through the public interfaces: the router, a real socket, the real binary.
//!
//! One binary, so that it links once, and one file for each behaviour. No test sleeps, retries or depends on the order:
//! every test has its own folder, database, clock and port.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot continue must stop there")]

mod support;

mod append;
mod append_crash;
mod append_property;
mod auth;
mod bad_rows;
mod binding;
mod bytes_lost;
mod check;
mod cli;
mod cli_config;
mod cli_failures;
mod cli_files;
mod cli_output;
mod concurrency;
mod connections;
mod crash;
mod crash_points;
mod errors;
mod file_digest;
mod files;
mod framing;
mod free_space;
mod graphql;
mod graphql_http;
mod graphql_limits;
mod layering;
mod limits;
mod lingering_close;
mod loader;
mod long_answers;
mod metadata;
mod metrics;
mod migrations;
mod object_store;
mod origins;
mod parity;
mod part_leases;
mod part_receive;
mod postgres;
mod preconditions;
mod prefix_hash;
mod process;
mod read_pool;
mod readme;
mod record_together;
mod request_bodies;
mod schema;
mod session_abort;
mod session_create;
mod session_expire;
mod session_finalize;
mod session_list;
mod session_status;
mod session_watch;
mod slow_peers;
mod stopping;
mod storage;
mod storage_faults;
mod tus;
mod tus_bytes;
mod tus_checksum;
mod tus_fields;
mod tus_metadata;
mod tus_pages;
mod tus_parity;
mod two_nodes;
mod web;
mod websocket;
