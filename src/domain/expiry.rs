//! The expiry pause.
//!
//! Owns the pause of expiry after a jump of the clock or a downtime, which look the same. Clients could not send anything in
//! that time, so no session expires for the same length of time.

use chrono::TimeDelta;

use super::Timestamp;

/// The moment until which no session expires, and the time of the last check by a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpiryPause {
    /// When a sweep last checked; `None` if never.
    pub seen_at: Option<Timestamp>,
    /// Until when no session expires; `None` if sessions may expire.
    pub until: Option<Timestamp>,
}

impl ExpiryPause {
    /// The clocks of two servers may differ by this much, so a step back of less is no jump.
    const SKEW: TimeDelta = TimeDelta::minutes(1);
    /// Maximum time between two updates of `seen_at`.
    const MAX_UPDATE_INTERVAL: TimeDelta = TimeDelta::hours(1);

    /// The pause at `now`. If more than a quarter of `ttl`, and several times the `interval` of the sweeps, has passed since the
    /// last check, that is a jump: the pause lasts as long as the jump, `ttl` at most. If the clock went back, the pause ends.
    #[must_use]
    pub fn now(self, now: Timestamp, ttl: TimeDelta, interval: TimeDelta) -> Self {
        let Some(seen_at) = self.seen_at else { return Self { seen_at: Some(now), until: None } };
        let since = now - seen_at;
        if since < -Self::SKEW {
            return Self { seen_at: Some(now), until: None };
        }
        if since > (ttl / 4).max(interval.checked_mul(3).unwrap_or(TimeDelta::MAX)) {
            return Self { seen_at: Some(now), until: now.checked_add_signed(since.min(ttl)) };
        }
        // Not updated on every sweep, so that an idle server writes nothing.
        let seen_at = if since > (ttl / 8).min(Self::MAX_UPDATE_INTERVAL) { now } else { seen_at };
        Self { seen_at: Some(seen_at), until: self.until.filter(|until| *until > now) }
    }

    /// Whether sessions may expire.
    pub fn is_over(&self) -> bool {
        self.until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: TimeDelta = TimeDelta::days(7);
    const MINUTE: TimeDelta = TimeDelta::minutes(1);

    fn day(day: i32) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::days(day.into())
    }

    #[test]
    fn the_pause_is_as_long_as_the_jump_and_at_most_one_ttl() {
        let first = ExpiryPause::default().now(day(0), TTL, MINUTE);
        assert!(first.is_over());
        assert!(first.now(day(1), TTL, MINUTE).is_over(), "a server that is off for a night has not jumped");
        assert_eq!(first.now(day(3), TTL, MINUTE).until, Some(day(6)));
        let jumped = first.now(day(4_000), TTL, MINUTE);
        assert_eq!(jumped.until, Some(day(4_007)));
        assert_eq!(jumped.now(day(4_001), TTL, MINUTE).until, Some(day(4_007)));
        assert!((4_001..=4_007).fold(jumped, |pause, at| pause.now(day(at), TTL, MINUTE)).is_over());
    }

    #[test]
    fn setting_the_clock_back_ends_the_pause() {
        let jumped = ExpiryPause::default().now(day(0), TTL, MINUTE).now(day(4_000), TTL, MINUTE);
        assert_eq!(jumped.now(day(1), TTL, MINUTE), ExpiryPause { seen_at: Some(day(1)), until: None });
    }

    #[test]
    fn an_idle_server_updates_the_time_at_most_once_an_hour() {
        let first = ExpiryPause::default().now(day(0), TTL, MINUTE);
        assert_eq!(first.now(day(0) + TimeDelta::minutes(59), TTL, MINUTE), first);
        assert_ne!(first.now(day(0) + TimeDelta::minutes(61), TTL, MINUTE), first);
    }

    #[test]
    fn a_slow_sweep_is_no_jump() {
        let (ttl, interval) = (TimeDelta::seconds(3), TimeDelta::seconds(1));
        let at = |tenth: i64| Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(100 * tenth);
        let mut pause = ExpiryPause::default().now(at(0), ttl, interval);
        for tenth in [11, 22, 40, 51] {
            pause = pause.now(at(tenth), ttl, interval);
            assert!(pause.is_over(), "{tenth}");
        }
        assert!(!pause.now(at(100), ttl, interval).is_over());
    }
}
