//! Looking for damage: rows that disagree, files that are not there, files that no row knows. Changes nothing.

use std::collections::HashSet;

use super::Service;
use crate::{domain::FileId, error::Result};

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
    /// Compares every session's received set with its part rows, and files with what the rows say of them. On a server
    /// that is running, what changes in between can look like damage.
    pub async fn check(&self) -> Result<Report> {
        let mut report = Report::default();
        self.check_sessions(&mut report).await?;
        self.check_files(&mut report).await?;
        Ok(report)
    }

    async fn check_sessions(&self, report: &mut Report) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.db.check_sessions(after).await?;
            report.sessions += page.checked;
            report.problems.extend(page.disagreements.iter().map(ToString::to_string));
            for session in page.with_bytes {
                if let Err(problem) = self.storage.check_upload(&session).await {
                    report.problems.push(format!("session {}: {problem}", session.id.0));
                }
            }
            match page.last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn check_files(&self, report: &mut Report) -> Result<()> {
        let mut unknown: HashSet<FileId> = self.storage.stored_files().await?.into_iter().collect();
        let mut after = None;
        loop {
            let files = self.db.stored_files(after, PAGE).await?;
            let Some(last) = files.last() else { break };
            after = Some(last.id);
            for file in &files {
                report.files += 1;
                unknown.remove(&file.id);
                let location = file.location.as_deref().unwrap_or_default();
                if let Err(problem) = self.storage.check(location, file.size_bytes).await {
                    report.problems.push(format!("file {}: {problem}", file.id.0));
                }
            }
        }
        report.problems.extend(unknown.iter().map(|id| format!("stored/{}: no row knows this file", id.0)));
        Ok(())
    }
}
