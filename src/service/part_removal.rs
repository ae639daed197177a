//! Removing the records of the parts of sessions that ended long ago.
//!
//! Owns when they are removed, and how much of that one sweep does. Does not own the steps and their order: that is
//! `db/part_removal`. What needs the records afterwards says that they are not kept: that is `parts`.

use super::{Service, sweep::BATCH};
use crate::error::Result;

/// The number of transactions in one sweep that delete rows. The next sweep continues.
const MAX_DELETIONS: usize = 100;

impl Service {
    /// Removes the part records of sessions that ended longer ago than `part_retention`. Returns the number of sessions that
    /// have none afterwards.
    pub(super) async fn remove_old_parts(&self) -> Result<u64> {
        let Some(before) = self.clock.now().checked_sub_signed(self.limits.part_retention) else { return Ok(0) };
        let (mut removed, mut deletions) = (0, 0);
        while deletions < MAX_DELETIONS {
            let ids = self.db.sessions_with_old_parts(before, BATCH).await?;
            if ids.is_empty() {
                break;
            }
            self.db.begin_part_removal(&ids).await?;
            loop {
                deletions += 1;
                if self.db.remove_part_rows(&ids).await? == 0 || deletions >= MAX_DELETIONS {
                    break;
                }
            }
            removed += self.db.end_part_removal(&ids).await?;
        }
        Ok(removed)
    }
}
