//! The settings of GraphQL, with names that begin with `graphql_`.
//!
//! Owns their types. Does not own their defaults and meanings: those are in `config.default.toml`.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::Deserialize;

/// The limits of a request, and what the server shows of its schema.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct GraphqlSettings {
    pub max_document_bytes: u64,
    pub max_depth: usize,
    pub max_complexity: usize,
    pub max_aliases: usize,
    pub max_root_fields: usize,
    pub max_directives: usize,
    pub max_introspection_lists: usize,
    pub max_response_bytes: ByteSize,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub introspection: bool,
    pub suggestions: bool,
}

/// The documents that the server executes.
#[derive(Clone, Debug, Deserialize)]
pub struct DocumentSettings {
    pub trusted_documents: PathBuf,
    pub trusted_only: bool,
}
