//! What commands without a progress bar say about retries.

use std::sync::atomic::{AtomicBool, Ordering};

use super::output::note;

/// Notes the reason of the first retry, and no other.
pub(super) fn note_first() -> impl Fn(String) + Sync {
    let has_noted = AtomicBool::new(false);
    move |reason| {
        if !has_noted.swap(true, Ordering::Relaxed) {
            note(format_args!("{reason}; trying again, press ctrl-C to stop"));
        }
    }
}
