//! Finding the upload that was begun before.
//!
//! Owns the proof: the server is asked which of our sessions have this name and size, and a session is trusted only when
//! every part that it has received has the digest of the same part of the local file. No note is kept on this side, so
//! it works from another folder or another machine.

use super::{
    api::Client,
    bodies::SessionBody,
    local_file::LocalFile,
    upload::{Event, UploadError},
};
use crate::domain::{MIB, Part, PartPlan, Sha256Digest};

/// Finished uploads of the same name and size that are compared, newest first.
const MAX_FINISHED: u8 = 3;
/// Uploads of the same name and size that are under way and are compared, newest first.
const MAX_OPEN: u8 = 100;

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// An open session for this very file.
    Open(Box<SessionBody>),
    /// The file was uploaded and finalized before.
    Finished(Box<SessionBody>),
    /// Nothing.
    Nothing,
}

/// Looks for an upload of this file: a session whose received parts, at least one, are all this file's. A session without
/// parts is found by its key, when one is created.
pub(super) async fn find(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Found, UploadError> {
    for session in client.sessions_for(&file.name, file.size_bytes, "IN_PROGRESS", MAX_OPEN).await? {
        if first_difference(client, file, &session, on).await?.is_none() {
            return Ok(Found::Open(Box::new(session)));
        }
    }
    finished(client, file, on).await
}

/// Whether a session that was found by its key is for this file.
pub(super) async fn examine(
    client: &Client,
    file: &LocalFile,
    session: SessionBody,
    on: &dyn Fn(Event),
) -> Result<Found, UploadError> {
    let found = match session.status.as_str() {
        "INIT" => return Ok(Found::Open(Box::new(session))),
        "IN_PROGRESS" => Found::Open,
        "COMPLETE" => Found::Finished,
        _ => return Ok(Found::Nothing),
    };
    let is_this = first_difference(client, file, &session, on).await?.is_none() && has_bytes(client, &session).await?;
    Ok(if is_this { found(Box::new(session)) } else { Found::Nothing })
}

/// The idempotency key under which uploaders of the same file, on whatever host, meet in one session: a digest of what the
/// session is created from and of the file's first, middle and last MiB. Files that differ elsewhere alone meet too; the
/// digests of their parts tell them apart.
pub(super) async fn content_key(file: &LocalFile) -> Result<String, UploadError> {
    let sample = file.size_bytes.min(MIB);
    let mut text = format!("{:?}", (&file.name, &file.content_type, file.size_bytes, &file.metadata));
    for offset_bytes in [0, (file.size_bytes - sample) / 2, file.size_bytes - sample] {
        let part = Part { number: 1, offset_bytes, size_bytes: sample };
        text += &file.sha256(part).await?.to_string();
    }
    Ok(format!("partway-upload-{}", Sha256Digest::of(text.as_bytes())))
}

/// An upload whose last answer was lost has nothing left to send.
async fn finished(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Found, UploadError> {
    for session in client.sessions_for(&file.name, file.size_bytes, "COMPLETE", MAX_FINISHED).await? {
        if first_difference(client, file, &session, on).await?.is_none() && has_bytes(client, &session).await? {
            return Ok(Found::Finished(Box::new(session)));
        }
    }
    Ok(Found::Nothing)
}

/// The record of a stored file outlives its bytes, if the server loses them.
async fn has_bytes(client: &Client, session: &SessionBody) -> Result<bool, UploadError> {
    Ok(session.status != "COMPLETE" || client.has_content(&session.file.file_id).await?)
}

/// The first received part that the local file does not have.
async fn first_difference(
    client: &Client,
    file: &LocalFile,
    session: &SessionBody,
    on: &dyn Fn(Event),
) -> Result<Option<u32>, UploadError> {
    let plan = plan(session)?;
    on(Event::Comparing { bytes: session.bytes_received });
    let mut after = Some(0);
    while let Some(start) = after {
        let (parts, next) = client.parts(&session.session_id, start).await?;
        for received in parts {
            let number = received.part_number;
            let part = plan.part(number).ok_or(UploadError::Confused)?;
            let theirs: Sha256Digest = received.sha256.parse().map_err(|_| UploadError::Confused)?;
            if file.sha256(part).await? != theirs {
                return Ok(Some(number));
            }
            on(Event::Compared { bytes: part.size_bytes });
        }
        after = next;
    }
    Ok(None)
}

/// How the server cut the file.
pub(super) fn plan(session: &SessionBody) -> Result<PartPlan, UploadError> {
    let plan = PartPlan::new(session.total_size_bytes, session.chunk_size_bytes).map_err(|_| UploadError::Confused)?;
    if plan.total_parts() == session.total_parts { Ok(plan) } else { Err(UploadError::Confused) }
}
