//! The mutations.
//!
//! Owns their inputs and payloads. A payload has `userErrors` for the errors that a user can correct; all others are errors
//! of the response.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    errors::ApiError,
    objects::{UploadFile, UploadSession},
    scalars::{BigInt, DateTime, JsonObject},
    scope::Scope,
};
use crate::{
    domain::{FileId, SessionId, Upload},
    error::{Code, Error},
    service::{CreateSession, DigestFields},
};

/// Changes to your sessions. The bytes of parts go over REST: `PUT /uploads/sessions/{id}/parts/{n}`.
pub(crate) struct Mutation;

/// The file to create a session for.
#[derive(InputObject)]
struct CreateUploadSessionInput {
    /// The file's name on your side: 1 to 1,024 bytes, no control characters.
    original_filename: String,
    /// Its media type; by default `application/octet-stream`.
    content_type: Option<String>,
    /// Its exact size in bytes.
    total_size_bytes: BigInt,
    /// Its SHA-256 in hex, if you know it. If the received bytes have another digest, the session fails.
    sha256: Option<String>,
    /// Your own data about the file. The server returns it with the file.
    metadata: Option<JsonObject>,
    /// Your own key for this request, different for every session. If you repeat the request with the same key and input,
    /// you get the same session.
    idempotency_key: Option<String>,
    /// Whether the server finalizes the session as soon as it has all bytes, without a call of `finalizeUploadSession`.
    #[graphql(default)]
    auto_finalize: bool,
    /// When the server deletes the stored file; in the future. By default, the settings of the server say how long it keeps
    /// the file.
    retain_until: Option<DateTime>,
}

/// Which session to finalize.
#[derive(InputObject)]
struct FinalizeUploadSessionInput {
    /// The session's id.
    id: ID,
    /// The file's SHA-256 in hex, if you know it. If the received bytes have another digest, the session stays open.
    sha256: Option<String>,
    /// The SHA-256 in hex over the SHA-256 digests of the parts of your file. If the session has other parts, it stays
    /// open.
    composite_sha256: Option<String>,
}

/// Which session to abort.
#[derive(InputObject)]
struct AbortUploadSessionInput {
    /// The session's id.
    id: ID,
}

/// Which file to delete.
#[derive(InputObject)]
struct DeleteFileInput {
    /// The file's id.
    id: ID,
}

/// The result of `createUploadSession`.
#[derive(SimpleObject, Default)]
struct CreateUploadSessionPayload {
    /// The session; null if there are errors.
    upload_session: Option<UploadSession>,
    /// Why no session was created; empty if there is one.
    user_errors: Vec<UserError>,
}

/// The result of `finalizeUploadSession`.
#[derive(SimpleObject, Default)]
struct FinalizeUploadSessionPayload {
    /// The session's current state, also if there are errors. Null if you have no session with this id.
    upload_session: Option<UploadSession>,
    /// Why the session was not finalized; empty if it was.
    user_errors: Vec<UserError>,
}

/// The result of `abortUploadSession`.
#[derive(SimpleObject, Default)]
struct AbortUploadSessionPayload {
    /// The session's current state, also if there are errors. Null if you have no session with this id.
    upload_session: Option<UploadSession>,
    /// Why the session was not aborted; empty if it was.
    user_errors: Vec<UserError>,
}

/// The result of `deleteFile`.
#[derive(SimpleObject, Default)]
struct DeleteFilePayload {
    /// The record of the deleted file; null if there are errors, or the record is damaged.
    upload_file: Option<UploadFile>,
    /// Why no file was deleted; empty if it was.
    user_errors: Vec<UserError>,
}

/// An error that the caller can correct.
#[derive(SimpleObject)]
struct UserError {
    /// A stable code.
    code: UserErrorCode,
    /// The path of the wrong input field; null if the error is not about one field.
    field: Option<Vec<String>>,
    /// What is wrong, for people to read.
    message: String,
}

/// The codes of the errors that the caller can correct. REST has the same codes.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum UserErrorCode {
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
fn user_error(error: Error) -> Result<UserError, ApiError> {
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

/// A payload's session and user errors.
type Outcome = (Option<UploadSession>, Vec<UserError>);

/// The payload for the result of a use case. After a user error it contains the current state of the session `id`.
async fn outcome(
    ctx: &Context<'_>,
    id: Option<SessionId>,
    result: Result<Option<Upload>, Error>,
) -> Result<Outcome, ApiError> {
    let scope = Scope::of(ctx);
    let session = |upload| UploadSession::with_file(upload, scope);
    let error = match result {
        Ok(upload) => return Ok((upload.map(session), Vec::new())),
        Err(error) => user_error(error)?,
    };
    let upload = match id.filter(|_| error.code != UserErrorCode::NotFound) {
        Some(id) => Some(scope.service.status(&scope.principal, id).await?),
        None => None,
    };
    Ok((upload.map(session), vec![error]))
}

fn find_id(id: &ID) -> Result<SessionId, Error> {
    id.parse().map_err(|_| Error::not_found("session"))
}

/// Changes to your sessions. The bytes of parts go over REST: `PUT /uploads/sessions/{id}/parts/{n}`.
#[Object]
impl Mutation {
    /// Create a session for a file. If the same idempotency key and input created a session before, return that session.
    async fn create_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file to create the session for.")] input: CreateUploadSessionInput,
    ) -> Result<CreateUploadSessionPayload, ApiError> {
        let request = CreateSession {
            original_filename: input.original_filename,
            content_type: input.content_type,
            total_size_bytes: i64::try_from(input.total_size_bytes.0).unwrap_or(i64::MAX),
            sha256: input.sha256,
            metadata: input.metadata.map(|metadata| metadata.0),
            idempotency_key: input.idempotency_key,
            auto_finalize: input.auto_finalize,
            upload_metadata: None,
            retain_until: input.retain_until.map(|time| time.0),
        };
        let scope = Scope::of(ctx);
        let created = scope.service.create(&scope.principal, request).await;
        let (upload_session, user_errors) = outcome(ctx, None, created.map(|creation| Some(creation.upload))).await?;
        Ok(CreateUploadSessionPayload { upload_session, user_errors })
    }

    /// Store the file of a session that has all its parts. Repeating it on the same session returns the same answer.
    async fn finalize_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session to finalize, and the digests to check.")] input: FinalizeUploadSessionInput,
    ) -> Result<FinalizeUploadSessionPayload, ApiError> {
        let scope = Scope::of(ctx);
        let id = find_id(&input.id);
        let parsed_id = id.as_ref().ok().copied();
        let result = match id {
            Ok(id) => {
                let expected = DigestFields {
                    sha256: input.sha256.as_deref(),
                    composite_sha256: input.composite_sha256.as_deref(),
                };
                scope.service.finalize(&scope.principal, id, expected, |_| true).await.map(Some)
            }
            Err(error) => Err(error),
        };
        let (upload_session, user_errors) = outcome(ctx, parsed_id, result).await?;
        Ok(FinalizeUploadSessionPayload { upload_session, user_errors })
    }

    /// Abort a session and free its bytes. Repeating it changes nothing.
    async fn abort_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session to abort.")] input: AbortUploadSessionInput,
    ) -> Result<AbortUploadSessionPayload, ApiError> {
        let scope = Scope::of(ctx);
        let id = find_id(&input.id);
        let parsed_id = id.as_ref().ok().copied();
        let result = match id {
            Ok(id) => scope.service.abort(&scope.principal, id, |_| true).await,
            Err(error) => Err(error),
        };
        let (upload_session, user_errors) = outcome(ctx, parsed_id, result).await?;
        Ok(AbortUploadSessionPayload { upload_session, user_errors })
    }

    /// Delete a stored file and free its bytes. Its record and its session remain. Repeating it changes nothing.
    async fn delete_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file to delete.")] input: DeleteFileInput,
    ) -> Result<DeleteFilePayload, ApiError> {
        let scope = Scope::of(ctx);
        let deleted = match input.id.parse() {
            Ok(SessionId(id)) => scope.service.delete_file(&scope.principal, FileId(id), |_| true).await,
            Err(_) => Err(Error::not_found("file")),
        };
        Ok(match deleted {
            Ok(file) => DeleteFilePayload {
                upload_file: file.map(|file| UploadFile::new(Arc::new(file), &scope.budget)),
                user_errors: Vec::new(),
            },
            Err(error) => DeleteFilePayload { upload_file: None, user_errors: vec![user_error(error)?] },
        })
    }
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
