//! `partway token create|list|revoke`: manages tokens.

use std::process::ExitCode;

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::flags::StoreFlags;
use serde_json::json;

use super::output::{NOTHING, OutputFlags, head, note, result};
use crate::domain::Timestamp;

#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a token and print it; it cannot be shown again
    Create {
        /// The owner whose sessions and files the token gives access to
        #[arg(long, env = "PARTWAY_OWNER")]
        owner: String,
        /// What the token is for
        #[arg(long, env = "PARTWAY_NAME", default_value = "")]
        name: String,
        /// How long the token is valid, as in 30d or 12h [default: no limit]
        #[arg(long, env = "PARTWAY_EXPIRES_IN", value_parser = duration)]
        expires_in: Option<TimeDelta>,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// List all tokens, without their secrets
    List {
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// Revoke a token
    Revoke {
        /// The token's id, as `partway token list` shows it
        #[arg(value_parser = token_id)]
        id: Uuid,
        #[command(flatten)]
        stores: StoreFlags,
    },
}

pub(super) fn duration(text: &str) -> Result<TimeDelta, String> {
    let duration = humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())?;
    TimeDelta::from_std(duration).map_err(|error| error.to_string())
}

fn token_id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "give the id that `partway token list` shows, not the token itself")
}

impl Token {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Create { owner, name, expires_in, stores } => {
                let created = super::with_service(&stores, async |service| {
                    service.create_token(&owner, &name, expires_in).await.map_err(super::internal)
                })
                .await?;
                note(format_args!("id {}", created.id));
                let token = created.token.reveal();
                let json = json!({ "id": created.id, "token": token, "owner": owner, "name": name });
                result(json, Some(token), Some(token))?;
            }
            Command::List { stores } => list(&stores).await?,
            Command::Revoke { id, stores } => {
                super::with_service(&stores, async |service| service.revoke_token(id).await.map_err(super::internal))
                    .await?;
                note("revoked; running servers reject the token within two seconds");
                result(json!({ "id": id, "result": "revoked" }), NOTHING, NOTHING)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(stores: &StoreFlags) -> anyhow::Result<()> {
    let tokens = super::with_service(stores, async |service| service.tokens().await.map_err(super::internal)).await?;
    let day = |at: Option<Timestamp>, none: &str| at.map_or(none.to_owned(), |at| at.format("%F %R").to_string());
    head(format_args!(
        "{:36}  {:16}  {:16}  {:16}  {:16}  {:20}  NAME",
        "ID", "CREATED", "LAST USED", "EXPIRES", "REVOKED", "OWNER"
    ))?;
    for token in tokens {
        let json = json!({
            "id": token.id, "owner": token.owner, "name": token.name, "created_at": token.created_at,
            "last_used_at": token.last_used_at, "expires_at": token.expires_at, "revoked_at": token.revoked_at,
        });
        let row = format!(
            "{}  {:16}  {:16}  {:16}  {:16}  {:20}  {}",
            token.id,
            day(Some(token.created_at), ""),
            day(token.last_used_at, "never"),
            day(token.expires_at, "never"),
            day(token.revoked_at, "-"),
            token.owner,
            token.name
        );
        result(json, Some(token.id), Some(row))?;
    }
    Ok(())
}
