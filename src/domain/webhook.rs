//! The rules of webhooks.
//!
//! Owns what a webhook is, the body of a message, and the states of a delivery: when it is tried again, and when the
//! server gives up. Does not own how a message is sent: that is `webhooks`.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{EventId, EventType, OwnerName, Sha256Digest, Timestamp, WebhookId, WebhookSecret};

/// For how long the previous secret also signs after a rotation.
pub const PREVIOUS_SECRET_SIGNS: TimeDelta = TimeDelta::hours(24);

/// The delay after each failed attempt. After one more failed attempt the delivery is dead.
const DELAYS: [TimeDelta; 9] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(14),
    TimeDelta::hours(20),
    TimeDelta::hours(24),
];
/// The longest delay that a receiver can ask for.
const MAX_RETRY_AFTER: TimeDelta = TimeDelta::hours(24);

/// An endpoint to which the server sends events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where the server sends the events.
    pub url: String,
    /// Which events it gets. Empty if all.
    pub event_types: Vec<EventType>,
    /// Whose events it gets. `None` if those of all owners.
    pub owner: Option<OwnerName>,
    /// Signs each message.
    pub secret: WebhookSecret,
    /// The secret before the last rotation, and until when it also signs.
    pub previous: Option<(WebhookSecret, Timestamp)>,
    /// Since when it gets nothing, because its receiver answered 410. `None` if it is enabled.
    pub disabled_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Webhook {
    /// The secrets that sign a message now.
    pub fn secrets(&self, now: Timestamp) -> Vec<WebhookSecret> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        [&self.secret].into_iter().chain(previous).cloned().collect()
    }
}

/// The body of a message. It is the same text whenever the event is sent.
pub fn webhook_body(event_type: &str, timestamp: Timestamp, data: &RawValue) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        timestamp: Timestamp,
        data: &'a RawValue,
    }
    serde_json::to_string(&Body { r#type: event_type, timestamp, data }).expect("texts, a time and JSON are JSON")
}

/// The state of sending one event to one webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// The server sends it when it is due.
    Pending,
    /// The receiver has accepted it.
    Delivered,
    /// The server has given up. `partway webhook replay` makes it pending again.
    Dead,
}

impl DeliveryState {
    /// The name used in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::Dead => "DEAD",
        }
    }
}

/// The delay before the next attempt to deliver an event, after `attempts` failed ones. `None` if there is no next
/// attempt. A receiver can ask for a longer delay. Delays differ by up to 10 % between events, so that a receiver
/// that was down does not get all of them at the same moment.
pub fn retry_delay(event: EventId, attempts: u32, retry_after: Option<Duration>) -> Option<TimeDelta> {
    let delay = *DELAYS.get(usize::try_from(attempts).ok()?.checked_sub(1)?)?;
    let seed = Sha256Digest::of(format!("{event} {attempts}").as_bytes());
    let jitter = i32::from(u16::from_be_bytes([seed.as_bytes()[0], seed.as_bytes()[1]]) % 201) - 100;
    let jittered = delay + delay / 1_000 * jitter;
    let asked = retry_after.map(|asked| TimeDelta::from_std(asked).unwrap_or(MAX_RETRY_AFTER).min(MAX_RETRY_AFTER));
    Some(asked.map_or(jittered, |asked| asked.max(jittered)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn there_are_ten_attempts_with_growing_delays() {
        let events = [EventId(Uuid::now_v7()), EventId(Uuid::now_v7())];
        for event in events {
            let mut last = TimeDelta::zero();
            for (delay, attempts) in DELAYS.iter().zip(1..) {
                let jittered = retry_delay(event, attempts, None).unwrap();
                assert!((jittered - *delay).abs() <= *delay / 10, "{jittered} after {attempts}");
                assert!(jittered > last);
                assert_eq!(retry_delay(event, attempts, None), Some(jittered), "the jitter is not random");
                last = jittered;
            }
            assert_eq!(retry_delay(event, 10, None), None);
            assert_eq!(retry_delay(event, 10, Some(Duration::from_secs(1))), None);
            assert_eq!(retry_delay(event, 0, None), None);
        }
        assert!(retry_delay(events[0], 9, None) != retry_delay(events[1], 9, None));
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_delay_up_to_a_day() {
        let event = EventId(Uuid::now_v7());
        let delay = |asked| retry_delay(event, 2, Some(asked)).unwrap();
        assert_eq!(delay(Duration::from_hours(1)), TimeDelta::hours(1));
        assert_eq!(delay(Duration::from_secs(1)), retry_delay(event, 2, None).unwrap());
        for long in [Duration::from_hours(25), Duration::MAX] {
            assert_eq!(delay(long), TimeDelta::hours(24));
        }
    }

    #[test]
    fn the_previous_secret_signs_until_its_end() {
        let [old, new] = [(); 2].map(|()| WebhookSecret::random().unwrap());
        let now = crate::domain::Clock::now(&crate::domain::SystemClock);
        let webhook = Webhook {
            id: WebhookId::generate(),
            url: String::new(),
            event_types: Vec::new(),
            owner: None,
            secret: new.clone(),
            previous: Some((old.clone(), now + PREVIOUS_SECRET_SIGNS)),
            disabled_at: None,
            created_at: now,
        };
        assert_eq!(webhook.secrets(now), [new.clone(), old]);
        assert_eq!(webhook.secrets(now + PREVIOUS_SECRET_SIGNS), [new]);
    }

    #[test]
    fn a_body_has_the_type_the_time_and_the_data_as_it_was_stored() {
        let data = RawValue::from_string(r#"{"b": 1.0, "a":"\u0041"}"#.to_owned()).unwrap();
        let at: Timestamp = "2026-11-29T01:02:03.000400Z".parse().unwrap();
        assert_eq!(
            webhook_body("file.deleted", at, &data),
            r#"{"type":"file.deleted","timestamp":"2026-11-29T01:02:03.000400Z","data":{"b": 1.0, "a":"\u0041"}}"#
        );
    }
}
