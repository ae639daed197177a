//! Copying a stored file.
//!
//! Owns that a file is completed in the target only if all its bytes have the recorded digests. A file that does not stays behind.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{
    LeftBehind,
    carry::{Carried, Carry, Tries},
    digested::Digested,
    transfer::{Failure, SourceBytes, Transfer, digests_of},
};
use crate::{
    domain::{FileRecord, Part, Session},
    error::{Error, Result},
};

impl Carry {
    /// Copies a stored file. A file that does not have the recorded digests is not completed in the target.
    pub(super) async fn stored(&self, session: &Session, file: &FileRecord) -> Result<Carried> {
        let mut tries = Tries::default();
        loop {
            match self.try_stored(session, file).await {
                Ok(carried) => return Ok(carried),
                Err(Failure::Unreadable(why)) => {
                    self.discard(session).await?;
                    return Ok(Carried::Left(LeftBehind::file(session, file, why)));
                }
                Err(failure) => self.recover(session, failure, &mut tries).await?,
            }
        }
    }

    async fn try_stored(&self, session: &Session, file: &FileRecord) -> Result<Carried, Failure> {
        let plan = match self.limits.accept(&session.plan) {
            true => session.plan,
            false => self.limits.plan(file.size_bytes).map_err(Error::internal)?,
        };
        let mut transfer = Transfer::of(&self.target, session, plan).await?;
        let records = match session.has_part_records() {
            true => self.records(session).await?,
            false => BTreeMap::new(),
        };
        if plan == session.plan && !records.is_empty() {
            transfer.keep_only(&records).await?;
        }
        let mut digested = Digested::new(session, file, plan, records);
        let carried = if digested.compares_nothing() { Carried::NotCompared } else { Carried::Whole };
        if transfer.is_complete() {
            self.passed(file.size_bytes);
            return Ok(carried);
        }
        if transfer.has_other_parts() {
            transfer.discard().await?;
            transfer = Transfer::of(&self.target, session, plan).await?;
        }
        // Also notices a file with another size, which has no part that could differ.
        let location = file.location.as_deref().unwrap_or_default();
        self.source.storage.check(location, file.size_bytes).await.map_err(|error| self.unreadable(error))?;
        transfer.start().await?;
        let sent = self.send_file(&mut transfer, file, &mut digested).await;
        transfer.settle(sent).await?;
        if let Some(problem) = digested.finish() {
            return Err(Failure::Unreadable(problem));
        }
        match transfer.complete().await? {
            true => Ok(carried),
            false => Err(Failure::Stop(Error::unavailable(
                "the object store of the target does not have the bytes that were put",
                "another put has replaced them",
            ))),
        }
    }

    /// Copies the parts of a stored file in their order.
    async fn send_file(
        &self,
        transfer: &mut Transfer<'_>,
        file: &FileRecord,
        digested: &mut Digested<'_>,
    ) -> Result<(), Failure> {
        let (plan, location) = (transfer.plan(), file.location.as_deref().unwrap_or_default());
        for part in (1..=plan.total_parts()).filter_map(|number| plan.part(number)) {
            let read = self.read(location, file.size_bytes, part.offset_bytes..part.end());
            if let Some(digests) = transfer.moved().get(&part.number).and_then(digests_of) {
                if digested.needs_all_bytes() {
                    self.read_again(read.await?, part, |bytes| digested.bytes(bytes)).await?;
                } else {
                    self.passed(part.size_bytes);
                }
                digested.copied(part, digests);
            } else {
                let observe = |bytes: &Bytes| {
                    digested.bytes(bytes);
                    self.copied(bytes);
                };
                let staged = transfer.stage(part, part.size_bytes, read, observe).await?;
                digested.copied(part, staged.digests());
                if digested.problem().is_none() {
                    transfer.put(part, staged);
                }
            }
            if let Some(problem) = digested.problem() {
                return Err(Failure::Unreadable(problem.to_owned()));
            }
        }
        Ok(())
    }

    /// Reads bytes that were copied before, for a digest.
    async fn read_again(
        &self,
        mut bytes: SourceBytes,
        part: Part,
        mut observe: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        while let Some(block) = bytes.try_next().await? {
            observe(&block);
        }
        self.passed(part.size_bytes);
        Ok(())
    }
}
