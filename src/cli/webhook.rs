//! `partway webhook add|list|test|rotate|remove|dead|replay`: manages webhooks.

use std::process::ExitCode;

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    exit::Exit,
    flags::StoreFlags,
    internal,
    output::{NOTHING, OutputFlags, head, note, result},
    token::duration,
    with_service,
};
use crate::{
    domain::{EventId, EventType, OwnerName, WebhookId},
    service::{ListedWebhook, Replay, WebhookTest},
};

#[derive(Debug, Args)]
pub(super) struct Webhook {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) output: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a webhook, and print the secret that signs its messages; it cannot be shown again
    Add {
        /// Where the server sends the events: https://…, or http://localhost…
        url: String,
        /// The types of the events, as in upload.completed,file.deleted [default: all]
        #[arg(long, value_delimiter = ',')]
        events: Vec<String>,
        /// The owner whose events the server sends [default: all owners]
        #[arg(long)]
        owner: Option<String>,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// List all webhooks, without their secrets
    List {
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// Send an event of the type webhook.test now; enables a disabled webhook if it accepts the event
    Test {
        #[command(flatten)]
        webhook: WebhookArg,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// Replace the secret and print the new one; the old one also signs for 24 hours
    Rotate {
        #[command(flatten)]
        webhook: WebhookArg,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// Remove a webhook
    Remove {
        #[command(flatten)]
        webhook: WebhookArg,
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// List the events that the server has given up to send
    Dead {
        #[command(flatten)]
        stores: StoreFlags,
    },
    /// Send events again: those that the server has given up, one event, or all of a time
    Replay {
        /// Send this event, whether or not it was delivered
        #[arg(value_name = "EVENT_ID", conflicts_with = "since", value_parser = event_id)]
        event: Option<EventId>,
        /// Send only to this webhook
        #[arg(long, value_name = "ID", value_parser = webhook_id)]
        webhook: Option<WebhookId>,
        /// Send all events of this time, as in 2d or 12h, whether or not they were delivered
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        since: Option<TimeDelta>,
        #[command(flatten)]
        stores: StoreFlags,
    },
}

#[derive(Debug, Args)]
struct WebhookArg {
    /// The webhook's id, as `partway webhook list` shows it
    #[arg(value_parser = webhook_id)]
    id: WebhookId,
}

fn webhook_id(text: &str) -> Result<WebhookId, &'static str> {
    text.parse().map_err(|_| "give the id that `partway webhook list` shows")
}

fn event_id(text: &str) -> Result<EventId, &'static str> {
    text.parse().map_err(|_| "an event's id is evt_ and a UUID, as in the feed and in the header webhook-id")
}

impl Webhook {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Add { url, events, owner, stores } => {
                let added = with_service(&stores, async |service| {
                    service.add_webhook(&url, &events, owner.as_deref()).await.map_err(internal)
                })
                .await?;
                note(format_args!("id {}", added.id));
                let secret = added.secret.reveal();
                result(json!({ "id": added.id.to_string(), "secret": secret }), Some(&secret), Some(&secret))?;
            }
            Command::List { stores } => list(&stores).await?,
            Command::Test { webhook, stores } => return test(webhook.id, &stores).await,
            Command::Rotate { webhook, stores } => {
                let secret =
                    with_service(&stores, async |service| service.rotate_webhook(webhook.id).await.map_err(internal))
                        .await?;
                note("the old secret also signs for 24 hours");
                let secret = secret.reveal();
                result(json!({ "id": webhook.id.to_string(), "secret": secret }), Some(&secret), Some(&secret))?;
            }
            Command::Remove { webhook, stores } => {
                with_service(&stores, async |service| service.remove_webhook(webhook.id).await.map_err(internal))
                    .await?;
                note("removed");
                result(json!({ "id": webhook.id.to_string(), "result": "removed" }), NOTHING, NOTHING)?;
            }
            Command::Dead { stores } => dead(&stores).await?,
            Command::Replay { event, webhook, since, stores } => {
                let what = match (event, since) {
                    (Some(event), _) => Replay::Event(event),
                    (None, Some(since)) => Replay::Last(since),
                    (None, None) => Replay::Dead,
                };
                let number =
                    with_service(&stores, async |service| service.replay_events(what, webhook).await.map_err(internal))
                        .await?;
                result(json!({ "messages": number }), Some(number), Some(number))?;
                note("messages are due; a running server sends them now");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(stores: &StoreFlags) -> anyhow::Result<()> {
    let webhooks = with_service(stores, async |service| service.webhooks().await.map_err(internal)).await?;
    head(format_args!(
        "{:36}  {:16}  {:8}  {:>7}  {:>5}  {:20}  {:30}  URL",
        "ID", "CREATED", "STATE", "PENDING", "DEAD", "OWNER", "EVENTS"
    ))?;
    for ListedWebhook { webhook, pending, dead } in webhooks {
        let types: Vec<&str> = webhook.event_types.iter().copied().map(EventType::as_str).collect();
        // The query may contain a secret.
        let (url, query) = webhook.url.split_once('?').map_or((webhook.url.as_str(), ""), |(url, _)| (url, "?…"));
        let owner = webhook.owner.as_ref().map(OwnerName::as_str);
        let json = json!({
            "id": webhook.id.to_string(), "url": format!("{url}{query}"), "events": types, "owner": owner,
            "enabled": webhook.disabled_at.is_none(), "created_at": webhook.created_at, "pending": pending, "dead": dead,
        });
        let row = format!(
            "{}  {:16}  {:8}  {pending:>7}  {dead:>5}  {:20}  {:30}  {url}{query}",
            webhook.id,
            webhook.created_at.format("%F %R").to_string(),
            if webhook.disabled_at.is_some() { "disabled" } else { "enabled" },
            owner.unwrap_or("all"),
            if types.is_empty() { "all".to_owned() } else { types.join(",") },
        );
        result(json, Some(webhook.id.to_string()), Some(row))?;
    }
    Ok(())
}

async fn test(id: WebhookId, stores: &StoreFlags) -> anyhow::Result<ExitCode> {
    let WebhookTest { status, problem, enabled } =
        with_service(stores, async |service| service.test_webhook(id).await.map_err(internal)).await?;
    let what = if problem.is_none() { "delivered" } else { "failed" };
    let json =
        json!({ "id": id.to_string(), "result": what, "status": status, "problem": problem, "enabled": enabled });
    if let Some(problem) = problem {
        result(json, NOTHING, Some(format_args!("failed: {problem}")))?;
        return Ok(Exit::Failed.into());
    }
    result(json, NOTHING, Some(format_args!("delivered: status {}", status.unwrap_or_default())))?;
    if enabled {
        note(
            "the webhook is enabled again; `partway webhook replay --webhook ID --since 2d` sends what it missed, also what happened while it \
             was disabled",
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn dead(stores: &StoreFlags) -> anyhow::Result<()> {
    with_service(stores, async |service| {
        head(format_args!("{:36}  {:40}  {:16}  {:>8}  LAST RESULT", "WEBHOOK", "EVENT", "TYPE", "ATTEMPTS"))?;
        let mut last = None;
        loop {
            let page = service.dead_deliveries(last.as_ref()).await.map_err(internal)?;
            for dead in &page {
                let status = dead.last_status.map(|status| format!("status {status}"));
                let error = dead.last_error.clone().or(status).unwrap_or_default();
                let json = json!({
                    "webhook_id": dead.webhook.to_string(), "event_id": dead.event.to_string(),
                    "type": dead.event_type, "attempts": dead.attempts,
                    "last_status": dead.last_status, "last_error": dead.last_error,
                });
                let row =
                    format!("{}  {}  {:16}  {:>8}  {error}", dead.webhook, dead.event, dead.event_type, dead.attempts);
                result(json, Some(dead.event), Some(row))?;
            }
            last = page.into_iter().last();
            if last.is_none() {
                return Ok(());
            }
        }
    })
    .await
}
