//! The exit codes of the commands.
//!
//! Owns the table of codes, and which error has which. `docs/cli.md` and the manual page show the same table.

use std::{error::Error as StdError, process::ExitCode};

use serde_json::{Value, json};

use super::{internal::ServiceFailure, output::OutputError, server::NoToken, usage::UsageError};
use crate::client::{ClientError, DownloadError, UploadError};

macro_rules! exits {
    ($($variant:ident = $code:literal, $meaning:literal;)+) => {
        /// How a command ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Exit { $(#[doc = $meaning] $variant,)+ }

        impl Exit {
            /// Every code, in the order of the table.
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            pub(super) fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// What it means, for people.
            pub(super) fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

exits! {
    Done = 0, "Done.";
    Failed = 1, "Failed, for a reason that has no code of its own. `check`: problems were found.";
    Usage = 2, "The arguments are wrong. Nothing was done.";
    Partly = 3, "Some of the files or ids failed; the others are done.";
    NotFound = 4, "There is nothing with this id, or the file is not stored.";
    Token = 5, "There is no token, or the server does not accept it for this.";
    Unavailable = 6, "No answer, or a temporary error, until the time for retries was over. The same command may succeed later.";
    Damaged = 7, "The bytes are not the right ones: a file changed while it was uploaded, a download does not have the digest of its file, or the server has lost bytes.";
    NoRoom = 8, "The file is too large, or does not fit into the quota.";
    Interrupted = 130, "Interrupted with ctrl-C.";
    ClosedPipe = 141, "The reader of standard output has closed it.";
}

impl Exit {
    /// The code for an error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(of_cause).unwrap_or(Self::Failed)
    }

    /// The code of a command with several files or ids, of which `done` have succeeded and these have failed.
    pub(super) fn of_many(done: usize, failures: &[Self]) -> Self {
        match failures {
            [] => Self::Done,
            _ if done > 0 => Self::Partly,
            [first, others @ ..] if others.iter().all(|other| other == first) => *first,
            _ => Self::Failed,
        }
    }

    fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Token => Self::Token,
            ClientError::Refused { code, retryable, .. } => Self::of_code(code, *retryable),
            error if error.is_retryable() => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    fn of_code(code: &str, retryable: bool) -> Self {
        match code {
            "NOT_FOUND" => Self::NotFound,
            "UNAUTHENTICATED" | "FORBIDDEN" => Self::Token,
            "QUOTA_EXCEEDED" | "TOO_LARGE" => Self::NoRoom,
            "BYTES_LOST" | "CHECKSUM_MISMATCH" => Self::Damaged,
            _ if retryable => Self::Unavailable,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Exit> {
    if let Some(output) = cause.downcast_ref::<OutputError>() {
        return output.is_closed_pipe().then_some(Exit::ClosedPipe);
    }
    if cause.is::<UsageError>() {
        return Some(Exit::Usage);
    }
    if cause.is::<NoToken>() {
        return Some(Exit::Token);
    }
    if let Some(failure) = cause.downcast_ref::<ServiceFailure>() {
        return Some(Exit::of_code(failure.code.as_str(), failure.code.is_retryable()));
    }
    if let Some(error) = cause.downcast_ref::<ClientError>() {
        return Some(Exit::of_client(error));
    }
    if let Some(error) = cause.downcast_ref::<UploadError>() {
        return Some(match error {
            UploadError::Client(error) => Exit::of_client(error),
            UploadError::Changed | UploadError::Damaged => Exit::Damaged,
            _ => Exit::Failed,
        });
    }
    cause.downcast_ref::<DownloadError>().map(|error| match error {
        DownloadError::Client(error) => Exit::of_client(error),
        DownloadError::NotStored(_) => Exit::NotFound,
        DownloadError::Cut | DownloadError::Restarted => Exit::Unavailable,
        DownloadError::Damaged(_) => Exit::Damaged,
        DownloadError::ProtocolMismatch | DownloadError::Target(_) => Exit::Failed,
    })
}

/// The JSON of an error.
pub(super) fn to_json(error: &anyhow::Error) -> Value {
    json!({ "code": server_code(error), "message": format!("{error:#}"), "exit_code": Exit::of(error).code() })
}

/// The stable code of the server in an error, if it has one.
fn server_code(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let client = match (cause.downcast_ref::<UploadError>(), cause.downcast_ref::<DownloadError>()) {
            (Some(UploadError::Client(error)), _) | (_, Some(DownloadError::Client(error))) => Some(error),
            _ => cause.downcast_ref::<ClientError>(),
        };
        let service = cause.downcast_ref::<ServiceFailure>().map(|failure| failure.code.as_str());
        client.and_then(ClientError::code).or(service).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table() {
        let rows: Vec<_> = Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
        let table = format!("| code | meaning |\n| --- | --- |\n{}\n\n", rows.join("\n"));
        assert!(include_str!("../../docs/cli.md").contains(&table), "docs/cli.md must have:\n{table}");
    }

    #[test]
    fn an_error_of_the_server_has_its_code_also_below_a_context() {
        use anyhow::Context;
        let refused = |code: &str, status| ClientError::Refused {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            code: code.to_owned(),
            detail: "no".to_owned(),
            retryable: status == 503,
            retry_after: None,
        };
        for (code, status, exit) in [
            ("NOT_FOUND", 404, Exit::NotFound),
            ("UNAUTHENTICATED", 401, Exit::Token),
            ("QUOTA_EXCEEDED", 413, Exit::NoRoom),
            ("UNAVAILABLE", 503, Exit::Unavailable),
            ("INVALID_INPUT", 400, Exit::Failed),
        ] {
            let error: anyhow::Error =
                Err::<(), _>(UploadError::from(refused(code, status))).context("a.bin").unwrap_err();
            assert_eq!((Exit::of(&error), server_code(&error).as_deref()), (exit, Some(code)));
            assert_eq!(Exit::of(&DownloadError::from(refused(code, status)).into()), exit);
        }
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
