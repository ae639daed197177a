//! The mutations.
//!
//! Owns which use case each calls. A payload has `userErrors` for the errors that a user can correct; all others are errors of
//! the response.

mod inputs;
mod payloads;

use std::sync::Arc;

use async_graphql::{Context, ID, Object};

use self::{
    inputs::{
        AbortUploadSessionInput, ComputeFileSha256Input, CreateDownloadLinkInput, CreateUploadSessionInput,
        CreateUploadTokenInput, DeleteFileInput, FinalizeUploadSessionInput,
    },
    payloads::{
        AbortUploadSessionPayload, ComputeFileSha256Payload, CreateDownloadLinkPayload, CreateUploadSessionPayload,
        CreateUploadTokenPayload, DeleteFilePayload, DownloadLink, FinalizeUploadSessionPayload, UploadToken,
        UserError, UserErrorCode, user_error,
    },
};
use super::{
    errors::ApiError,
    objects::{UploadFile, UploadSession},
    scalars::DateTime,
    scope::Scope,
};
use crate::{
    domain::{FileId, SessionId, Upload},
    error::Error,
    http::{PublicUrl, content_link},
    service::{CreateSession, DigestFields},
};

/// Changes to your sessions. The bytes of parts go over REST: `PUT /uploads/sessions/{id}/parts/{n}`.
pub(crate) struct Mutation;

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
            crc64nvme: input.crc64nvme,
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
                    crc64nvme: input.crc64nvme.as_deref(),
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

    /// Create a token for a page or a device that may only send the bytes of this session.
    async fn create_upload_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session, and how long the token is valid.")] input: CreateUploadTokenInput,
    ) -> Result<CreateUploadTokenPayload, ApiError> {
        let scope = Scope::of(ctx);
        let created = match find_id(&input.id) {
            Ok(id) => scope.service.create_upload_token(&scope.principal, id, input.expires_in.as_deref()).await,
            Err(error) => Err(error),
        };
        Ok(match created {
            Ok(created) => CreateUploadTokenPayload {
                upload_token: Some(UploadToken {
                    token: created.token.reveal().to_owned(),
                    upload_url: ctx.data_unchecked::<PublicUrl>().of(&format!("/uploads/tus/{}", input.id.as_str())),
                    expires_at: DateTime(created.expires_at),
                }),
                user_errors: Vec::new(),
            },
            Err(error) => CreateUploadTokenPayload { upload_token: None, user_errors: vec![user_error(error)?] },
        })
    }

    /// Create a link to the content of a stored file, for a page that cannot send a header with it.
    async fn create_download_link(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file, and how long the link is valid.")] input: CreateDownloadLinkInput,
    ) -> Result<CreateDownloadLinkPayload, ApiError> {
        let scope = Scope::of(ctx);
        let created = match input.id.parse() {
            Ok(SessionId(id)) => {
                let created =
                    scope.service.create_download_link(&scope.principal, FileId(id), input.expires_in.as_deref());
                created.await.map(|link| (content_link(FileId(id), &link.token), link.expires_at))
            }
            Err(_) => Err(Error::not_found("file")),
        };
        Ok(match created {
            Ok((path, expires_at)) => CreateDownloadLinkPayload {
                download_link: Some(DownloadLink {
                    url: ctx.data_unchecked::<PublicUrl>().of(&path),
                    expires_at: DateTime(expires_at),
                }),
                user_errors: Vec::new(),
            },
            Err(error) => CreateDownloadLinkPayload { download_link: None, user_errors: vec![user_error(error)?] },
        })
    }

    /// Compute the SHA-256 of a stored file, unless it is known. The server reads the file once, which may take a while.
    async fn compute_file_sha256(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file.")] input: ComputeFileSha256Input,
    ) -> Result<ComputeFileSha256Payload, ApiError> {
        let scope = Scope::of(ctx);
        let computed = match input.id.parse() {
            Ok(SessionId(id)) => scope.service.digest_file(&scope.principal, FileId(id)).await,
            Err(_) => Err(Error::not_found("file")),
        };
        Ok(match computed {
            Ok(file) => ComputeFileSha256Payload {
                upload_file: Some(UploadFile::new(Arc::new(file), &scope.budget)),
                user_errors: Vec::new(),
            },
            Err(error) => ComputeFileSha256Payload { upload_file: None, user_errors: vec![user_error(error)?] },
        })
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
