//! The progress of a download.
//!
//! Owns what each step shows.

use std::ops::Deref;

use super::Bar;
use crate::{cli::output::note, client::DownloadEvent};

/// The progress of one download.
pub(in crate::cli) struct DownloadProgress {
    bar: Bar,
}

impl Deref for DownloadProgress {
    type Target = Bar;

    fn deref(&self) -> &Bar {
        &self.bar
    }
}

impl DownloadProgress {
    pub(in crate::cli) fn new() -> Self {
        Self { bar: Bar::new() }
    }

    /// Shows an event of the download.
    pub(in crate::cli) fn show(&self, event: DownloadEvent) {
        match event {
            DownloadEvent::Checking { bytes } => self.bar.start(bytes, "reading what is there"),
            DownloadEvent::Checked { bytes } | DownloadEvent::Received { bytes } => self.bar.bar().inc(bytes),
            DownloadEvent::Receiving { from, size } => {
                self.bar.start(size, "receiving");
                let bar = self.bar.bar();
                bar.set_position(from);
                bar.reset_eta();
            }
            DownloadEvent::Restarting { reason } => {
                self.bar.clear();
                note(format_args!("{reason}; receiving all of it again"));
            }
            DownloadEvent::Retrying { reason } => self.bar.retry(&reason),
        }
    }
}
