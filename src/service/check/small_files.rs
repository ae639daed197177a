//! The check of small files that are not at their place.

use super::{Check, DONE};
use crate::service::small_file::ABANDONED_AFTER;

const SWEEP: &str = "the next sweep of a running server moves it to `stored/` if it has a row, and else removes it; --repair does it now";

impl Check<'_> {
    /// Reports, or finishes, what requests left that ended too early. Younger files may belong to requests of a running server.
    pub(super) async fn small_files(&mut self) {
        let Some(folder) = self.service.storage.as_folder() else { return };
        let found = match folder.abandoned_files().await {
            Ok(found) => found.into_iter().filter(|file| file.age >= ABANDONED_AFTER).collect::<Vec<_>>(),
            Err(error) => return self.report.problem(format!("arriving: {error}"), "run the check again"),
        };
        let repaired = match self.options.repairs && !found.is_empty() {
            true => Some(self.service.finish_small_files().await),
            false => None,
        };
        for file in found {
            let what = format!("arriving/{}: the request that brought it was interrupted", file.id);
            match &repaired {
                None => self.report.unfinished(what, SWEEP),
                Some(Ok(_)) => self.report.repaired(what, DONE),
                Some(Err(error)) => self.report.problem(format!("{what}: {}", error.with_causes()), SWEEP),
            }
        }
    }
}
