//! The progress of a move.
//!
//! Owns what each step shows.

use std::ops::Deref;

use super::Bar;
use crate::service::MoveProgress;

/// The progress of one move.
pub(in crate::cli) struct MovingProgress {
    bar: Bar,
}

impl Deref for MovingProgress {
    type Target = Bar;

    fn deref(&self) -> &Bar {
        &self.bar
    }
}

impl MovingProgress {
    pub(in crate::cli) fn new() -> Self {
        Self { bar: Bar::new() }
    }

    /// Shows what happens.
    pub(in crate::cli) fn show(&self, progress: MoveProgress) {
        match progress {
            MoveProgress::Planned { bytes } => self.bar.start(bytes, "copying"),
            MoveProgress::Passed { bytes } => self.bar.bar().inc(bytes),
            MoveProgress::Retrying { reason } => self.bar.retry(&reason),
            MoveProgress::CopyingRows => self.bar.start_spinner("copying the rows of the database"),
            MoveProgress::Checking => self.bar.start_spinner("checking the target"),
        }
    }
}
