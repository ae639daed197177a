//! The JSON bodies of tokens for one upload, and of links to the content of a file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{domain::Timestamp, service::UploadToken};

/// How long a new token or link is valid.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExpiresIn)]
pub(in crate::rest) struct ExpiresInBody {
    /// A duration such as `30m`, `12h` or `7days`.
    #[schema(example = "1h")]
    pub(in crate::rest) expires_in: Option<String>,
}

/// A new token. The server shows it once.
#[derive(Serialize, ToSchema)]
#[schema(as = UploadToken)]
pub(in crate::rest) struct UploadTokenBody {
    #[schema(pattern = "^pu_")]
    token: String,
    /// The address for tus clients.
    #[schema(format = "uri-reference")]
    upload_url: String,
    /// When it expires, as of now: without `expires_in`, each part moves it.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl UploadTokenBody {
    pub(in crate::rest) fn new(created: &UploadToken, upload_url: String) -> Self {
        Self { token: created.token.reveal().to_owned(), upload_url, expires_at: created.expires_at }
    }
}

/// A new link. The server shows it once.
#[derive(Serialize, ToSchema)]
#[schema(as = DownloadLink)]
pub(in crate::rest) struct LinkBody {
    #[schema(format = "uri-reference")]
    pub(in crate::rest) url: String,
    #[schema(value_type = String, format = DateTime)]
    pub(in crate::rest) expires_at: Timestamp,
}
