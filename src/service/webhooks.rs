//! Adding, listing, testing and removing webhooks, and sending events to them again.
//!
//! Only the command line calls this. It needs no token: anyone who can open the database may add a webhook. Does not send
//! events when they are due: that is `deliver`.

use chrono::TimeDelta;
use serde_json::{json, value::to_raw_value};
use uuid::Uuid;

use super::Service;
use crate::{
    db::{DeadDelivery, DeliveryCounts},
    domain::{
        EventId, EventType, OwnerName, PREVIOUS_SECRET_SIGNS, Timestamp, Webhook, WebhookId, WebhookSecret,
        webhook_body,
    },
    error::{Error, Result},
    webhooks::{Outcome, Target},
};

/// The type of the event that a test sends. No upload causes it.
const TEST_EVENT: &str = "webhook.test";
/// The number of dead deliveries in one page.
const PAGE: u64 = 500;

/// A webhook with the numbers of its deliveries.
#[derive(Clone, Debug)]
pub struct ListedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// Events that it must still get.
    pub pending: u64,
    /// Events that the server has given up.
    pub dead: u64,
}

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTest {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why the webhook did not accept the event, if it did not.
    pub problem: Option<String>,
    /// Whether the webhook was disabled and is enabled now.
    pub enabled: bool,
}

/// Which events to send again.
#[derive(Clone, Copy, Debug)]
pub enum Replay {
    /// Those that the server has given up.
    Dead,
    /// One event, whether or not it was delivered.
    Event(EventId),
    /// All events since this time ago, also those that were delivered before, and those that happened while the webhook was
    /// disabled.
    Last(TimeDelta),
}

impl Service {
    /// Adds a webhook. `event_types` are the names of the types that it gets; without any, it gets all. Without an owner,
    /// it gets the events of all owners. Events that happened before are not sent.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field.
    pub async fn add_webhook(&self, url: &str, event_types: &[String], owner: Option<&str>) -> Result<Webhook> {
        let target = Target::parse(url.trim(), self.deliveries.sender.settings());
        let target = target.map_err(|problem| Error::invalid("url", problem))?;
        let webhook = Webhook {
            id: WebhookId::generate(),
            url: target.as_url().to_string(),
            event_types: parse_types(event_types)?,
            owner: owner.map(|name| OwnerName::parse(name).ok_or_else(Error::invalid_owner)).transpose()?,
            secret: random_secret()?,
            previous: None,
            disabled_at: None,
            created_at: self.clock.now(),
        };
        // Without this, events that have no position yet would be sent to the new webhook.
        self.db.number_events(webhook.created_at).await?;
        self.db.create_webhook(&webhook).await?;
        Ok(webhook)
    }

    /// All webhooks, the oldest first.
    pub async fn webhooks(&self) -> Result<Vec<ListedWebhook>> {
        let counts = self.db.delivery_counts().await?;
        let listed = |webhook: Webhook| {
            let DeliveryCounts { pending, dead, .. } = counts.get(&webhook.id).copied().unwrap_or_default();
            ListedWebhook { webhook, pending, dead }
        };
        Ok(self.db.webhooks().await?.into_iter().map(listed).collect())
    }

    /// Sends a test event now, once. If a disabled webhook accepts it, enables the webhook.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such webhook. `INVALID_INPUT` if the settings no longer allow its URL.
    pub async fn test_webhook(&self, id: WebhookId) -> Result<WebhookTest> {
        let webhook = self.webhook(id).await?;
        let data = to_raw_value(&json!({ "webhook_id": id.to_string() })).map_err(Error::internal)?;
        let body = webhook_body(TEST_EVENT, self.clock.now(), &data);
        let sent = self.send_to(&webhook, EventId(Uuid::now_v7()), &body).await;
        let outcome = sent.map_err(|problem| Error::invalid("url", problem))?;
        let (status, problem) = match outcome {
            Outcome::Delivered(status) => (Some(status), None),
            Outcome::Gone => (Some(410), Some("status 410; an event with this answer disables the webhook".to_owned())),
            Outcome::Failed { status, error, .. } => (status, Some(error)),
        };
        let enabled = webhook.disabled_at.is_some() && problem.is_none();
        if enabled {
            self.db.enable_webhook(id).await?;
        }
        Ok(WebhookTest { status, problem, enabled })
    }

    /// Gives a webhook a new secret. The old one also signs for 24 hours.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such webhook.
    pub async fn rotate_webhook(&self, id: WebhookId) -> Result<WebhookSecret> {
        let secret = random_secret()?;
        let until = self.clock.now() + PREVIOUS_SECRET_SIGNS;
        match self.db.rotate_webhook(id, &secret, until).await? {
            true => Ok(secret),
            false => Err(Error::not_found("webhook")),
        }
    }

    /// Removes a webhook. It gets nothing more, except for what is being sent at this moment.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such webhook.
    pub async fn remove_webhook(&self, id: WebhookId) -> Result<()> {
        match self.db.remove_webhook(id, self.clock.now()).await? {
            true => Ok(()),
            false => Err(Error::not_found("webhook")),
        }
    }

    /// A page of the deliveries that the server has given up, after this one. The last page is empty.
    pub async fn dead_deliveries(&self, after: Option<&DeadDelivery>) -> Result<Vec<DeadDelivery>> {
        Ok(self.db.dead_deliveries(after.map(|dead| (dead.webhook, dead.event)), PAGE).await?)
    }

    /// Sends events again, to all enabled webhooks that want them, or only to this one. Returns the number of deliveries.
    /// A running server begins within a second.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such webhook or event. `INVALID_INPUT` if the webhook is disabled.
    pub async fn replay_events(&self, what: Replay, webhook: Option<WebhookId>) -> Result<u64> {
        let now = self.clock.now();
        if let Some(id) = webhook
            && self.webhook(id).await?.disabled_at.is_some()
        {
            return Err(Error::invalid("webhook", "it is disabled; `partway webhook test` enables it if it answers"));
        }
        match what {
            Replay::Dead => Ok(self.db.replay_dead(webhook, now).await?),
            Replay::Event(id) => {
                self.db.number_events(now).await?;
                self.db.replay_event(id, webhook, now).await?.ok_or_else(|| Error::not_found("event"))
            }
            Replay::Last(time) => {
                self.db.number_events(now).await?;
                let since = now.checked_sub_signed(time).unwrap_or_default().max(Timestamp::UNIX_EPOCH);
                Ok(self.db.replay_since(since, webhook, now).await?)
            }
        }
    }

    /// Finishes what a crash left while a webhook was being disabled, and brings the metrics of deliveries up to date.
    pub(super) async fn sweep_deliveries(&self) -> Result<()> {
        self.db.bury_deliveries(self.clock.now()).await?;
        let counts = self.db.delivery_counts().await?;
        let sum = |count: fn(&DeliveryCounts) -> u64| i64::try_from(counts.values().map(count).sum::<u64>());
        let oldest = counts.values().filter_map(|counts| counts.oldest_pending).min();
        self.metrics.webhook_pending.set(sum(|counts| counts.pending).unwrap_or(i64::MAX));
        self.metrics.webhook_oldest_pending.set(oldest.map_or(0, |since| (self.clock.now() - since).num_seconds()));
        self.metrics.webhook_dead.set(sum(|counts| counts.dead).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn webhook(&self, id: WebhookId) -> Result<Webhook> {
        self.db.webhook(id).await?.ok_or_else(|| Error::not_found("webhook"))
    }
}

fn random_secret() -> Result<WebhookSecret> {
    WebhookSecret::random().map_err(|error| Error::internal(error.to_string()))
}

fn parse_types(names: &[String]) -> Result<Vec<EventType>> {
    let unknown = |name: &str| {
        let known: Vec<&str> = EventType::ALL.map(EventType::as_str).to_vec();
        Error::invalid("events", format!("there is no type {name:?}; the types are {}", known.join(", ")))
    };
    names.iter().map(|name| EventType::parse(name.trim()).ok_or_else(|| unknown(name))).collect()
}
