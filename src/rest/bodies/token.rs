//! The JSON bodies of tokens for one upload, and of links to the content of a file.

use serde::{Deserialize, Serialize};

use crate::{domain::Timestamp, service::UploadToken};

/// `POST /uploads/sessions/{id}/tokens` and `POST /files/{id}/links`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct ExpiresInBody {
    pub(in crate::rest) expires_in: Option<String>,
}

/// A new token. The server shows it once.
#[derive(Serialize)]
pub(in crate::rest) struct UploadTokenBody {
    token: String,
    upload_url: String,
    expires_at: Timestamp,
}

impl UploadTokenBody {
    pub(in crate::rest) fn new(created: &UploadToken, upload_url: String) -> Self {
        Self { token: created.token.reveal().to_owned(), upload_url, expires_at: created.expires_at }
    }
}

/// A new link. The server shows it once.
#[derive(Serialize)]
pub(in crate::rest) struct LinkBody {
    pub(in crate::rest) url: String,
    pub(in crate::rest) expires_at: Timestamp,
}
