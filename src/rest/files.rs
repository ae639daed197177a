//! `GET /files`, `/files/{id}` and `/files/{id}/sha256`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    bodies::{FilesBody, FilesParams, parse_file_status},
    extract::{FilePath, Query},
    paging::page,
    representation,
};
use crate::{
    domain::{FileRecord, UploadQuery},
    http::{Caller, FileRecordBody, Preconditions, Problem, openapi},
    service::Service,
};

/// List files
///
/// The records of your files, newest first: those that are uploading, the stored ones, and those without content.
#[utoipa::path(
    get, path = "/files", operation_id = "listFiles", tag = "files",
    params(FilesParams),
    responses((status = 200, description = "A page of files.", body = FilesBody)),
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    Query(params): Query<FilesParams>,
) -> Result<Json<FilesBody>, Problem> {
    let query = UploadQuery {
        file_status: parse_file_status(params.status.as_deref())?,
        original_filename: params.original_filename,
        ..page(params.limit, params.after.as_deref())?
    };
    Ok(Json(service.list_files(&principal, query).await?.into()))
}

/// Show a file
///
/// Its record, which remains when the file is deleted.
#[utoipa::path(
    get, path = "/files/{id}", operation_id = "getFile", tag = "files",
    params(FilePath, openapi::ReadConditions),
    responses(
        (status = 200, description = "The record.", body = FileRecordBody,
            headers(("ETag"), ("Last-Modified"), ("Cache-Control"))),
        (status = 304, description = "You have this state.", headers(("ETag"), ("Cache-Control"))),
    ),
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
    conditions: Preconditions,
) -> Result<Response, Problem> {
    let file = service.file(&principal, id).await?;
    let (modified, body) = (file.updated_at, FileRecordBody::from(file));
    Ok(representation::answer(&conditions, &representation::of_json(&body, modified)?, Json(body))?)
}

/// Compute the SHA-256 of a file
///
/// Reads a stored file once, if its SHA-256 is not known yet, and answers with its record. For a large file this takes a while. If the
/// request breaks off, repeat it: the server goes on meanwhile.
#[utoipa::path(
    post, path = "/files/{id}/sha256", operation_id = "computeFileSha256", tag = "files",
    params(FilePath),
    responses((status = 200, description = "The record, with the SHA-256.", body = FileRecordBody,
        headers(("ETag"), ("Last-Modified"), ("Cache-Control")))),
)]
pub(super) async fn compute_sha256(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
) -> Result<Response, Problem> {
    let file = service.digest_file(&principal, id).await?;
    let (modified, body) = (file.updated_at, FileRecordBody::from(file));
    Ok((representation::headers(&representation::of_json(&body, modified)?), Json(body)).into_response())
}

/// Delete a file
///
/// Frees the bytes of a stored file. The record remains. Repeated, it changes nothing.
#[utoipa::path(
    delete, path = "/files/{id}", operation_id = "deleteFile", tag = "files",
    params(FilePath, openapi::ChangeConditions),
    responses((status = 204, description = "The file is deleted.")),
)]
pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Caller(principal): Caller,
    FilePath(id): FilePath,
    conditions: Preconditions,
) -> Result<StatusCode, Problem> {
    service.delete_file(&principal, id, state_check(conditions)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A check of the conditions, which the service runs on the file's record inside its transaction.
fn state_check(conditions: Preconditions) -> impl Fn(&FileRecord) -> bool + Send + Sync + 'static {
    move |file| {
        let current = || representation::of_json(&FileRecordBody::from(file.clone()), file.updated_at);
        conditions.is_empty() || current().is_ok_and(|current| conditions.permit(Some(&current)))
    }
}
