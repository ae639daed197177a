//! The search for an earlier upload of the same file.
//!
//! Owns the comparison of a session with the local file. The client asks the server for its sessions with this name and
//! size. It resumes a session only if every received part has the digest of the same part of the local file. The client
//! keeps no state of its own, so an upload can resume from another folder or another machine. Does not send parts.

use super::{
    api::Client, bodies::SessionBody, event::Event, local_file::LocalFile, session_upload::PartDigests,
    upload_error::UploadError,
};
use crate::domain::{MIB, Part, PartPlan, Sha256Digest};

/// How many finished uploads with the same name and size the client compares, newest first.
const MAX_FINISHED: u8 = 3;
/// How many uploads with the same name and size the client lists, newest first. It compares all open ones. If more files in
/// other folders have this name and size, the idempotency key still finds the session of this one.
const MAX_LISTED: u8 = 100;

/// The result of the search.
#[derive(Debug)]
pub(super) enum Resumable {
    /// An open session for this file, and the digests of the parts of the local file that were compared.
    Open(Box<SessionBody>, PartDigests),
    /// A finished upload of this file.
    Finished(Box<SessionBody>),
    /// No upload of this file.
    Nothing,
}

/// Looks for an upload of this file: a session with at least one received part, whose received parts all match this file.
/// Does not find a session without parts: the server returns that one for its idempotency key, when the client creates a
/// session.
pub(super) async fn find(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Resumable, UploadError> {
    let open = client.sessions_for(&file.name, file.size_bytes, "IN_PROGRESS", MAX_LISTED).await?;
    for session in open.into_iter().filter(|session| has_path_of(file, session)) {
        if let Some(same) = same_parts(client, file, &session, on).await? {
            return Ok(Resumable::Open(Box::new(session), same));
        }
    }
    find_finished(client, file, on).await
}

/// Whether a session that the server returned for the idempotency key is for this file.
pub(super) async fn examine(
    client: &Client,
    file: &LocalFile,
    session: SessionBody,
    on: &dyn Fn(Event),
) -> Result<Resumable, UploadError> {
    Ok(match session.status.as_str() {
        "INIT" => Resumable::Open(Box::new(session), PartDigests::new()),
        "IN_PROGRESS" => match same_parts(client, file, &session, on).await? {
            Some(same) => Resumable::Open(Box::new(session), same),
            None => Resumable::Nothing,
        },
        "COMPLETE" if has_stored(client, file, &session, on).await? => Resumable::Finished(Box::new(session)),
        _ => Resumable::Nothing,
    })
}

/// The idempotency key for this file: a digest of the fields that the session is created with, and of the first, middle
/// and last MiB of the file. Uploaders of the same file on different hosts get the same key, and so the same session. Files
/// that differ only elsewhere also get the same key; the digests of their parts tell them apart.
pub(super) async fn content_key(file: &LocalFile) -> Result<String, UploadError> {
    let sample = file.size_bytes.min(MIB);
    let mut text = format!("{:?}", (&file.name, &file.content_type, file.size_bytes, &file.metadata));
    for offset_bytes in [0, (file.size_bytes - sample) / 2, file.size_bytes - sample] {
        let part = Part { number: 1, offset_bytes, size_bytes: sample };
        text += &file.digests(part).await?.sha256.to_string();
    }
    Ok(format!("partway-upload-{}", Sha256Digest::of(text.as_bytes())))
}

/// Whether the session may be for this file, as far as paths tell: a file in a folder has its own session even if a file in
/// another folder has the same name and the same bytes.
fn has_path_of(file: &LocalFile, session: &SessionBody) -> bool {
    file.path().is_none_or(|path| session.file.metadata.path().as_deref() == Some(path))
}

/// Looks for a finished upload. The file may have one if the last response was lost.
async fn find_finished(client: &Client, file: &LocalFile, on: &dyn Fn(Event)) -> Result<Resumable, UploadError> {
    // Files of other folders are left out only here, so the server must list more than are compared.
    let limit = if file.path().is_some() { MAX_LISTED } else { MAX_FINISHED };
    let finished = client.sessions_for(&file.name, file.size_bytes, "COMPLETE", limit).await?;
    let candidates = finished.into_iter().filter(|session| has_path_of(file, session));
    for session in candidates.take(usize::from(MAX_FINISHED)) {
        if has_stored(client, file, &session, on).await? {
            return Ok(Resumable::Finished(Box::new(session)));
        }
    }
    Ok(Resumable::Nothing)
}

/// Whether the file of a finished session is this file, and the server still has its bytes: it may have been deleted, or lost.
async fn has_stored(
    client: &Client,
    file: &LocalFile,
    session: &SessionBody,
    on: &dyn Fn(Event),
) -> Result<bool, UploadError> {
    let is_this = match same_parts(client, file, session, on).await {
        Err(UploadError::Client(error)) if error.code() == Some("PARTS_NOT_KEPT") => {
            has_same_digest(file, session, on).await?
        }
        same => same?.is_some(),
    };
    Ok(is_this && client.has_content(&session.file.file_id).await?)
}

/// Whether a finished session has the digest of the local file, after the server has removed the records of its parts. The
/// composite digest proves as much as they did; versions before it recorded the SHA-256 of the whole file.
async fn has_same_digest(file: &LocalFile, session: &SessionBody, on: &dyn Fn(Event)) -> Result<bool, UploadError> {
    let parse = |hex: &str| hex.parse::<Sha256Digest>().map_err(|_| UploadError::ProtocolMismatch);
    if let Some(composite) = &session.file.composite_sha256 {
        let plan = plan(session)?;
        let mut digests = Vec::new();
        for part in (1..=plan.total_parts()).filter_map(|number| plan.part(number)) {
            digests.push(file.digests(part).await?.sha256);
            on(Event::Compared { bytes: part.size_bytes });
        }
        return Ok(Sha256Digest::composite(digests) == parse(composite)?);
    }
    if let Some(sha256) = &session.file.sha256 {
        let whole = Part { number: 1, offset_bytes: 0, size_bytes: file.size_bytes };
        return Ok(file.digests(whole).await?.sha256 == parse(sha256)?);
    }
    on(Event::NotComparable { session: session.session_id.clone() });
    Ok(false)
}

/// The digests of the received parts, if all of them are the same in the local file.
async fn same_parts(
    client: &Client,
    file: &LocalFile,
    session: &SessionBody,
    on: &dyn Fn(Event),
) -> Result<Option<PartDigests>, UploadError> {
    let (plan, mut same) = (plan(session)?, PartDigests::new());
    on(Event::Comparing { bytes: session.bytes_received });
    let mut after = Some(0);
    while let Some(start) = after {
        let (parts, next) = client.parts(&session.session_id, start).await?;
        for received in parts {
            let number = received.part_number;
            let part = plan.part(number).ok_or(UploadError::ProtocolMismatch)?;
            let server_digest: Sha256Digest = received.sha256.parse().map_err(|_| UploadError::ProtocolMismatch)?;
            let digests = file.digests(part).await?;
            if digests.sha256 != server_digest {
                return Ok(None);
            }
            same.insert(number, digests);
            on(Event::Compared { bytes: part.size_bytes });
        }
        after = next;
    }
    Ok(Some(same))
}

/// The part plan of a session.
pub(super) fn plan(session: &SessionBody) -> Result<PartPlan, UploadError> {
    let plan =
        PartPlan::new(session.total_size_bytes, session.chunk_size_bytes).map_err(|_| UploadError::ProtocolMismatch)?;
    if plan.total_parts() == session.total_parts { Ok(plan) } else { Err(UploadError::ProtocolMismatch) }
}
