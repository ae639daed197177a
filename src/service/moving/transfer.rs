//! The copy of one upload in the target's storage.
//!
//! Owns the order of each part: its bytes are durable, then it is noted. Several parts are put at once, because one put at a time
//! would use a fraction of the line. Does not own which parts are copied, and what they are compared with: that is `carry`.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream::BoxStream};
use tokio::task::JoinSet;

use super::digested::is_same;
use crate::{
    db::{MoveUpload, MovedTail},
    domain::{Digests, Part, PartPlan, PartRecord, Session},
    error::{Error, Result},
    service::Service,
    storage::{self, PersistedTail, StagedPart},
};

/// How many parts of one upload are put at once.
const PUTS_AT_ONCE: usize = 4;

/// Why an upload is not copied, or not now.
#[derive(Debug)]
pub(super) enum Failure {
    /// The source does not return these bytes. The text says why.
    Unreadable(String),
    /// The target does not have the bytes that were noted, or its multipart upload.
    TargetLost(storage::Error),
    /// The move cannot go on.
    Stop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<crate::db::Error> for Failure {
    fn from(error: crate::db::Error) -> Self {
        Self::Stop(error.into())
    }
}

/// An error of the target's storage.
impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        match error {
            lost @ storage::Error::Lost(_) => Self::TargetLost(lost),
            other => Self::Stop(other.into()),
        }
    }
}

/// Bytes of the source.
pub(super) type SourceBytes = BoxStream<'static, Result<Bytes, Failure>>;

/// A part whose put has ended.
type Put = (Part, Digests, storage::Result<Option<String>>);

/// The copy of an upload.
pub(super) struct Transfer<'a> {
    target: &'a Arc<Service>,
    /// The session, as the target's storage sees it.
    session: Session,
    note: MoveUpload,
    is_noted: bool,
    moved: BTreeMap<u32, PartRecord>,
    puts: JoinSet<Put>,
}

impl<'a> Transfer<'a> {
    /// The copy as it is: new, or what an earlier run has left of it. `plan` has the parts that are copied.
    pub(super) async fn of(
        target: &'a Arc<Service>,
        session: &Session,
        plan: PartPlan,
    ) -> Result<Self, crate::db::Error> {
        let noted = target.db.move_upload(session.id).await?;
        let is_noted = noted.is_some();
        let note = noted.unwrap_or_else(|| MoveUpload {
            session: session.id,
            chunk_size_bytes: plan.chunk_size_bytes(),
            upload: None,
            location: None,
            tail: None,
        });
        let mut transfer = Self {
            target,
            session: Session { plan, tail: None, storage_upload: note.upload.clone(), ..session.clone() },
            note,
            is_noted,
            moved: BTreeMap::new(),
            puts: JoinSet::new(),
        };
        if transfer.note.chunk_size_bytes == plan.chunk_size_bytes() {
            let moved = target.db.moved_parts(session.id, &plan).await?;
            transfer.moved = moved.into_iter().map(|record| (record.part.number, record)).collect();
        }
        transfer.session.received = transfer.moved.keys().copied().collect();
        Ok(transfer)
    }

    pub(super) fn plan(&self) -> PartPlan {
        self.session.plan
    }

    /// Whether the noted parts are those of another plan.
    pub(super) fn has_other_parts(&self) -> bool {
        self.note.chunk_size_bytes != self.session.plan.chunk_size_bytes()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.note.location.is_some()
    }

    pub(super) fn moved(&self) -> &BTreeMap<u32, PartRecord> {
        &self.moved
    }

    pub(super) fn tail(&self) -> Option<&MovedTail> {
        self.note.tail.as_ref()
    }

    /// Notes the upload before its first byte, and starts the store's multipart upload. Does nothing the second time.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        // An empty file has no parts.
        let store = self.target.storage.as_multipart().filter(|_| self.session.plan.total_parts() > 0);
        if self.is_noted && (store.is_none() || self.session.storage_upload.is_some()) {
            return Ok(());
        }
        if let Some(store) = store {
            let started = store.start(&self.session).await?;
            self.session.storage_upload = Some(started.clone());
            self.note.upload = Some(started);
        }
        self.target.db.save_move_upload(&self.note).await?;
        self.is_noted = true;
        Ok(())
    }

    /// Writes bytes of a part, from its beginning, to the target. They are not durable yet. `read` opens them. Waits for memory
    /// first, so that the source does not wait with an open answer.
    pub(super) async fn stage(
        &mut self,
        part: Part,
        len: u64,
        read: impl Future<Output = Result<SourceBytes, Failure>>,
        mut observe: impl FnMut(&Bytes),
    ) -> Result<Box<dyn StagedPart>, Failure> {
        while self.puts.len() >= PUTS_AT_ONCE {
            self.note_put().await?;
        }
        let mut writer = loop {
            match self.target.storage.part_writer(&self.session, part, Arc::new(())).await {
                // Other parts hold the memory. They end.
                Err(storage::Error::MemoryTimeout(_)) => {}
                opened => break opened?,
            }
        };
        let (mut bytes, mut left) = (read.await?, len);
        while let Some(block) = bytes.try_next().await? {
            observe(&block);
            left = left.checked_sub(block.len() as u64).ok_or_else(|| wrong_length(part))?;
            writer.push(block).await?;
        }
        if left > 0 {
            return Err(wrong_length(part));
        }
        Ok(writer.finish().await?)
    }

    /// Makes a part durable, in a task of its own.
    pub(super) fn put(&mut self, part: Part, staged: Box<dyn StagedPart>) {
        self.puts.spawn(async move {
            let digests = staged.digests();
            let put = staged.persist().await.map(|persisted| persisted.etag);
            (part, digests, put)
        });
    }

    /// Waits for a put, and notes its part.
    async fn note_put(&mut self) -> Result<(), Failure> {
        let Some(joined) = self.puts.join_next().await else { return Ok(()) };
        let (part, digests, put) = joined.map_err(Error::internal)?;
        let record = PartRecord {
            part,
            sha256: digests.sha256,
            crc64nvme: Some(digests.crc64nvme),
            storage_etag: put?,
            received_at: self.target.clock.now(),
        };
        self.target.db.save_moved_part(self.session.id, &record).await?;
        self.session.received.insert(part.number);
        self.moved.insert(part.number, record);
        Ok(())
    }

    /// Waits for all puts. Notes the parts of those that succeeded, also if `sent` or another put has failed.
    pub(super) async fn settle(&mut self, sent: Result<(), Failure>) -> Result<(), Failure> {
        let mut result = sent;
        while !self.puts.is_empty() {
            result = result.and(self.note_put().await);
        }
        result
    }

    /// Forgets parts that must be copied again, or that the source does not have any more.
    pub(super) async fn forget(&mut self, numbers: &[u32]) -> Result<(), Failure> {
        self.target.db.forget_moved_parts(self.session.id, numbers).await?;
        for number in numbers {
            self.session.received.remove(*number);
            self.moved.remove(number);
        }
        Ok(())
    }

    /// Forgets the parts that are not these.
    pub(super) async fn keep_only(&mut self, records: &BTreeMap<u32, PartRecord>) -> Result<(), Failure> {
        let is_kept = |moved: &PartRecord| {
            let record = records.get(&moved.part.number);
            record.is_some_and(|record| digests_of(moved).is_some_and(|digests| is_same(record, digests)))
        };
        let other: Vec<u32> =
            self.moved.values().filter(|moved| !is_kept(moved)).map(|moved| moved.part.number).collect();
        if other.is_empty() { Ok(()) } else { self.forget(&other).await }
    }

    /// Completes the file, whose parts are all noted. Does nothing the second time. False if the store has other bytes of some parts,
    /// which are forgotten.
    pub(super) async fn complete(&mut self) -> Result<bool, Failure> {
        let parts: Vec<PartRecord> = self.moved.values().cloned().collect();
        match self.target.storage.complete(&self.session, &parts).await {
            Ok(location) => {
                self.note.location = Some(location);
                self.target.db.save_move_upload(&self.note).await?;
                self.target.db.forget_parts_of_moved_file(self.session.id).await?;
                Ok(true)
            }
            Err(storage::Error::Replaced(numbers)) => self.forget(&numbers).await.map(|()| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a tail durable, and notes it instead of an earlier one.
    pub(super) async fn put_tail(&mut self, staged: Box<dyn StagedPart>) -> Result<(), Failure> {
        let sha256 = staged.digests().sha256;
        self.discard_tail().await?;
        let PersistedTail { location, .. } = staged.persist_as_tail().await?;
        self.note.tail = Some(MovedTail { sha256, location });
        Ok(self.target.db.save_move_upload(&self.note).await?)
    }

    /// Frees the tail, and those that a killed run has put and not noted.
    pub(super) async fn discard_tail(&mut self) -> Result<(), Failure> {
        if self.note.tail.take().is_some() {
            self.target.db.save_move_upload(&self.note).await?;
        }
        if let Some(store) = self.target.storage.as_multipart() {
            store.discard_tails(self.session.id).await?;
        }
        Ok(())
    }

    /// Frees all that was copied, and forgets it.
    pub(super) async fn discard(self) -> Result<()> {
        self.target.storage.discard(&self.session).await?;
        Ok(self.target.db.forget_move_upload(self.session.id).await?)
    }
}

pub(super) fn digests_of(record: &PartRecord) -> Option<Digests> {
    Some(Digests { sha256: record.sha256, crc64nvme: record.crc64nvme? })
}

fn wrong_length(part: Part) -> Failure {
    Failure::Unreadable(format!("the source returned too many or too few bytes of part {}", part.number))
}
