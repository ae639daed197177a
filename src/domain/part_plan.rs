//! How a file is cut into parts.
//!
//! Owns the arithmetic between a file's size, the chunk size, part numbers and byte offsets. Does not own which parts
//! have arrived: that is `part_set`.

use std::num::NonZeroU64;

/// Bytes in a mebibyte, the unit in which chunk sizes grow.
pub const MIB: u64 = 1024 * 1024;

/// A file of `total_size_bytes` cut into parts of `chunk_size_bytes`. The last part may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartPlan {
    total_size_bytes: u64,
    chunk_size_bytes: NonZeroU64,
    total_parts: u32,
}

/// One part of a plan: its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part's number, counted from 1.
    pub number: u32,
    /// The offset of its first byte in the file.
    pub offset_bytes: u64,
    /// Its exact length.
    pub size_bytes: u64,
}

impl Part {
    /// The offset of the first byte after it.
    pub fn end(&self) -> u64 {
        self.offset_bytes + self.size_bytes
    }
}

/// Why there is no valid plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A chunk has no bytes.
    #[error("a chunk must have at least one byte")]
    ChunkSizeZero,
    /// There would be more parts than part numbers.
    #[error("the file would have more than {} parts", u32::MAX)]
    TooManyParts,
}

impl PartPlan {
    /// A plan with exactly this chunk size.
    pub fn new(total_size_bytes: u64, chunk_size_bytes: u64) -> Result<Self, PlanError> {
        let chunk = NonZeroU64::new(chunk_size_bytes).ok_or(PlanError::ChunkSizeZero)?;
        let total_parts = u32::try_from(total_size_bytes.div_ceil(chunk.get())).map_err(|_| PlanError::TooManyParts)?;
        Ok(Self { total_size_bytes, chunk_size_bytes: chunk, total_parts })
    }

    /// A plan for a new session: the preferred chunk size, grown to a whole number of MiB where the file would
    /// otherwise have more than `max_parts` parts.
    pub fn choose(total_size_bytes: u64, preferred_chunk_bytes: u64, max_parts: u32) -> Result<Self, PlanError> {
        let min_chunk = total_size_bytes.div_ceil(u64::from(max_parts.max(1)));
        let chunk =
            if min_chunk <= preferred_chunk_bytes { preferred_chunk_bytes } else { min_chunk.next_multiple_of(MIB) };
        Self::new(total_size_bytes, chunk)
    }

    /// The file's size.
    pub fn total_size_bytes(&self) -> u64 {
        self.total_size_bytes
    }

    /// The size of every part but the last.
    pub fn chunk_size_bytes(&self) -> u64 {
        self.chunk_size_bytes.get()
    }

    /// How many parts the file has; 0 for an empty file.
    pub fn total_parts(&self) -> u32 {
        self.total_parts
    }

    /// The part with this number, counted from 1; `None` beyond the last.
    pub fn part(&self, number: u32) -> Option<Part> {
        if number == 0 || number > self.total_parts {
            return None;
        }
        let chunk = self.chunk_size_bytes.get();
        let offset_bytes = u64::from(number - 1) * chunk;
        Some(Part { number, offset_bytes, size_bytes: chunk.min(self.total_size_bytes - offset_bytes) })
    }

    /// The part that has the byte at this offset; `None` from the end of the file on.
    pub fn part_at(&self, offset_bytes: u64) -> Option<Part> {
        if offset_bytes >= self.total_size_bytes {
            return None;
        }
        self.part(u32::try_from(offset_bytes / self.chunk_size_bytes.get()).ok()?.checked_add(1)?)
    }

    /// The number of bytes in the first `parts` parts.
    pub fn prefix_bytes(&self, parts: u32) -> u64 {
        (u64::from(parts) * self.chunk_size_bytes.get()).min(self.total_size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_800_mib_has_100_parts_of_8_mib() {
        let plan = PartPlan::choose(800 * MIB, 8 * MIB, 10_000).unwrap();
        assert_eq!((plan.chunk_size_bytes(), plan.total_parts()), (8 * MIB, 100));
        assert_eq!(plan.part(100), Some(Part { number: 100, offset_bytes: 99 * 8 * MIB, size_bytes: 8 * MIB }));
        assert_eq!((plan.part(0), plan.part(101)), (None, None));
    }

    #[test]
    fn an_empty_file_has_no_parts() {
        let plan = PartPlan::choose(0, 5 * MIB, 10_000).unwrap();
        assert_eq!((plan.total_parts(), plan.part(1)), (0, None));
    }

    #[test]
    fn the_chunk_grows_in_whole_mib_when_there_would_be_too_many_parts() {
        let at_limit = PartPlan::choose(50_000 * MIB, 5 * MIB, 10_000).unwrap();
        assert_eq!((at_limit.chunk_size_bytes(), at_limit.total_parts()), (5 * MIB, 10_000));
        let over = PartPlan::choose(50_000 * MIB + 1, 5 * MIB, 10_000).unwrap();
        assert_eq!((over.chunk_size_bytes(), over.total_parts()), (6 * MIB, 8_334));
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert_eq!(PartPlan::new(10, 0), Err(PlanError::ChunkSizeZero));
        assert_eq!(PartPlan::new(1 << 40, 1), Err(PlanError::TooManyParts));
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_without_gap_or_overlap(
            total in 0u64..200_000, chunk in 1u64..5_000, max_parts in 1u32..2_000
        ) {
            let plan = PartPlan::choose(total, chunk, max_parts).unwrap();
            prop_assert!(plan.total_parts() <= max_parts);
            let mut end = 0;
            for number in 1..=plan.total_parts() {
                let part = plan.part(number).unwrap();
                prop_assert_eq!(part.offset_bytes, end);
                prop_assert!(part.size_bytes > 0);
                if number < plan.total_parts() {
                    prop_assert_eq!(part.size_bytes, plan.chunk_size_bytes());
                }
                end += part.size_bytes;
                prop_assert_eq!(plan.prefix_bytes(number), end);
            }
            prop_assert_eq!(end, total);
        }
    }
}
