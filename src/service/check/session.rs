//! The check of one session.
//!
//! Owns the rules for each status of a session: what counts as damage, what counts as unfinished work, and the repairs.

use std::collections::HashSet;

use super::{Check, DONE, RESTORE_ROWS};
use crate::{
    db::CheckedUpload,
    domain::{FileId, Principal, Session, SessionId, SessionStatus, StatusReason},
    service::DigestFields,
    storage,
};

const FAIL_LOST: &str = "the server fails the session with `bytes_lost` at the next check of its bytes; --repair does \
                         it now; the client must start a new upload";
const FAILED_LOST: &str = "the session has failed with `bytes_lost`; the client must start a new upload";
const FINALIZE: &str = "a finalize was interrupted; the next finalize completes it; --repair does it now";
const SWEEP: &str = "the next sweep of a running server frees the bytes; --repair does it now";
const NOT_SWEPT: &str = "no sweep finds them; --repair frees them";
const OLDER: &str = "the database is older than the storage: restore a newer database. If a client sends a part now, \
                     the session fails but the file stays";
const UNREACHABLE: &str = "its session has failed, so no client can read it: restore a database in which the file is \
                           stored, or remove it by hand";
const CHECK_AGAIN: &str = "run the check again";

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
            SessionStatus::Complete => self.complete(&checked, in_uploading, in_stored).await,
            SessionStatus::Init | SessionStatus::InProgress => self.open(&checked, in_uploading, in_stored).await,
            SessionStatus::Failed | SessionStatus::Aborted => self.ended(&checked, in_uploading, in_stored).await,
        }
        Some(file_id)
    }

    async fn complete(&mut self, checked: &CheckedUpload, in_uploading: bool, in_stored: bool) {
        if checked.upload.session.file_deleted {
            return self.freed(checked, in_uploading || in_stored).await;
        }
        if in_uploading {
            self.left(&checked.upload.session, false, SWEEP).await;
        }
        if self.stored_file(&checked.upload.file).await && self.options.on_read.is_some() {
            self.compare_stored(&checked.upload.session, &checked.upload.file).await;
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
                let owner = Principal::of_owner(session.owner.clone());
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
            Ok(()) if reads => self.compare_open(session).await,
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
        let session = &checked.upload.session;
        let is_kept = in_stored && session.status_reason == Some(StatusReason::BytesLost);
        self.freed(checked, in_uploading || (in_stored && !is_kept)).await;
        if is_kept {
            self.report.problem(format!("stored/{}: the file is complete", session.file_id), UNREACHABLE);
        }
    }

    /// Checks that the bytes of a session without a file are freed.
    async fn freed(&mut self, checked: &CheckedUpload, is_listed: bool) {
        if !checked.is_freed {
            self.left(&checked.upload.session, false, SWEEP).await;
        } else if is_listed {
            self.listed_but_freed.push(checked.upload.session.clone());
        }
    }

    /// Reports or frees the bytes that the storage still lists although they were freed: a request that was interrupted has moved
    /// them afterwards.
    pub(super) async fn still_listed(&mut self, (uploads, stored): &(HashSet<SessionId>, HashSet<FileId>)) {
        for session in std::mem::take(&mut self.listed_but_freed) {
            let is_stored = stored.contains(&session.file_id);
            if is_stored || uploads.contains(&session.id) {
                self.left(&session, true, if is_stored { NOT_SWEPT } else { SWEEP }).await;
            }
        }
    }

    /// Reports or frees the remaining bytes of a session that has ended.
    async fn left(&mut self, session: &Session, is_freed: bool, advice: &'static str) {
        let of = if session.file_deleted {
            "its file was deleted".to_owned()
        } else {
            format!("it is {}", session.status.as_str())
        };
        let what = format!("session {}: {of}, and its bytes are not freed", session.id);
        if !self.options.repairs {
            return self.report.unfinished(what, advice);
        }
        let freed = match session.status {
            SessionStatus::Complete if !session.file_deleted => {
                self.service.storage.discard_parts(session).await.map_err(Into::into)
            }
            // A node may still send the file.
            SessionStatus::Complete if !is_freed => {
                match self.service.lease_and_free(session.clone(), self.service.clock.now()).await {
                    true => Ok(()),
                    false => return self.report.unfinished(what, advice),
                }
            }
            _ => self.service.free(session).await,
        };
        match freed {
            Ok(()) => self.report.repaired(format!("{what}: freed now"), DONE),
            Err(error) => self.report.problem(format!("{what}: {}", error.with_causes()), advice),
        }
    }
}
