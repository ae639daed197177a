//! The limits that an object store sets on parts.
//!
//! Owns the limits, and the check of settings and of the plans of files against them. Without the check, the store would refuse a part in the middle
//! of an upload.

use anyhow::ensure;

use crate::domain::{PartPlan, PlanError};

/// S3's limits on a multipart upload
/// ([Amazon S3 multipart upload limits](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)). Azure accepts at
/// most 4,000 MiB per part. This check does not cover that: Azure refuses a larger part when the server puts it.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
const MAX_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const MAX_PARTS: u32 = 10_000;

/// The parts that a store accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// The smallest size of a part, except the last.
    pub min_part_bytes: u64,
    /// The largest size of a part.
    pub max_part_bytes: u64,
    /// The largest number of parts of one file.
    pub max_parts: u32,
}

impl PartLimits {
    /// The limits of S3. Those of other stores are not stricter, except that of Azure on the size.
    pub const OF_STORES: Self =
        Self { min_part_bytes: MIN_PART_BYTES, max_part_bytes: MAX_PART_BYTES, max_parts: MAX_PARTS };
    /// A store that accepts all parts.
    pub const NONE: Self = Self { min_part_bytes: 1, max_part_bytes: u64::MAX, max_parts: u32::MAX };

    /// Whether the store accepts the parts of this plan.
    pub fn accept(&self, plan: &PartPlan) -> bool {
        let (parts, chunk) = (plan.total_parts(), plan.chunk_size_bytes());
        let largest = chunk.min(plan.total_size_bytes());
        parts <= self.max_parts && largest <= self.max_part_bytes && (parts <= 1 || chunk >= self.min_part_bytes)
    }

    /// A plan for a file of this size that the store accepts.
    ///
    /// # Errors
    /// The file is too large for the store.
    pub fn plan(&self, total_size_bytes: u64) -> Result<PartPlan, PlanError> {
        let preferred = PREFERRED_PART_BYTES.clamp(self.min_part_bytes, self.max_part_bytes);
        PartPlan::choose(total_size_bytes, preferred, self.max_parts)
    }
}

/// The size of the parts of a file whose own parts the store does not accept.
const PREFERRED_PART_BYTES: u64 = 8 * 1024 * 1024;

/// The settings to which an object store's limits apply.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "config.default.toml is their documentation")]
pub struct PartSettings {
    pub chunk_size: u64,
    pub max_parts: u32,
    pub max_file_size: u64,
    pub storage_memory: u64,
}

impl PartSettings {
    /// Checks that an object store accepts every file that these settings allow.
    ///
    /// # Errors
    /// The store would refuse some files. The message names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { chunk_size, max_parts, max_file_size, storage_memory } = *self;
        ensure!(
            (MIN_PART_BYTES..=MAX_PART_BYTES).contains(&chunk_size),
            "chunk_size must be 5 MiB to 5 GiB on an object store, which accepts no other parts"
        );
        ensure!(
            max_parts <= MAX_PARTS,
            "max_parts must be at most {MAX_PARTS} on an object store, which accepts no more"
        );
        ensure!(
            max_file_size.div_ceil(max_parts.into()) <= MAX_PART_BYTES,
            "max_file_size is more than max_parts parts of 5 GiB, the largest that an object store accepts"
        );
        let plan = PartPlan::choose(max_file_size, chunk_size, max_parts)?;
        let largest_part = plan.chunk_size_bytes().min(max_file_size);
        ensure!(
            storage_memory >= largest_part,
            "storage_memory must hold the largest part, which has {largest_part} bytes: raise it to that, or lower \
             max_file_size or chunk_size"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_plan_is_accepted_if_each_part_is_and_there_are_not_too_many() {
        let accepts = |total, chunk| PartLimits::OF_STORES.accept(&PartPlan::new(total, chunk).unwrap());
        assert!(accepts(20 * MIB, 5 * MIB) && accepts(21 * MIB, 5 * MIB));
        assert!(accepts(3, 10) && accepts(0, 10), "the last part may be small");
        assert!(!accepts(20 * MIB, 5 * MIB - 1));
        assert!(accepts(50_000 * MIB, 5 * MIB) && !accepts(50_000 * MIB + 1, 5 * MIB));
        assert!(accepts(6_000 * MIB, 5_120 * MIB) && !accepts(6_000 * MIB, 5_121 * MIB));
        assert!(accepts(10 * MIB, 6_000 * MIB), "its only part is small");
        assert!(PartLimits::NONE.accept(&PartPlan::new(20, 1).unwrap()));
    }

    #[test]
    fn a_chosen_plan_is_accepted() {
        for total in [0, 1, 20 * MIB, 500_000 * MIB] {
            assert!(PartLimits::OF_STORES.accept(&PartLimits::OF_STORES.plan(total).unwrap()), "{total}");
        }
    }

    #[test]
    fn an_error_names_the_setting_that_an_object_store_would_refuse() {
        let good = PartSettings {
            chunk_size: 5 * MIB,
            max_parts: 10_000,
            max_file_size: 1024 * 1024 * MIB,
            storage_memory: 256 * MIB,
        };
        good.check().unwrap();
        for (wrong, name) in [
            (PartSettings { chunk_size: MIN_PART_BYTES - 1, ..good }, "chunk_size"),
            (PartSettings { chunk_size: MAX_PART_BYTES + 1, ..good }, "chunk_size"),
            (PartSettings { storage_memory: 100 * MIB, ..good }, "storage_memory"),
            (PartSettings { max_file_size: 60 * 1024 * 1024 * MIB, ..good }, "max_file_size"),
            (PartSettings { max_parts: 10_001, ..good }, "max_parts"),
        ] {
            let refused = wrong.check().unwrap_err().to_string();
            assert!(refused.starts_with(name), "{refused}");
        }
    }
}
