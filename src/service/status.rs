//! Status: which parts have arrived.
//!
//! Owns reading sessions and files. A read waits for no writer and writes nothing. The received set is a column of the
//! session's row, so a status costs the same for one part and for a million. Resources of another owner are not found.

use std::{collections::HashMap, hash::Hash};

use chrono::TimeDelta;

use super::{Service, scope};
use crate::{
    db,
    domain::{FileId, FileRecord, OwnerName, Principal, Session, SessionId, SessionState, Upload},
    error::{Error, Result},
};

impl Service {
    /// The last committed state of a session and its file. It needs no statement if the state is in memory.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn state(&self, principal: &Principal, id: SessionId) -> Result<SessionState> {
        self.db.state(scope::session(principal, id)?, id).await?.ok_or_else(|| Error::not_found("session"))
    }

    /// The last committed state of the caller's session, if it is in memory.
    pub async fn kept_state(&self, principal: &Principal, id: SessionId) -> Result<Option<SessionState>> {
        let Ok(owner) = scope::session(principal, id) else { return Ok(None) };
        Ok(self.db.kept_state(owner, id).await?)
    }

    /// A session and its file, in one statement.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session.
    pub async fn status(&self, principal: &Principal, id: SessionId) -> Result<Upload> {
        self.db.upload(scope::session(principal, id)?, id).await?.ok_or_else(|| Error::not_found("session"))
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
        let found = self.db.session_version(scope::session(principal, id)?, id).await?;
        found.ok_or_else(|| Error::not_found("session"))
    }

    /// The states of the sessions with these ids that the caller owns, from the database, in one statement.
    pub async fn states(
        &self,
        principal: &Principal,
        ids: &[SessionId],
    ) -> Result<HashMap<SessionId, Result<SessionState>>> {
        let (owner, own) = principal.sessions_among(ids);
        if let [id] = &*own {
            return Ok(self.db.read_state(owner, *id).await?.into_iter().map(|state| (*id, Ok(state))).collect());
        }
        let found = self.db.uploads(owner, &own).await?;
        Ok(each(found.into_iter().map(|(id, read)| (id, read.map(SessionState::from))).collect()))
    }

    /// The sessions with these ids that the caller owns, in one statement.
    pub async fn sessions(
        &self,
        principal: &Principal,
        ids: &[SessionId],
    ) -> Result<HashMap<SessionId, Result<Session>>> {
        let (owner, ids) = principal.sessions_among(ids);
        Ok(each(self.db.sessions(owner, &ids).await?))
    }

    /// The files with these ids that the caller owns, in one statement.
    pub async fn files(&self, principal: &Principal, ids: &[FileId]) -> Result<HashMap<FileId, Result<FileRecord>>> {
        let (owner, ids) = principal.files_among(ids);
        Ok(each(self.db.files(owner, &ids).await?))
    }

    /// A file's record.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such file.
    pub async fn file(&self, principal: &Principal, id: FileId) -> Result<FileRecord> {
        self.file_of(scope::file(principal, id)?, id).await
    }

    pub(super) async fn file_of(&self, owner: &OwnerName, id: FileId) -> Result<FileRecord> {
        let mut found = self.db.files(owner, &[id]).await?;
        Ok(found.remove(&id).ok_or_else(|| Error::not_found("file"))??)
    }

    pub(super) async fn own_session(&self, principal: &Principal, id: SessionId) -> Result<Session> {
        self.db.session(scope::session(principal, id)?, id).await?.ok_or_else(|| Error::not_found("session"))
    }
}

/// The same rows, each with an error that has a code. One damaged row does not fail the others.
pub(super) fn each<K: Eq + Hash, T>(rows: HashMap<K, db::Result<T>>) -> HashMap<K, Result<T>> {
    rows.into_iter().map(|(id, row)| (id, row.map_err(Error::from))).collect()
}
