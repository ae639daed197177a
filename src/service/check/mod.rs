//! `partway check`: looking for damage, also while a server runs.
//!
//! Owns the report, and the difference between damage and unfinished work. Damage is an invalid row, rows that
//! contradict each other, or bytes that are missing or changed. Unfinished work is what a crash left and the server
//! finishes by itself. The check continues after every damage that it finds. It repairs only on request, and
//! only what it can repair with certainty. It never removes bytes that a row may still need, or that have no row, except small
//! files that were never acknowledged.

mod accounts;
mod digests;
mod session;
mod small_files;

use std::{collections::HashSet, fmt, sync::Arc};

use super::Service;
use crate::{
    domain::{FileId, FileRecord, FileStatus, Session, SessionId},
    error::Result,
};

const RESTORE_ROWS: &str =
    "restore the database from a backup, or recover the readable rows with `sqlite3 partway.db .recover`";
const RESTORE_BYTES: &str = "restore this file from a backup, or ask its owner to upload it again";
const KEEP: &str = "keep it until you are sure that no other database and no backup of this one has a row for it; \
                    then remove it by hand";
const DONE: &str = "nothing is left to do";

/// The optional steps of a check. Every check compares rows with files.
#[derive(Clone, Default)]
pub struct CheckOptions {
    /// Repair what can be repaired with certainty. No server may run on the same folder or SQLite database.
    pub repairs: bool,
    /// If set: read every byte and compare it with the digests. The check calls this after each step with the total
    /// number of bytes, and the number of bytes in the step.
    pub on_read: Option<Arc<dyn Fn(u64, u64) + Send + Sync>>,
}

impl fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("repairs", &self.repairs).finish_non_exhaustive()
    }
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The damage or the unfinished work.
    pub what: String,
    /// The advice for the operator.
    pub advice: &'static str,
}

/// The results of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of checked sessions.
    pub sessions: u64,
    /// The number of checked stored files.
    pub files: u64,
    /// The number of stored files whose bytes were not compared, because no digest of them is recorded any more.
    pub not_compared: u64,
    /// Damage.
    pub problems: Vec<Finding>,
    /// Unfinished work that the server or a client will finish.
    pub unfinished: Vec<Finding>,
    /// Damage and unfinished work that the check has repaired.
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

/// A check under way.
struct Check<'a> {
    service: &'a Arc<Service>,
    options: CheckOptions,
    report: Report,
    /// Uploads in the storage for which the check has found no row yet.
    uploads: HashSet<SessionId>,
    /// Stored files in the storage for which the check has found no row yet.
    stored: HashSet<FileId>,
    /// Sessions whose row says that their bytes are freed, and whose bytes the storage listed. A running server may have freed
    /// them after the list.
    listed_but_freed: Vec<Session>,
    /// Bytes that a comparison of all digests reads.
    total_bytes: u64,
}

impl Service {
    /// Checks all rows and all files.
    ///
    /// # Errors
    /// The storage cannot list its files. All other errors are in the report.
    pub async fn check(self: &Arc<Self>, options: CheckOptions) -> Result<Report> {
        // List the storage before the rows. A session's row is written before its bytes, so every listed file has its
        // row.
        let (uploads, stored) = self.listed().await?;
        let mut check = Check {
            service: self,
            options,
            report: Report::default(),
            uploads,
            stored,
            listed_but_freed: Vec::new(),
            total_bytes: 0,
        };
        check.rows().await;
        if !check.listed_but_freed.is_empty() {
            check.still_listed(&self.listed().await?).await;
        }
        check.small_files().await;
        check.accounts().await;
        check.events().await;
        Ok(check.report)
    }

    /// The uploads and the stored files in the storage. An object store cannot list its uploads cheaply.
    async fn listed(&self) -> Result<(HashSet<SessionId>, HashSet<FileId>)> {
        let uploads = match self.storage.as_folder() {
            Some(folder) => folder.uploads().await?.into_iter().collect(),
            None => HashSet::new(),
        };
        Ok((uploads, self.storage.stored_files().await?.into_iter().collect()))
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

    /// Reports events that the feed and the webhooks leave out.
    async fn events(&mut self) {
        match self.service.db.event_problems().await {
            Ok(problems) => problems.into_iter().for_each(|problem| self.report.problem(problem, RESTORE_ROWS)),
            Err(error) => self.report.problem(format!("database: events cannot be read: {error}"), RESTORE_ROWS),
        }
    }

    /// Checks the file rows that no session refers to, and reports files without a row.
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
                // The check of its session reports it too, if the session's row is valid.
                Ok(Err(problem)) => self.report.problem(format!("file {id}: {problem}"), RESTORE_ROWS),
                Err(error) => {
                    self.report.problem(format!("file {id}: its row cannot be read: {error}"), RESTORE_ROWS);
                }
            }
        }
        let reason = if is_whole { "no row refers to it" } else { "no readable row refers to it" };
        let mut unknown: Vec<_> = self.uploads.iter().map(|id| format!("uploading/{id}")).collect();
        unknown.extend(self.stored.iter().map(|id| format!("stored/{id}")));
        unknown.sort();
        for what in unknown {
            self.report.problem(format!("{what}: {reason}"), KEEP);
        }
    }

    /// Checks that the bytes of a stored file exist and have its size. False if not, or if the file is not stored.
    async fn stored_file(&mut self, file: &FileRecord) -> bool {
        let Some(location) = file.location.as_deref().filter(|_| file.status == FileStatus::Stored) else {
            return false;
        };
        self.report.files += 1;
        let checked = self.service.storage.check(location, file.size_bytes).await;
        if let Err(problem) = &checked {
            self.bytes_problem(file, problem).await;
        }
        checked.is_ok()
    }

    /// Reports a problem with the bytes of a stored file, unless a running server has deleted the file since its row was read.
    async fn bytes_problem(&mut self, file: &FileRecord, problem: impl fmt::Display) {
        let now = self.service.db.check_file(file.id).await;
        if !now.is_ok_and(|now| now.is_ok_and(|now| now.status != FileStatus::Stored)) {
            let what = format!("file {} ({:?} of {}): {problem}", file.id, file.original_filename, file.owner);
            self.report.problem(what, RESTORE_BYTES);
        }
    }
}
