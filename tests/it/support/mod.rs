//! Helpers for tests.

mod api;
mod app;
mod bytes;
mod collector;
mod cutting_proxy;
mod deadline;
mod document;
mod event_stream;
mod faulty_storage;
mod house;
mod http_proxy;
mod moves;
mod process;
mod proxy;
mod receiver;
mod requests;
mod s3;
mod services;
mod three_parts;
mod tls;
mod tus;

pub(crate) use api::Api;
pub(crate) use app::{TestApp, TestUser};
pub(crate) use bytes::{Random, composite, crc64nvme, file_bytes, local_digests, sha256_hex};
pub(crate) use collector::{Collector, attributes};
pub(crate) use cutting_proxy::CuttingProxy;
pub(crate) use deadline::{Deadline, in_time};
pub(crate) use event_stream::Events;
pub(crate) use faulty_storage::{Cause, Faults, Gate, Place, Step, When};
pub(crate) use house::House;
pub(crate) use http_proxy::{http_proxy, page};
pub(crate) use moves::{MoveTarget, Table, files_below, move_options, tables};
pub(crate) use process::{Cli, Server, exchange};
pub(crate) use proxy::Proxy;
pub(crate) use receiver::{Received, Receiver, Reply};
pub(crate) use requests::Answer;
pub(crate) use s3::FakeS3;
pub(crate) use services::{database_url, execute, storage_url};
pub(crate) use three_parts::{
    AFTER_FREEING_LEASE, AFTER_PART_LEASE, FILE, OTHER, assert_finishes, content, putting, session_on,
};
pub(crate) use tls::tls_config;
pub(crate) use tus::{BYTES, assert_stored_by_tus, base64, body_in_pieces, cut_after, id_of};
