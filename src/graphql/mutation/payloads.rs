//! The results of the mutations.
//!
//! Owns the payloads, and which errors a user can correct: a payload has those in `userErrors`.

use async_graphql::{Enum, SimpleObject};

use crate::{
    error::{Code, Error},
    graphql::{
        errors::ApiError,
        objects::{UploadFile, UploadSession},
        scalars::DateTime,
    },
};

/// A token that may only send the bytes of one session, finalize it, and ask for its state.
#[derive(SimpleObject)]
pub(super) struct UploadToken {
    /// The token. The server does not show it again.
    pub(super) token: String,
    /// The URL for tus clients. A path, if the setting `public_url` does not name the address of the server.
    pub(super) upload_url: String,
    /// When it expires, as of now. Without `expiresIn`, each part moves this time.
    pub(super) expires_at: DateTime,
}

/// A link to the content of one file. It may be in a page: it opens nothing else, and needs no header.
#[derive(SimpleObject)]
pub(super) struct DownloadLink {
    /// The URL. The server does not show it again. A path, if the setting `public_url` does not name the address of the server.
    pub(super) url: String,
    /// When it expires.
    pub(super) expires_at: DateTime,
}

/// The result of `createDownloadLink`.
#[derive(SimpleObject, Default)]
pub(super) struct CreateDownloadLinkPayload {
    /// The link; null if there are errors.
    pub(super) download_link: Option<DownloadLink>,
    /// Why no link was created; empty if there is one.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `createUploadToken`.
#[derive(SimpleObject, Default)]
pub(super) struct CreateUploadTokenPayload {
    /// The token; null if there are errors.
    pub(super) upload_token: Option<UploadToken>,
    /// Why no token was created; empty if there is one.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `createUploadSession`.
#[derive(SimpleObject, Default)]
pub(super) struct CreateUploadSessionPayload {
    /// The session; null if there are errors.
    pub(super) upload_session: Option<UploadSession>,
    /// Why no session was created; empty if there is one.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `finalizeUploadSession`.
#[derive(SimpleObject, Default)]
pub(super) struct FinalizeUploadSessionPayload {
    /// The session's current state, also if there are errors. Null if you have no session with this id.
    pub(super) upload_session: Option<UploadSession>,
    /// Why the session was not finalized; empty if it was.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `abortUploadSession`.
#[derive(SimpleObject, Default)]
pub(super) struct AbortUploadSessionPayload {
    /// The session's current state, also if there are errors. Null if you have no session with this id.
    pub(super) upload_session: Option<UploadSession>,
    /// Why the session was not aborted; empty if it was.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `computeFileSha256`.
#[derive(SimpleObject, Default)]
pub(super) struct ComputeFileSha256Payload {
    /// The record of the file, with its digests; null if there are errors.
    pub(super) upload_file: Option<UploadFile>,
    /// Why the SHA-256 was not computed; empty if it is known.
    pub(super) user_errors: Vec<UserError>,
}

/// The result of `deleteFile`.
#[derive(SimpleObject, Default)]
pub(super) struct DeleteFilePayload {
    /// The record of the deleted file; null if there are errors, or the record is damaged.
    pub(super) upload_file: Option<UploadFile>,
    /// Why no file was deleted; empty if it was.
    pub(super) user_errors: Vec<UserError>,
}

/// An error that the caller can correct.
#[derive(SimpleObject)]
pub(super) struct UserError {
    /// A stable code.
    pub(super) code: UserErrorCode,
    /// The path of the wrong input field; null if the error is not about one field.
    pub(super) field: Option<Vec<String>>,
    /// What is wrong, for people to read.
    pub(super) message: String,
}

/// The codes of the errors that the caller can correct. REST has the same codes.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum UserErrorCode {
    /// You have no session, or no stored file, with this id.
    NotFound,
    /// The input is malformed; `field` says where.
    InvalidInput,
    /// The file is larger than this server accepts.
    TooLarge,
    /// The idempotency key was used before, with other input.
    IdempotencyKeyReused,
    /// The bytes do not have the declared digest.
    ChecksumMismatch,
    /// Parts have not arrived; `uploadSession { missingParts }` says which.
    PartsMissing,
    /// The session has ended.
    SessionClosed,
    /// You have too many sessions open at once.
    RateLimited,
    /// The file does not fit into what you may use; `viewer { bytesUsed bytesLimit }` shows how much that is.
    QuotaExceeded,
}

/// Converts an error that the user can correct. Returns any other as an error of the response.
pub(super) fn user_error(error: Error) -> Result<UserError, ApiError> {
    let code = match error.code() {
        Code::NotFound => UserErrorCode::NotFound,
        Code::InvalidInput => UserErrorCode::InvalidInput,
        Code::TooLarge => UserErrorCode::TooLarge,
        Code::IdempotencyKeyReused => UserErrorCode::IdempotencyKeyReused,
        Code::ChecksumMismatch => UserErrorCode::ChecksumMismatch,
        Code::PartsMissing => UserErrorCode::PartsMissing,
        Code::SessionClosed => UserErrorCode::SessionClosed,
        Code::RateLimited => UserErrorCode::RateLimited,
        Code::QuotaExceeded => UserErrorCode::QuotaExceeded,
        _ => return Err(error.into()),
    };
    let field = error.field().map(|field| vec!["input".to_owned(), camel_case(field)]);
    Ok(UserError { code, field, message: error.message().to_owned() })
}

fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, tail) = word.split_at(1.min(word.len()));
        name + &head.to_uppercase() + tail
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_errors_use_the_field_names_of_the_schema() {
        assert_eq!(camel_case("total_size_bytes"), "totalSizeBytes");
        assert_eq!(camel_case("sha256"), "sha256");
    }
}
