//! The rules of webhooks.
//!
//! Owns when a delivery is tried again, and when the server gives up. Does not own how a message is sent: that is
//! `webhooks`.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::Sha256Digest;

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

/// The delay before the next attempt to deliver an event, after `attempts` failed ones. `None` if there is no next
/// attempt. A receiver can ask for a longer delay. Delays differ by up to 10 % between events, so that a receiver
/// that was down does not get all of them at the same moment.
pub fn retry_delay(event: Uuid, attempts: u32, retry_after: Option<Duration>) -> Option<TimeDelta> {
    let delay = *DELAYS.get(usize::try_from(attempts).ok()?.checked_sub(1)?)?;
    let seed = Sha256Digest::of(format!("{event} {attempts}").as_bytes());
    let jitter = i32::from(u16::from_be_bytes([seed.as_bytes()[0], seed.as_bytes()[1]]) % 201) - 100;
    let jittered = delay + delay / 1_000 * jitter;
    let asked = retry_after.map(|asked| TimeDelta::from_std(asked).unwrap_or(MAX_RETRY_AFTER).min(MAX_RETRY_AFTER));
    Some(asked.map_or(jittered, |asked| asked.max(jittered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten_attempts_with_growing_delays() {
        let events = [Uuid::now_v7(), Uuid::now_v7()];
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
        let event = Uuid::now_v7();
        let delay = |asked| retry_delay(event, 2, Some(asked)).unwrap();
        assert_eq!(delay(Duration::from_hours(1)), TimeDelta::hours(1));
        assert_eq!(delay(Duration::from_secs(1)), retry_delay(event, 2, None).unwrap());
        for long in [Duration::from_hours(25), Duration::MAX] {
            assert_eq!(delay(long), TimeDelta::hours(24));
        }
    }
}
