//! Comparing bytes with their digests.
//!
//! Owns reading every byte of an upload and comparing it with the digest of its part, and with the file's digest.

use sha2::{Digest, Sha256};

use super::{Check, RESTORE_BYTES};
use crate::{
    domain::{FileRecord, PartRecord, PartSet, Session, Sha256Digest},
    storage,
};

/// Bytes that are read in one step. A larger part is one step.
const STEP_BYTES: u64 = 64 * 1024 * 1024;
/// The number of part rows in one statement.
const PAGE: u64 = 1_000;

impl Check<'_> {
    /// Compares the parts of an open session (`file` is `None`), or of a stored file, whose own digest it compares too.
    pub(super) async fn compare(&mut self, session: &Session, file: Option<&FileRecord>) {
        let place = match file {
            Some(file) => format!("file {} ({:?} of {})", file.id, file.original_filename, file.owner),
            None => format!("session {}", session.id),
        };
        let (mut hasher, mut damaged, mut after) = (Sha256::new(), PartSet::new(), 0);
        loop {
            let parts = match self.service.db.parts(session, after, PAGE).await {
                Ok(parts) => parts,
                Err(error) => return self.report.problem(format!("{place}: {error}"), super::RESTORE_ROWS),
            };
            let Some(last) = parts.last() else { break };
            after = last.part.number;
            for parts in parts.chunk_by(|one, next| belongs_to_step(one, next, session.plan.chunk_size_bytes())) {
                match self.service.storage.compare(session, hasher, parts).await {
                    Ok(Some(compared)) => {
                        for number in compared.damaged.ranges().flat_map(|run| run.first..=run.last) {
                            damaged.insert(number);
                        }
                        hasher = compared.hasher;
                    }
                    // An object store returns no bytes before the upload is complete.
                    Ok(None) => return,
                    Err(error @ storage::Error::Lost(_)) if file.is_none() => {
                        return self.lost(session, error).await;
                    }
                    Err(error) => return self.report.problem(format!("{place}: {error}"), RESTORE_BYTES),
                }
                if let Some(on_read) = &self.options.on_read {
                    on_read(self.total_bytes, parts.iter().map(|record| record.part.size_bytes).sum());
                }
            }
        }
        let differ = format!("parts {damaged} do not have the bytes that arrived");
        let actual: Sha256Digest = hasher.into();
        match file {
            None if !damaged.is_empty() => self.lost(session, storage::Error::Lost(differ)).await,
            Some(_) if !damaged.is_empty() => self.report.problem(format!("{place}: {differ}"), RESTORE_BYTES),
            Some(file) if file.sha256.is_some_and(|sha256| sha256 != actual) => {
                self.report.problem(format!("{place}: its SHA-256 is {actual}, not the recorded one"), RESTORE_BYTES);
            }
            _ => {}
        }
    }
}

/// Whether two parts are read in the same step: they are neighbours in the file, and begin in the same step of it.
fn belongs_to_step(one: &PartRecord, next: &PartRecord, chunk_size_bytes: u64) -> bool {
    let step = (STEP_BYTES / chunk_size_bytes).max(1);
    let step_of = |record: &PartRecord| u64::from(record.part.number - 1) / step;
    one.part.number + 1 == next.part.number && step_of(one) == step_of(next)
}
