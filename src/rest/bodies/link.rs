//! The JSON bodies of links to the content of a file.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

/// `POST /files/{id}/links`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct CreateLinkBody {
    pub(in crate::rest) expires_in: Option<String>,
}

/// A new link. The server shows it once.
#[derive(Serialize)]
pub(in crate::rest) struct LinkBody {
    pub(in crate::rest) url: String,
    pub(in crate::rest) expires_at: Timestamp,
}
