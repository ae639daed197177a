//! The feed of events.
//!
//! Owns the cursor of a reader, and the removal of old events. A reader that goes on from the cursor of its last page receives
//! every event once, in one order. Does not own what is an event: that is `domain/event`. Does not send events to webhooks:
//! that is `deliver`.

use super::{Service, sweep::BATCH};
use crate::{
    db::EventPage,
    domain::{EventId, Principal},
    error::{Error, Result},
};

/// Maximum number of events in one page.
pub const MAX_EVENTS_PAGE: u64 = 1_000;

impl Service {
    /// The caller's events after a cursor: at most `limit`, and at most [`MAX_EVENTS_PAGE`]. Every change that was answered
    /// before this call is among them. `after` is the position that an earlier page returned as `next`, or the id of an event;
    /// without it, the page begins with the oldest event that the server still has.
    ///
    /// # Errors
    /// `INVALID_INPUT` if `after` is no cursor. `EVENTS_EXPIRED` if the server has removed events after it.
    pub async fn events(&self, principal: &Principal, after: Option<&str>, limit: u64) -> Result<EventPage> {
        self.db.number_events(self.clock.now()).await?;
        let owner = &principal.owner;
        let Some(after) = after else { return Ok(self.db.events(owner, 0, limit.min(MAX_EVENTS_PAGE)).await?) };
        let after = self.position(principal, after).await?;
        let page = self.db.events(owner, after, limit.min(MAX_EVENTS_PAGE)).await?;
        // Read after the page, so that an event that was removed before the page was read is noticed. A database that was
        // restored from a backup can be behind the cursor; its next events would have positions that the reader has passed.
        if after < self.db.events_dropped_to(owner).await? || after > page.head {
            return Err(Error::events_expired());
        }
        Ok(page)
    }

    async fn position(&self, principal: &Principal, cursor: &str) -> Result<u64> {
        if let Ok(position) = cursor.parse() {
            return Ok(position);
        }
        let no_cursor =
            || Error::invalid("after", "must be the value of `next` in an earlier answer, or the id of an event");
        let id: EventId = cursor.parse().map_err(|_| no_cursor())?;
        self.db.event_position(&principal.owner, id).await?.ok_or_else(Error::events_expired)
    }

    /// Removes the events that are older than `event_retention`, with their deliveries. Returns their number.
    pub(super) async fn drop_old_events(&self) -> Result<u64> {
        let Some(before) = self.clock.now().checked_sub_signed(self.limits.event_retention) else { return Ok(0) };
        let mut dropped = 0;
        loop {
            match self.db.drop_events(before, BATCH).await? {
                0 => return Ok(dropped),
                some => dropped += some,
            }
        }
    }
}
