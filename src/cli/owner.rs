//! `partway owner set|list`: the limits of owners, and what they use.

use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde_json::json;

use super::{
    flags::StoreFlags,
    output::{OutputError, OutputFlags, head, result},
};
use crate::{domain::Account, service::NewLimit};

/// The word for the limit of the settings.
const DEFAULT: &str = "default";
/// The word for no limit.
const UNLIMITED: &str = "unlimited";

#[derive(Debug, Args)]
pub(super) struct Owner {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give an owner limits other than those of the settings
    ///
    /// A running server applies them to the next session. Sessions and files that exist stay, even if they exceed a limit.
    Set {
        /// The owner, as in `partway token create --owner NAME`
        name: String,
        #[command(flatten)]
        limits: NewLimits,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// List all owners: what they use, and their limits
    List {
        #[command(flatten)]
        stores: StoreFlags,
    },
}

// Without environment variables: PARTWAY_MAX_OPEN_SESSIONS is a setting.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct NewLimits {
    /// Maximum of the bytes in open and stored files: a size such as 50GiB, `unlimited`, or `default` for that of the settings
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<NewLimit>,
    /// Maximum number of open sessions: a number, `unlimited`, or `default` for that of the settings
    #[arg(long, value_name = "N", value_parser = sessions)]
    max_open_sessions: Option<NewLimit>,
}

fn bytes(text: &str) -> Result<NewLimit, String> {
    match text {
        DEFAULT => Ok(None),
        UNLIMITED => Ok(Some(u64::MAX)),
        size => match size.parse::<ByteSize>() {
            Ok(size) => Ok(Some(size.0)),
            Err(_) => Err("give a size such as 50GiB, `unlimited` or `default`".to_owned()),
        },
    }
}

fn sessions(text: &str) -> Result<NewLimit, &'static str> {
    match text {
        DEFAULT => Ok(None),
        UNLIMITED => Ok(Some(u64::MAX)),
        number => number.parse().map(Some).map_err(|_| "give a number, `unlimited` or `default`"),
    }
}

impl Owner {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let accounts = match self.command {
            Command::Set { name, limits, stores } => {
                super::with_service(&stores, async |service| {
                    let set = service.set_limits(&name, limits.max_bytes, limits.max_open_sessions).await;
                    set.map(|account| vec![account]).map_err(super::internal)
                })
                .await?
            }
            Command::List { stores } => {
                super::with_service(&stores, async |service| service.accounts().await.map_err(super::internal)).await?
            }
        };
        print(&accounts)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn print(accounts: &[Account]) -> Result<(), OutputError> {
    head(format_args!(
        "{:20}  {:>12}  {:>12}  {:>13}  {:>13}",
        "OWNER", "BYTES USED", "BYTES LIMIT", "OPEN SESSIONS", "SESSION LIMIT"
    ))?;
    for account in accounts {
        let limit = account.bytes_limit.map_or(UNLIMITED.to_owned(), |limit| HumanBytes(limit).to_string());
        let json = json!({
            "owner": account.owner.as_str(), "bytes_used": account.bytes_used, "bytes_limit": account.bytes_limit,
            "open_sessions": account.open_sessions, "open_sessions_limit": account.open_sessions_limit,
        });
        let row = format!(
            "{:20}  {:>12}  {limit:>12}  {:>13}  {:>13}",
            account.owner.as_str(),
            HumanBytes(account.bytes_used).to_string(),
            account.open_sessions,
            account.open_sessions_limit
        );
        result(json, Some(account.owner.as_str()), Some(row))?;
    }
    Ok(())
}
