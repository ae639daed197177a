//! Looking for damage, on a server that runs or not: rows that cannot be read or disagree, bytes that are gone or others,
//! and what a crash left unfinished.
//!
//! Owns the report, and what is wrong as opposed to merely unfinished. Goes on after whatever is damaged. Mends only when
//! asked to, and only what is certain: no byte is removed that a row could still need or that no row knows.

mod digests;
mod session;

use std::{collections::HashSet, sync::Arc};

use super::Service;
use crate::{
    domain::{FileId, FileRecord, FileStatus, SessionId},
    error::Result,
};

const RESTORE_ROWS: &str =
    "restore the database from a backup, or save what can be read with `sqlite3 partway.db .recover`";
const RESTORE_BYTES: &str = "restore this file from a backup, or have it uploaded again";
const KEEP: &str = "keep it until you know that no database needs it (another one, or one before a restore); then remove it \
                    by hand";

/// What to do besides looking.
#[derive(Clone, Default)]
pub struct CheckOptions {
    /// Mend what can be mended for certain. No server may run on the same folder or SQLite database.
    pub repairs: bool,
    /// Read every byte and compare it with the digests. Told as it goes on: how many bytes there are in all, how many were
    /// read now.
    pub on_read: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

impl std::fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions").field("repairs", &self.repairs).finish_non_exhaustive()
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// What was looked at and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Sessions that were looked at.
    pub sessions: u64,
    /// Stored files that were looked at.
    pub files: u64,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What a crash left unfinished, and the server or its clients finish by themselves.
    pub unfinished: Vec<Finding>,
    /// What was wrong or unfinished, and is mended.
    pub repaired: Vec<Finding>,
}

impl Report {
    fn problem(&mut self, what: String, advice: &'static str) {
        self.problems.push(Finding { what, advice });
    }

    fn unfinished(&mut self, what: String, advice: &'static str) {
        self.unfinished.push(Finding { what, advice });
    }

    fn repaired(&mut self, what: String, advice: &'static str) {
        self.repaired.push(Finding { what, advice });
    }
}

/// A look that is under way.
struct Check<'a> {
    service: &'a Arc<Service>,
    options: CheckOptions,
    report: Report,
    /// What the storage holds that no row has been found for yet.
    uploads: HashSet<SessionId>,
    stored: HashSet<FileId>,
    /// Bytes that a look at all digests reads.
    total_bytes: u64,
}

impl Service {
    /// Looks at everything.
    ///
    /// # Errors
    /// The storage cannot be listed. All else is in the report.
    pub async fn check(self: &Arc<Self>, options: CheckOptions) -> Result<Report> {
        // Rows are written before bytes: what is listed here has its row by now.
        let uploads = match self.storage.as_folder() {
            Some(folder) => folder.uploads().await?.into_iter().collect(),
            None => HashSet::new(),
        };
        let stored = self.storage.stored_files().await?.into_iter().collect();
        let mut check = Check { service: self, options, report: Report::default(), uploads, stored, total_bytes: 0 };
        check.rows().await;
        Ok(check.report)
    }
}

impl Check<'_> {
    async fn rows(&mut self) {
        match self.service.db.integrity_problems().await {
            Ok(lines) => {
                for line in lines {
                    self.report.problem(format!("database: {line}"), RESTORE_ROWS);
                }
            }
            Err(error) => {
                self.report.problem(format!("database: its integrity cannot be checked: {error}"), RESTORE_ROWS);
            }
        }
        if self.options.on_read.is_some() {
            self.total_bytes = self.service.db.bytes_to_compare().await.unwrap_or(0);
        }
        let (sessions, unread) = self.service.db.session_ids().await;
        let is_whole = unread.is_none();
        if let Some(error) = unread {
            self.report.problem(format!("database: not all sessions can be read: {error}"), RESTORE_ROWS);
        }
        let mut seen = HashSet::new();
        for id in sessions {
            self.report.sessions += 1;
            seen.extend(self.session(id).await);
        }
        self.files(&seen, is_whole).await;
    }

    /// The files that no session led to, and what no row knows.
    async fn files(&mut self, seen: &HashSet<FileId>, mut is_whole: bool) {
        let (files, unread) = self.service.db.file_ids().await;
        if let Some(error) = unread {
            self.report.problem(format!("database: not all files can be read: {error}"), RESTORE_ROWS);
            is_whole = false;
        }
        for id in files.into_iter().filter(|id| !seen.contains(id)) {
            self.stored.remove(&id);
            match self.service.db.check_file(id).await {
                Ok(Ok(file)) => {
                    self.stored_file(&file).await;
                }
                // Its session's row told it too, if that could be read.
                Ok(Err(problem)) => self.report.problem(format!("file {id}: {problem}"), RESTORE_ROWS),
                Err(error) => {
                    self.report.problem(format!("file {id}: its row cannot be read: {error}"), RESTORE_ROWS);
                }
            }
        }
        let nobody = if is_whole { "no row knows it" } else { "no row that can be read knows it" };
        let mut unknown: Vec<_> = self.uploads.iter().map(|id| format!("uploading/{id}")).collect();
        unknown.extend(self.stored.iter().map(|id| format!("stored/{id}")));
        unknown.sort();
        for what in unknown {
            self.report.problem(format!("{what}: {nobody}"), KEEP);
        }
    }

    /// Whether the bytes of a file that its row calls stored are there, as many as there should be.
    async fn stored_file(&mut self, file: &FileRecord) -> bool {
        let Some(location) = file.location.as_deref().filter(|_| file.status == FileStatus::Stored) else {
            return false;
        };
        self.report.files += 1;
        let checked = self.service.storage.check(location, file.size_bytes).await;
        if let Err(problem) = &checked {
            let what = format!("file {} ({:?} of {}): {problem}", file.id, file.original_filename, file.owner);
            self.report.problem(what, RESTORE_BYTES);
        }
        checked.is_ok()
    }
}
