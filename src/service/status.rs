//! Status: which parts have arrived.
//!
//! Owns reading sessions, files and parts. A read takes no lock and writes nothing. The received set is a column of the
//! session's row, so a status costs the same for one part and for a million. Resources of another owner are not found.

use std::{collections::HashMap, hash::Hash};

use chrono::TimeDelta;

use super::Service;
use crate::{
    db,
    domain::{FileId, FileRecord, PartRecord, Principal, Session, SessionId, Upload},
    error::{Error, Result},
};

/// Maximum number of parts in one response.
pub(super) const MAX_PARTS_PAGE: u64 = 1_000;

impl Service {
    /// A session and its file, in one statement.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn status(&self, principal: &Principal, id: SessionId) -> Result<Upload> {
        self.db.upload(&principal.owner, id).await?.ok_or_else(|| Error::not_found("session"))
    }

    /// How long a session remains open if nothing arrives.
    pub fn time_left(&self, session: &Session) -> TimeDelta {
        session.expires_at - self.clock.now()
    }

    /// The version of a session. Cheaper than the session, and tells whether it has changed.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn version(&self, principal: &Principal, id: SessionId) -> Result<u64> {
        let found = self.db.session_version(&principal.owner, id).await?;
        found.ok_or_else(|| Error::not_found("session"))
    }

    /// The sessions with these ids that the caller owns, in one statement.
    pub async fn sessions(
        &self,
        principal: &Principal,
        ids: &[SessionId],
    ) -> Result<HashMap<SessionId, Result<Session>>> {
        Ok(each(self.db.sessions(&principal.owner, ids).await?))
    }

    /// The same sessions with their files, in one statement.
    pub async fn uploads(
        &self,
        principal: &Principal,
        ids: &[SessionId],
    ) -> Result<HashMap<SessionId, Result<Upload>>> {
        Ok(each(self.db.uploads(&principal.owner, ids).await?))
    }

    /// The files with these ids that the caller owns, in one statement.
    pub async fn files(&self, principal: &Principal, ids: &[FileId]) -> Result<HashMap<FileId, Result<FileRecord>>> {
        Ok(each(self.db.files(&principal.owner, ids).await?))
    }

    /// A file's record.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file.
    pub async fn file(&self, principal: &Principal, id: FileId) -> Result<FileRecord> {
        let mut found = self.db.files(&principal.owner, &[id]).await?;
        Ok(found.remove(&id).ok_or_else(|| Error::not_found("file"))??)
    }

    /// One received part.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session, or the part has not arrived.
    pub async fn part(&self, principal: &Principal, id: SessionId, number: u32) -> Result<PartRecord> {
        self.find_part(principal, id, number).await?.ok_or_else(|| Error::not_found("part"))
    }

    /// One part, if it has arrived.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn find_part(&self, principal: &Principal, id: SessionId, number: u32) -> Result<Option<PartRecord>> {
        let session = self.own_session(principal, id).await?;
        Ok(self.db.part(&session, number).await?)
    }

    /// Up to `limit` received parts with numbers above `after`, ascending, and whether there are more.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn parts(
        &self,
        principal: &Principal,
        id: SessionId,
        after: u32,
        limit: u64,
    ) -> Result<(Vec<PartRecord>, bool)> {
        let session = self.own_session(principal, id).await?;
        let parts = self.db.parts(&session, after, limit.min(MAX_PARTS_PAGE)).await?;
        let last = parts.last().map_or(u32::MAX, |last| last.part.number);
        let has_more = session.received.numbers_after(last).next().is_some();
        Ok((parts, has_more))
    }

    /// The received parts of several sessions, each from one number to another, both included, in one statement. The
    /// sessions must have been read for the same caller.
    pub async fn parts_of_many(
        &self,
        wanted: &[(&Session, u32, u32)],
    ) -> Result<HashMap<SessionId, Result<Vec<PartRecord>>>> {
        Ok(each(self.db.parts_of_many(wanted).await?))
    }

    pub(super) async fn own_session(&self, principal: &Principal, id: SessionId) -> Result<Session> {
        self.db.session(&principal.owner, id).await?.ok_or_else(|| Error::not_found("session"))
    }
}

/// The same rows, each with an error that has a code. One damaged row does not fail the others.
fn each<K: Eq + Hash, T>(rows: HashMap<K, db::Result<T>>) -> HashMap<K, Result<T>> {
    rows.into_iter().map(|(id, row)| (id, row.map_err(Error::from))).collect()
}
