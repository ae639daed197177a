//! Looking for damage: rows that disagree, stored files that are not there. Changes nothing.

use super::Service;
use crate::error::Result;

const PAGE: u64 = 500;

/// What was looked at and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Sessions that were looked at.
    pub sessions: u64,
    /// Stored files that were looked at.
    pub files: u64,
    /// One line for each thing that is wrong.
    pub problems: Vec<String>,
}

impl Service {
    /// Compares every session's received set with its part rows, and every stored file's record with the disk.
    pub async fn check(&self) -> Result<Report> {
        let mut report = Report::default();
        let mut after = None;
        loop {
            let page = self.db.check_sessions(after).await?;
            report.sessions += page.checked;
            report.problems.extend(page.disagreements.iter().map(ToString::to_string));
            match page.last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        let mut after = None;
        loop {
            let files = self.db.stored_files(after, PAGE).await?;
            let Some(last) = files.last() else { return Ok(report) };
            after = Some(last.id);
            for file in &files {
                report.files += 1;
                let location = file.location.as_deref().unwrap_or_default();
                if let Err(problem) = self.storage.check(location, file.size_bytes).await {
                    report.problems.push(format!("file {}: {problem}", file.id.0));
                }
            }
        }
    }
}
