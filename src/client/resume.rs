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
use crate::domain::{PartPlan, Sha256Digest};

/// Finished uploads of the same name and size that are compared, newest first.
const MAX_FINISHED: usize = 3;

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

/// Looks for an upload of this file.
///
/// # Errors
/// `DifferentFile` if there is one of the same name and size that was begun with other bytes, and none with these.
pub(super) async fn find(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Found, UploadError> {
    let mut untouched = None;
    let mut different = None;
    for session in candidates(client, file, "IN_PROGRESS").await? {
        match first_difference(client, file, &session, on).await? {
            None => return Ok(Found::Open(Box::new(session))),
            Some(part) => different = different.or(Some((session.session_id, part))),
        }
    }
    if let Some(session) = candidates(client, file, "INIT").await?.into_iter().next() {
        untouched = Some(session);
    }
    match (untouched, different) {
        // Nothing has arrived yet, so there is nothing to be trusted.
        (Some(session), _) => Ok(Found::Open(Box::new(session))),
        (None, Some((session_id, part))) => Err(UploadError::DifferentFile { session_id, part }),
        (None, None) => finished(client, file, on).await,
    }
}

/// An upload whose last answer was lost has nothing left to send.
async fn finished(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Found, UploadError> {
    for session in candidates(client, file, "COMPLETE").await?.into_iter().take(MAX_FINISHED) {
        if first_difference(client, file, &session, on).await?.is_none() {
            return Ok(Found::Finished(Box::new(session)));
        }
    }
    Ok(Found::Nothing)
}

async fn candidates(client: &Client, file: &LocalFile, status: &str) -> Result<Vec<SessionBody>, UploadError> {
    let mut sessions = client.sessions(status).await?;
    sessions
        .retain(|session| session.file.original_filename == file.name && session.total_size_bytes == file.size_bytes);
    Ok(sessions)
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
