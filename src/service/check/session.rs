//! The check of one session.
//!
//! Owns the rules for each status of a session: what counts as damage, what counts as unfinished work, and the repairs.

use super::{Check, RESTORE_ROWS};
use crate::{
    db::CheckedUpload,
    domain::{FileId, Principal, Session, SessionId, SessionStatus, StatusReason, Upload},
    service::DigestFields,
    storage,
};

const FAIL_LOST: &str = "the server fails the session with `bytes_lost` at the next check of its bytes; --repair does \
                         it now; the client must start a new upload";
const FAILED_LOST: &str = "the session has failed with `bytes_lost`; the client must start a new upload";
const FINALIZE: &str = "a finalize was interrupted; the next finalize completes it; --repair does it now";
const SWEEP: &str = "the next sweep of a running server frees the bytes; --repair does it now";
const OLDER: &str = "the database is older than the storage: restore a newer database. If a client sends a part now, \
                     the session fails but the file stays";
const UNREACHABLE: &str = "its session has failed, so no client can read it: restore a database in which the file is \
                           stored, or remove it by hand";
const CHECK_AGAIN: &str = "run the check again";
const DONE: &str = "nothing is left to do";

impl Check<'_> {
    /// Checks one session. Returns the id of its file if the session's rows are valid.
    pub(super) async fn session(&mut self, id: SessionId) -> Option<FileId> {
        let in_uploading = self.uploads.remove(&id);
        let checked = match self.service.db.check_session(id).await {
            Ok(Ok(checked)) => checked,
            Ok(Err(problem)) => {
                self.report.problem(format!("session {id}: {problem}"), RESTORE_ROWS);
                return None;
            }
            Err(error) => {
                self.report.problem(format!("session {id}: its rows cannot be read: {error}"), RESTORE_ROWS);
                return None;
            }
        };
        let file_id = checked.upload.session.file_id;
        let in_stored = self.stored.remove(&file_id);
        match checked.upload.session.status {
            SessionStatus::Complete => self.complete(&checked, in_uploading).await,
            SessionStatus::Init | SessionStatus::InProgress => self.open(&checked, in_uploading, in_stored).await,
            SessionStatus::Failed | SessionStatus::Aborted => self.ended(&checked, in_uploading, in_stored).await,
        }
        Some(file_id)
    }

    async fn complete(&mut self, checked: &CheckedUpload, in_uploading: bool) {
        if in_uploading {
            self.leftover(checked).await;
        }
        if self.stored_file(&checked.upload.file).await && self.options.on_read.is_some() {
            self.compare(&checked.upload.session, Some(&checked.upload.file)).await;
        }
    }

    async fn open(&mut self, checked: &CheckedUpload, in_uploading: bool, in_stored: bool) {
        let session = &checked.upload.session;
        if in_stored && !in_uploading {
            let what =
                format!("stored/{}: the file is complete, but its session {} is open", session.file_id, session.id);
            if !session.has_all_parts() {
                self.report.problem(format!("{what} and lacks parts"), OLDER);
            } else if self.options.repairs {
                // Repeats the client's finalize.
                let owner = Principal::acting_for(session.owner.clone());
                match self.service.finalize(&owner, session.id, DigestFields::default(), |_| true).await {
                    Ok(_) => self.report.repaired(format!("{what}: finalized"), DONE),
                    Err(error) => self.report.problem(format!("{what}: {}", error.with_causes()), FINALIZE),
                }
            } else {
                self.report.unfinished(what, FINALIZE);
            }
            return;
        }
        if !session.has_bytes() {
            return;
        }
        let reads = self.options.on_read.is_some();
        let mut checked_bytes = self.service.storage.check_upload(session).await;
        if checked_bytes.is_ok() && reads {
            checked_bytes = self.service.storage.check_tail(session).await;
        }
        match checked_bytes {
            Ok(()) if reads => self.compare(session, None).await,
            Ok(()) => {}
            Err(error @ storage::Error::Lost(_)) => self.lost(session, error).await,
            Err(error) => self.report.problem(format!("session {}: {error}", session.id), CHECK_AGAIN),
        }
    }

    /// Reports lost bytes, or fails the session. Reads the row again first: if a server is running, the session may have ended
    /// meanwhile, or an append may have replaced its tail.
    pub(super) async fn lost(&mut self, before: &Session, problem: storage::Error) {
        let id = before.id;
        let Ok(Ok(CheckedUpload { upload, .. })) = self.service.db.check_session(id).await else { return };
        let (session, is_same) = (upload.session, |now: &Session| now.tail == before.tail);
        if !session.status.is_open() || !is_same(&session) {
            return;
        }
        let what = format!("session {} of {}: {problem}", id, session.owner);
        if !self.options.repairs {
            return self.report.problem(what, FAIL_LOST);
        }
        match self.service.fail_lost(&session, &problem, is_same).await {
            Ok(Some(_)) => self.report.repaired(what, FAILED_LOST),
            // It has ended or changed since.
            Ok(None) => {}
            Err(error) => self.report.problem(format!("{what}: {}", error.with_causes()), FAIL_LOST),
        }
    }

    async fn ended(&mut self, checked: &CheckedUpload, in_uploading: bool, in_stored: bool) {
        let CheckedUpload { upload: Upload { session, .. }, is_freed } = checked;
        let is_kept = in_stored && session.status_reason == Some(StatusReason::BytesLost);
        if in_uploading || (in_stored && !is_kept) || !is_freed {
            self.leftover(checked).await;
        }
        if is_kept {
            self.report.problem(format!("stored/{}: the file is complete", session.file_id), UNREACHABLE);
        }
    }

    /// Reports or frees the remaining bytes of a session that has ended.
    async fn leftover(&mut self, checked: &CheckedUpload) {
        let session = &checked.upload.session;
        let what = format!("session {}: it is {}, and its bytes are not freed", session.id, session.status.as_str());
        if !self.options.repairs {
            return self.report.unfinished(what, SWEEP);
        }
        let freed = match session.status {
            SessionStatus::Complete => self.service.storage.discard_parts(session).await.map_err(Into::into),
            _ => self.service.free(session).await,
        };
        match freed {
            Ok(()) => self.report.repaired(format!("{what}: freed now"), DONE),
            Err(error) => self.report.problem(format!("{what}: {}", error.with_causes()), SWEEP),
        }
    }
}
