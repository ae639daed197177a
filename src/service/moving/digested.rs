//! Comparing the bytes of a stored file with everything that is recorded about them, while they are copied.
//!
//! Owns which digests are compared: those of its parts, if their records are kept, and those of the whole file. The bytes are read
//! in order. If the target needs other parts than those in which the file arrived, it hashes both.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::domain::{Crc64Nvme, Digests, FileRecord, Hasher, Part, PartPlan, PartRecord, Session, Sha256Digest};

/// What is known of the bytes of a file so far.
pub(super) struct Digested<'a> {
    file: &'a FileRecord,
    plan: PartPlan,
    records: BTreeMap<u32, PartRecord>,
    /// `None` if no SHA-256 of the whole file is recorded.
    whole: Option<Sha256>,
    /// `None` if the parts that are copied are those of the plan.
    own_part: Option<OwnPart>,
    crc64nvme: Crc64Nvme,
    of_parts: Vec<Sha256Digest>,
    problem: Option<String>,
}

/// The part of the plan to which the next byte belongs.
struct OwnPart {
    next: u32,
    left_bytes: u64,
    hasher: Hasher,
}

impl<'a> Digested<'a> {
    /// `copied` is the plan of the parts that are copied. `records` are those of the session's parts, or none if they are not kept.
    pub(super) fn new(
        session: &Session,
        file: &'a FileRecord,
        copied: PartPlan,
        records: BTreeMap<u32, PartRecord>,
    ) -> Self {
        let plan = session.plan;
        let own_part = (copied != plan).then(|| OwnPart { next: 0, left_bytes: 0, hasher: Hasher::default() });
        Self {
            file,
            plan,
            records,
            whole: file.sha256.map(|_| Sha256::new()),
            own_part,
            crc64nvme: Crc64Nvme::EMPTY,
            of_parts: Vec::new(),
            problem: None,
        }
    }

    /// Whether it needs the bytes of parts that were copied before.
    pub(super) fn needs_all_bytes(&self) -> bool {
        self.whole.is_some() || self.own_part.is_some()
    }

    /// Whether nothing is recorded with which the bytes could be compared.
    pub(super) fn compares_nothing(&self) -> bool {
        let FileRecord { sha256, crc64nvme, composite_sha256, size_bytes, .. } = self.file;
        let has_digest = sha256.is_some() || crc64nvme.is_some() || composite_sha256.is_some();
        self.records.is_empty() && !has_digest && *size_bytes > 0
    }

    /// The next bytes of the file.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) {
        if let Some(whole) = &mut self.whole {
            whole.update(bytes);
        }
        while !bytes.is_empty()
            && let Some(mut own) = self.own_part.take()
        {
            if own.left_bytes == 0 {
                own.next += 1;
                own.left_bytes = self.plan.part(own.next).map_or(u64::MAX, |part| part.size_bytes);
            }
            let len = usize::try_from(own.left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (now, later) = bytes.split_at(len);
            own.hasher.update(now);
            own.left_bytes -= len as u64;
            bytes = later;
            if own.left_bytes == 0
                && let Some(part) = self.plan.part(own.next)
            {
                self.own(part, std::mem::take(&mut own.hasher).finish());
            }
            self.own_part = Some(own);
        }
    }

    /// The digests of the next part that was copied.
    pub(super) fn copied(&mut self, part: Part, digests: Digests) {
        if self.own_part.is_none() {
            self.own(part, digests);
        }
    }

    fn own(&mut self, part: Part, digests: Digests) {
        self.crc64nvme = Crc64Nvme::of_pieces([(self.crc64nvme, 0), (digests.crc64nvme, part.size_bytes)]);
        self.of_parts.push(digests.sha256);
        if self.records.get(&part.number).is_some_and(|record| !is_same(record, digests)) {
            self.problem.get_or_insert_with(|| differ(part));
        }
    }

    /// What is wrong with the bytes so far.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What is wrong with the whole file, after its last byte.
    pub(super) fn finish(self) -> Option<String> {
        let wrong = |name: &str| Some(format!("its {name} is not the recorded one"));
        let sha256 = self.whole.map(Sha256Digest::from);
        let composite = Sha256Digest::composite(self.of_parts);
        if self.problem.is_some() {
            self.problem
        } else if self.file.composite_sha256.is_some_and(|recorded| recorded != composite) {
            wrong("composite SHA-256")
        } else if self.file.crc64nvme.is_some_and(|recorded| recorded != self.crc64nvme) {
            wrong("CRC-64/NVME")
        } else if self.file.sha256 != sha256 {
            wrong("SHA-256")
        } else {
            None
        }
    }
}

/// Whether the bytes of a part have the recorded digests.
pub(super) fn is_same(record: &PartRecord, digests: Digests) -> bool {
    record.sha256 == digests.sha256 && record.crc64nvme.is_none_or(|recorded| recorded == digests.crc64nvme)
}

pub(super) fn differ(part: Part) -> String {
    format!("part {} does not have the bytes that arrived", part.number)
}
