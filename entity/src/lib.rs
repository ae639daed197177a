//! Partway's database rows, one module a table, and nothing else.
//!
//! A row is what the table holds, unchecked. What it means, and whether it makes sense, is decided where rows become
//! domain values: in the server's `db` module. Neither GraphQL nor REST ever shows a row.

pub mod api_token;
pub mod instance;
pub mod upload_file;
pub mod upload_part;
pub mod upload_part_claim;
pub mod upload_session;
