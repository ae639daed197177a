//! Partway's database rows, one module per table.
//!
//! Owns the columns. A row is unchecked. Does not own its meaning and validity: the server's `db` module checks a row when it
//! converts it into a domain value. Neither GraphQL nor REST exposes a row.

pub mod account;
pub mod api_token;
pub mod download_link;
pub mod event;
pub mod instance;
pub mod move_part;
pub mod move_upload;
pub mod upload_file;
pub mod upload_part;
pub mod upload_part_claim;
pub mod upload_session;
pub mod upload_token;
pub mod webhook;
pub mod webhook_delivery;
