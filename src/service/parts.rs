//! Reading the records of received parts.
//!
//! Owns these reads, and what they say after the server has removed the records: `PARTS_NOT_KEPT`, never a list that lacks
//! parts. The server may remove them between the read of a session and the read of its parts; so if a record of a received part
//! is missing, the session is read again. Does not own the removal: that is `part_removal`.

use std::collections::HashMap;

use super::{Service, status::each};
use crate::{
    domain::{PartRecord, Principal, Session, SessionId},
    error::{Error, Result},
};

/// Maximum number of parts in one response.
const MAX_PARTS_PAGE: u64 = 1_000;

impl Service {
    /// One received part.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session, or the part has not arrived. `PARTS_NOT_KEPT`.
    pub async fn part(&self, principal: &Principal, id: SessionId, number: u32) -> Result<PartRecord> {
        self.find_part(principal, id, number).await?.ok_or_else(|| Error::not_found("part"))
    }

    /// One part, if it has arrived.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session. `PARTS_NOT_KEPT` if the part has arrived, and its record was removed.
    pub async fn find_part(&self, principal: &Principal, id: SessionId, number: u32) -> Result<Option<PartRecord>> {
        let session = self.own_session(principal, id).await?;
        let has_arrived = session.received.contains(number);
        if has_arrived {
            ensure_kept(&session)?;
        }
        let found = self.db.part(&session, number).await?;
        if has_arrived && found.is_none() {
            ensure_kept(&self.own_session(principal, id).await?)?;
        }
        Ok(found)
    }

    /// Up to `limit` received parts with numbers above `after`, ascending, and whether there are more.
    ///
    /// # Errors
    /// `NOT_FOUND` if the caller has no such session. `PARTS_NOT_KEPT`.
    pub async fn parts(
        &self,
        principal: &Principal,
        id: SessionId,
        after: u32,
        limit: u64,
    ) -> Result<(Vec<PartRecord>, bool)> {
        let session = self.own_session(principal, id).await?;
        ensure_kept(&session)?;
        let limit = limit.min(MAX_PARTS_PAGE);
        let parts = self.db.parts(&session, after, limit).await?;
        if (parts.len() as u64) < limit && session.received.numbers_after(after).nth(parts.len()).is_some() {
            ensure_kept(&self.own_session(principal, id).await?)?;
        }
        let last = parts.last().map_or(u32::MAX, |last| last.part.number);
        let has_more = session.received.numbers_after(last).next().is_some();
        Ok((parts, has_more))
    }

    /// The received parts of several sessions, each from one number to another, both included, in one statement. `None` for a
    /// session whose part records were removed. The sessions must have been read for the same caller.
    pub async fn parts_of_many(
        &self,
        wanted: &[(&Session, u32, u32)],
    ) -> Result<HashMap<SessionId, Result<Option<Vec<PartRecord>>>>> {
        let found = each(self.db.parts_of_many(wanted).await?);
        let mut found: HashMap<_, _> = found.into_iter().map(|(id, parts)| (id, parts.map(Some))).collect();
        for (session, first, last) in wanted {
            let read = found.entry(session.id).or_insert_with(|| Ok(Some(Vec::new())));
            let Ok(Some(parts)) = read else { continue };
            let mut numbers =
                session.received.numbers_after(first.saturating_sub(1)).take_while(|number| number <= last);
            let is_whole = numbers.all(|number| parts.binary_search_by_key(&number, |one| one.part.number).is_ok());
            if session.has_part_records() && is_whole {
                continue;
            }
            let now = self.db.session(&session.owner, session.id).await?;
            if now.is_some_and(|now| !now.has_part_records()) {
                *read = Ok(None);
            }
        }
        Ok(found)
    }
}

fn ensure_kept(session: &Session) -> Result<()> {
    if session.has_part_records() { Ok(()) } else { Err(Error::parts_not_kept()) }
}
