//! The check of the accounts.
//!
//! Owns what counts as damage of an account, and its repair. The account is what a limit is compared with, so a wrong one
//! refuses uploads that are allowed, or allows too many.

use super::{Check, DONE, RESTORE_ROWS};
use crate::db::WrongAccount;

const CORRECT: &str = "--repair corrects the account";

impl Check<'_> {
    /// Compares what each owner uses with the owner's account.
    pub(super) async fn accounts(&mut self) {
        let wrong = match self.service.db.wrong_accounts().await {
            Ok(wrong) => wrong,
            Err(error) => {
                return self.report.problem(format!("database: accounts cannot be compared: {error}"), RESTORE_ROWS);
            }
        };
        for WrongAccount { owner, recorded, actual } in wrong {
            let recorded = recorded.map_or_else(
                || "it does not exist".to_owned(),
                |recorded| format!("it says {} bytes and {} open sessions", recorded.bytes, recorded.open_sessions),
            );
            let (bytes, sessions) = (actual.bytes, actual.open_sessions);
            let what =
                format!("account {owner}: {recorded}, but the owner uses {bytes} bytes and {sessions} open sessions");
            if !self.options.repairs {
                self.report.problem(what, CORRECT);
                continue;
            }
            match self.service.db.correct_account(&owner).await {
                Ok(()) => self.report.repaired(what, DONE),
                Err(error) => self.report.problem(format!("{what}: {error}"), CORRECT),
            }
        }
    }
}
