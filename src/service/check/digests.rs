//! Comparing bytes with their digests.
//!
//! Owns reading every byte of an upload and comparing it with the digest of its part, and with the file's digests. If the server
//! has removed the part rows, only the file's digests are left; the composite digest then proves the bytes of all parts at once.

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Check, RESTORE_BYTES, RESTORE_ROWS};
use crate::{
    domain::{Crc64Nvme, Digests, FileRecord, Hasher, PartRecord, PartSet, Session, Sha256Digest},
    storage,
};

/// Bytes that are read in one step. A larger part is one step.
const STEP_BYTES: u64 = 64 * 1024 * 1024;
/// The number of part rows in one statement.
const PAGE: u64 = 1_000;

impl Check<'_> {
    /// Compares the bytes of a stored file with its digests, and with those of its parts if they are kept.
    pub(super) async fn compare_stored(&mut self, session: &Session, file: &FileRecord) {
        if session.has_part_records() && self.compare_parts(session, Some(file)).await {
            return;
        }
        if file.sha256.is_none() && file.crc64nvme.is_none() && file.composite_sha256.is_none() {
            self.report.not_compared += 1;
            return;
        }
        match self.digests_of_bytes(session, file).await {
            Ok((actual, composite)) => {
                if file.composite_sha256.is_some_and(|recorded| recorded != composite) {
                    let problem = format!("its composite SHA-256 is {composite}, not the recorded one");
                    self.bytes_problem(file, problem).await;
                } else {
                    self.compare_digests(file, actual).await;
                }
            }
            Err(error) => self.bytes_problem(file, error).await,
        }
    }

    /// Compares the received parts of an open session with their digests.
    pub(super) async fn compare_open(&mut self, session: &Session) {
        self.compare_parts(session, None).await;
    }

    /// Compares the parts of an open session (`file` is `None`), or of a stored file, whose own digest it compares too. False if a
    /// running server has removed the part rows in the meantime.
    async fn compare_parts(&mut self, session: &Session, file: Option<&FileRecord>) -> bool {
        let (mut hasher, mut damaged, mut after, mut found) = (Sha256::new(), PartSet::new(), 0, 0);
        let mut crc64nvme = Crc64Nvme::EMPTY;
        loop {
            let parts = match self.service.db.parts(session, after, PAGE).await {
                Ok(parts) => parts,
                Err(error) => {
                    self.report.problem(format!("session {}: {error}", session.id), RESTORE_ROWS);
                    return true;
                }
            };
            let Some(last) = parts.last() else { break };
            (after, found) = (last.part.number, found + parts.len());
            for parts in parts.chunk_by(|one, next| belongs_to_step(one, next, session.plan.chunk_size_bytes())) {
                match self.service.storage.compare(session, hasher, parts).await {
                    Ok(Some(compared)) => {
                        for number in compared.damaged.ranges().flat_map(|run| run.first..=run.last) {
                            damaged.insert(number);
                        }
                        hasher = compared.hasher;
                        let bytes = parts.iter().map(|record| record.part.size_bytes).sum();
                        crc64nvme = Crc64Nvme::of_pieces([(crc64nvme, 0), (compared.crc64nvme, bytes)]);
                    }
                    // An object store returns no bytes before the upload is complete.
                    Ok(None) => return true,
                    Err(error) => {
                        self.unreadable(session, file, error).await;
                        return true;
                    }
                }
                self.note_read(parts.iter().map(|record| record.part.size_bytes).sum());
            }
        }
        let differ = format!("parts {damaged} do not have the bytes that arrived");
        match file {
            None if !damaged.is_empty() => self.lost(session, storage::Error::Lost(differ)).await,
            None => {}
            Some(file) if !damaged.is_empty() => self.bytes_problem(file, differ).await,
            Some(_) if (found as u64) < u64::from(session.completed_parts()) => return false,
            Some(file) => self.compare_digests(file, Digests { sha256: hasher.into(), crc64nvme }).await,
        }
        true
    }

    async fn unreadable(&mut self, session: &Session, file: Option<&FileRecord>, error: storage::Error) {
        match (file, error) {
            (Some(file), error) => self.bytes_problem(file, error).await,
            (None, error @ storage::Error::Lost(_)) => self.lost(session, error).await,
            (None, error) => self.report.problem(format!("session {}: {error}", session.id), RESTORE_BYTES),
        }
    }

    async fn compare_digests(&mut self, file: &FileRecord, actual: Digests) {
        let Digests { sha256, crc64nvme } = actual;
        if file.sha256.is_some_and(|recorded| recorded != sha256) {
            self.bytes_problem(file, format!("its SHA-256 is {sha256}, not the recorded one")).await;
        } else if file.crc64nvme.is_some_and(|recorded| recorded != crc64nvme) {
            self.bytes_problem(file, format!("its CRC-64/NVME is {crc64nvme}, not the recorded one")).await;
        }
    }

    /// The digests and the composite digest of the bytes of a stored file. Holds one block of them in memory.
    async fn digests_of_bytes(
        &self,
        session: &Session,
        file: &FileRecord,
    ) -> Result<(Digests, Sha256Digest), storage::Error> {
        let (mut whole, mut digests) = (Hasher::default(), Vec::new());
        let location = file.location.as_deref().unwrap_or_default();
        for part in (1..=session.plan.total_parts()).filter_map(|number| session.plan.part(number)) {
            let range = part.offset_bytes..part.end();
            let mut of_part = Sha256::new();
            let mut bytes = self.service.storage.read(location, file.size_bytes, range).await?;
            let failed = |source| storage::Error::Io { action: "read a stored file".to_owned(), source };
            while let Some(block) = bytes.try_next().await.map_err(failed)? {
                of_part.update(&block);
                whole.update(&block);
            }
            digests.push(of_part.into());
            self.note_read(part.size_bytes);
        }
        Ok((whole.finish(), Sha256Digest::composite(digests)))
    }

    fn note_read(&self, bytes: u64) {
        if let Some(on_read) = &self.options.on_read {
            on_read(self.total_bytes, bytes);
        }
    }
}

/// Whether two parts are read in the same step: they are neighbours in the file, and begin in the same step of it.
fn belongs_to_step(one: &PartRecord, next: &PartRecord, chunk_size_bytes: u64) -> bool {
    let step = (STEP_BYTES / chunk_size_bytes).max(1);
    let step_of = |record: &PartRecord| u64::from(record.part.number - 1) / step;
    one.part.number + 1 == next.part.number && step_of(one) == step_of(next)
}
