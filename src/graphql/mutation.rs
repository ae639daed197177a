//! The mutations: one `input` each, and a payload that says what the user can mend.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    errors::ApiError,
    objects::UploadSession,
    scalars::{BigInt, JsonObject},
};
use crate::{
    domain::{Principal, SessionId, parse_id},
    error::{Code, Error},
    service::{CreateSession, ExpectedDigests, Service, SessionView},
};

/// What can be changed. Bytes do not come this way: send them with `PUT /uploads/sessions/{id}/parts/{n}`.
pub(crate) struct Mutation;

/// What to create a session for.
#[derive(InputObject)]
struct CreateUploadSessionInput {
    /// The file's name on your side: 1 to 1,024 bytes, no control characters.
    original_filename: String,
    /// Its media type; `application/octet-stream` if left out.
    content_type: Option<String>,
    /// Its exact size in bytes.
    total_size_bytes: BigInt,
    /// Its SHA-256 in hex, if you know it: the session fails when the bytes turn out to be others.
    sha256: Option<String>,
    /// Anything to be found with the file again.
    metadata: Option<JsonObject>,
    /// Your name for this request, unique among yours: repeating the request with it answers the same session.
    idempotency_key: Option<String>,
}

/// Which session to finalize.
#[derive(InputObject)]
struct FinalizeUploadSessionInput {
    /// The session's id.
    id: ID,
    /// The file's SHA-256 in hex, if you know it: if the bytes turn out to be others, the session stays open.
    sha256: Option<String>,
    /// The SHA-256 over the SHA-256 digests of the parts that you have sent, in hex: if other parts have arrived, the session
    /// stays open.
    composite_sha256: Option<String>,
}

/// Which session to abort.
#[derive(InputObject)]
struct AbortUploadSessionInput {
    /// The session's id.
    id: ID,
}

/// What came of creating a session.
#[derive(SimpleObject, Default)]
struct CreateUploadSessionPayload {
    /// The session; null if there are errors.
    upload_session: Option<UploadSession>,
    /// What is wrong with the input.
    user_errors: Vec<UserError>,
}

/// What came of finalizing a session.
#[derive(SimpleObject, Default)]
struct FinalizeUploadSessionPayload {
    /// The session as it is now, also if there are errors; null if there is none.
    upload_session: Option<UploadSession>,
    /// Why it is not finalized.
    user_errors: Vec<UserError>,
}

/// What came of aborting a session.
#[derive(SimpleObject, Default)]
struct AbortUploadSessionPayload {
    /// The session as it is now, also if there are errors; null if there is none.
    upload_session: Option<UploadSession>,
    /// Why it is not aborted.
    user_errors: Vec<UserError>,
}

/// Something that the user can mend.
#[derive(SimpleObject)]
struct UserError {
    /// A stable code.
    code: UserErrorCode,
    /// The path of the input field that is wrong, if it is one.
    field: Option<Vec<String>>,
    /// What is wrong, in words.
    message: String,
}

/// What a user can mend; the same codes as in REST.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum UserErrorCode {
    /// There is no such thing for you.
    NotFound,
    /// The input is malformed; `field` says where.
    InvalidInput,
    /// The file is larger than this server takes.
    TooLarge,
    /// The idempotency key was used before, with other input.
    IdempotencyKeyReused,
    /// The bytes do not have the digest that was declared.
    ChecksumMismatch,
    /// Parts have not arrived; `uploadSession { missingParts }` says which.
    PartsMissing,
    /// The session has ended.
    SessionClosed,
    /// You have too many sessions open at once.
    RateLimited,
}

/// The error, if it is one that the user can mend; otherwise it is given back.
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

/// A session after a use case, or why there was none.
type Outcome = (Option<UploadSession>, Vec<UserError>);

/// What became of a use case on a session: its view, or the session as it is together with what is wrong.
async fn outcome(
    ctx: &Context<'_>,
    id: Option<SessionId>,
    result: Result<Option<SessionView>, Error>,
) -> Result<Outcome, ApiError> {
    let error = match result {
        Ok(view) => return Ok((view.map(Into::into), Vec::new())),
        Err(error) => user_error(error)?,
    };
    let (service, principal) = (ctx.data_unchecked::<Arc<Service>>(), ctx.data_unchecked::<Principal>());
    let session = match id.filter(|_| error.code != UserErrorCode::NotFound) {
        Some(id) => Some(service.status(principal, id).await?.into()),
        None => None,
    };
    Ok((session, vec![error]))
}

fn find_id(id: &ID) -> Result<SessionId, Error> {
    parse_id(id.as_str()).map(SessionId).ok_or_else(|| Error::not_found("session"))
}

/// What can be changed. Bytes do not come this way: send them with `PUT /uploads/sessions/{id}/parts/{n}`.
#[Object]
impl Mutation {
    /// Create a session for a file, or find the one that the same idempotency key created before.
    async fn create_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to create it for.")] input: CreateUploadSessionInput,
    ) -> Result<CreateUploadSessionPayload, ApiError> {
        let request = CreateSession {
            original_filename: input.original_filename,
            content_type: input.content_type,
            total_size_bytes: i64::try_from(input.total_size_bytes.0).unwrap_or(i64::MAX),
            sha256: input.sha256,
            metadata: input.metadata.map(|metadata| metadata.0),
            idempotency_key: input.idempotency_key,
        };
        let created = ctx.data_unchecked::<Arc<Service>>().create(ctx.data_unchecked(), request).await;
        let (upload_session, user_errors) = outcome(ctx, None, created.map(|creation| Some(creation.view))).await?;
        Ok(CreateUploadSessionPayload { upload_session, user_errors })
    }

    /// Make a session whose parts have all arrived a stored file. Again on the same session: the same answer.
    async fn finalize_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which session.")] input: FinalizeUploadSessionInput,
    ) -> Result<FinalizeUploadSessionPayload, ApiError> {
        let service = ctx.data_unchecked::<Arc<Service>>();
        let id = find_id(&input.id);
        let known = id.as_ref().ok().copied();
        let result = match id {
            Ok(id) => {
                let expected = ExpectedDigests {
                    sha256: input.sha256.as_deref(),
                    composite_sha256: input.composite_sha256.as_deref(),
                };
                service.finalize(ctx.data_unchecked(), id, expected, |_| true).await.map(Some)
            }
            Err(error) => Err(error),
        };
        let (upload_session, user_errors) = outcome(ctx, known, result).await?;
        Ok(FinalizeUploadSessionPayload { upload_session, user_errors })
    }

    /// Abort a session and free its bytes. Again on the same session: nothing more happens.
    async fn abort_upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which session.")] input: AbortUploadSessionInput,
    ) -> Result<AbortUploadSessionPayload, ApiError> {
        let service = ctx.data_unchecked::<Arc<Service>>();
        let id = find_id(&input.id);
        let known = id.as_ref().ok().copied();
        let result = match id {
            Ok(id) => service.abort(ctx.data_unchecked(), id, |_| true).await,
            Err(error) => Err(error),
        };
        let (upload_session, user_errors) = outcome(ctx, known, result).await?;
        Ok(AbortUploadSessionPayload { upload_session, user_errors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_schema_names_them() {
        assert_eq!(camel_case("total_size_bytes"), "totalSizeBytes");
        assert_eq!(camel_case("sha256"), "sha256");
    }
}
