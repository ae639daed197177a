//! Copying the parts and the tail of an open session.
//!
//! Owns that a part is noted in the target only if its bytes have the recorded digests. A part that does not is missing there, and
//! its client sends it again.

use std::collections::BTreeMap;

use super::{
    MissingParts,
    carry::{Carried, Carry, Tries},
    digested::{differ, is_same},
    reading::NOT_READABLE,
    transfer::{Failure, Transfer},
};
use crate::{
    domain::{FileRecord, PartRecord, PartSet, Session},
    error::{Error, Result},
};

impl Carry {
    /// Copies the received parts and the tail of an open session.
    pub(super) async fn open(&self, session: &Session, file: &FileRecord) -> Result<Carried> {
        let mut tries = Tries::default();
        let (missing, why) = loop {
            match self.try_open(session).await {
                Ok(carried) => break carried,
                Err(Failure::Unreadable(why)) => return Err(Error::unavailable("the source cannot be read", why)),
                Err(failure) => self.recover(session, failure, &mut tries).await?,
            }
        };
        let Some(why) = why else { return Ok(Carried::Whole) };
        Ok(Carried::Incomplete(MissingParts {
            session: session.id,
            owner: session.owner.to_string(),
            filename: file.original_filename.clone(),
            has_no_tail: session.tail.is_some() && missing.1,
            parts: missing.0,
            why,
        }))
    }

    /// Copies the received parts and the tail. Returns those that are missing in the target, and why the first of them is.
    async fn try_open(&self, session: &Session) -> Result<((PartSet, bool), Option<String>), Failure> {
        let mut transfer = Transfer::of(&self.target, session, session.plan).await?;
        if transfer.has_other_parts() || transfer.is_complete() {
            transfer.discard().await?;
            transfer = Transfer::of(&self.target, session, session.plan).await?;
        }
        let records = self.records(session).await?;
        transfer.keep_only(&records).await?;
        let mut why = None;
        let sent = self.send_parts(&mut transfer, session, &records, &mut why).await;
        transfer.settle(sent).await?;
        let lost_tail = self.carry_tail(&mut transfer, session).await?;
        let has_no_tail = lost_tail.is_some();
        let missing =
            session.received.numbers_after(0).filter(|number| !transfer.moved().contains_key(number)).collect();
        Ok(((missing, has_no_tail), why.or(lost_tail)))
    }

    async fn send_parts(
        &self,
        transfer: &mut Transfer<'_>,
        session: &Session,
        records: &BTreeMap<u32, PartRecord>,
        why: &mut Option<String>,
    ) -> Result<(), Failure> {
        let origin = self.origin(session, records).await?;
        for record in records.values() {
            let part = record.part;
            if transfer.moved().contains_key(&part.number) {
                self.passed(part.size_bytes);
                continue;
            }
            let Some(origin) = origin.as_ref().filter(|origin| origin.has(part)) else {
                why.get_or_insert_with(|| NOT_READABLE.to_owned());
                continue;
            };
            transfer.start().await?;
            let read = self.read_open(session, origin, part.offset_bytes..part.end());
            match transfer.stage(part, part.size_bytes, read, |bytes| self.copied(bytes)).await {
                Ok(staged) if is_same(record, staged.digests()) => transfer.put(part, staged),
                Ok(_) => drop(why.get_or_insert_with(|| differ(part))),
                Err(Failure::Unreadable(problem)) => drop(why.get_or_insert(problem)),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Copies the tail, if all parts before it are in the target. Returns why it is missing there.
    async fn carry_tail(&self, transfer: &mut Transfer<'_>, session: &Session) -> Result<Option<String>, Failure> {
        let Some(tail) = &session.tail else {
            if transfer.tail().is_some() {
                transfer.discard_tail().await?;
            }
            return Ok(None);
        };
        let has_prefix = (1..tail.part.number).all(|number| transfer.moved().contains_key(&number));
        if has_prefix && transfer.tail().is_some_and(|moved| moved.sha256 == tail.sha256) {
            self.passed(tail.bytes);
            return Ok(None);
        }
        transfer.discard_tail().await?;
        if !has_prefix {
            return Ok(Some("a part before the tail is missing".to_owned()));
        }
        transfer.start().await?;
        let read = self.read_tail(session, tail);
        match transfer.stage(tail.part, tail.bytes, read, |bytes| self.copied(bytes)).await {
            Ok(staged) if staged.digests().sha256 == tail.sha256 => transfer.put_tail(staged).await.map(|()| None),
            Ok(_) => Ok(Some("the tail does not have the bytes that arrived".to_owned())),
            Err(Failure::Unreadable(problem)) => Ok(Some(problem)),
            Err(failure) => Err(failure),
        }
    }
}
