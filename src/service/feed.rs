//! The feed of events.
//!
//! Owns the cursor of a reader, and the removal of old events. A reader that goes on from the cursor of its last page receives
//! every event once, in one order. Does not own what is an event: that is `domain/event`. Does not send events to webhooks:
//! that is `deliver`.

use super::{Service, scope, sweep::BATCH};
use crate::{
    db::EventPage,
    domain::{Event, EventId, OwnerName, Principal},
    error::{Error, Result},
};

/// Maximum number of events in one page.
pub const MAX_EVENTS_PAGE: u64 = 1_000;
/// A page ends early when its events have about this number of bytes.
const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Events that one statement reads, so that a page does not need much more memory than it has bytes.
const READ_AT_ONCE: u64 = 100;
/// The length of an event without its data.
const BASE_BYTES: usize = 128;

impl Service {
    /// The caller's events after a cursor: at most `limit`, at most [`MAX_EVENTS_PAGE`], and as many as fit into one answer, but at
    /// least one. A reader that follows `next` to an empty page has seen every change that was answered before that call.
    /// `after` is the position that an earlier page returned as `next`, or the id of an event; without it, the page begins with
    /// the oldest event that the server still has.
    ///
    /// # Errors
    /// `INVALID_INPUT` if `after` is no cursor. `EVENTS_EXPIRED` if the server has removed events after it.
    pub async fn events(&self, principal: &Principal, after: Option<&str>, limit: u64) -> Result<EventPage> {
        let owner = scope::everything(principal)?;
        self.db.number_events(self.clock.now()).await?;
        // A script may have no cursor yet, and send an empty one.
        let Some(after) = after.filter(|after| !after.is_empty()) else { return self.page(owner, 0, limit).await };
        let after = self.position(owner, after).await?;
        let page = self.page(owner, after, limit).await?;
        // After the page was read, so that an event that was removed before is noticed.
        self.check_feed_has(owner, after, page.head).await?;
        Ok(page)
    }

    /// Checks that the feed has all events after a position. A database that was restored from a backup can be behind it; its next
    /// events would have positions that the reader has passed.
    pub(super) async fn check_feed_has(&self, owner: &OwnerName, after: u64, head: u64) -> Result<()> {
        match after < self.db.events_dropped_to(owner).await? || after > head {
            true => Err(Error::events_expired()),
            false => Ok(()),
        }
    }

    async fn page(&self, owner: &OwnerName, after: u64, limit: u64) -> Result<EventPage> {
        let limit = limit.min(MAX_EVENTS_PAGE);
        let mut page = self.db.events(owner, after, limit.min(READ_AT_ONCE)).await?;
        let mut bytes = end_early(&mut page, 0);
        while page.has_more && bytes < MAX_PAGE_BYTES {
            let left = limit.saturating_sub(page.events.len() as u64);
            if left == 0 {
                break;
            }
            let mut more = self.db.events(owner, page.next, left.min(READ_AT_ONCE)).await?;
            bytes = end_early(&mut more, bytes);
            page.events.append(&mut more.events);
            (page.next, page.has_more) = (more.next, more.has_more);
        }
        Ok(page)
    }

    async fn position(&self, owner: &OwnerName, cursor: &str) -> Result<u64> {
        let is_number = cursor.bytes().all(|byte| byte.is_ascii_digit()) && (cursor == "0" || !cursor.starts_with('0'));
        if let Some(position) = cursor.parse().ok().filter(|_| is_number) {
            return Ok(position);
        }
        let no_cursor =
            || Error::invalid("after", "must be the value of `next` in an earlier answer, or the id of an event");
        let id: EventId = cursor.parse().map_err(|_| no_cursor())?;
        self.db.event_position(owner, id).await?.ok_or_else(Error::events_expired)
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

/// Ends the page after the event with which the answer is full. `before` is the number of bytes before this page. Returns the
/// number with it.
fn end_early(page: &mut EventPage, before: usize) -> usize {
    let mut bytes = before;
    let is_last = |event: &Event| {
        bytes += BASE_BYTES + event.data.get().len();
        bytes >= MAX_PAGE_BYTES
    };
    let last = page.events.iter().position(is_last).filter(|last| last + 1 < page.events.len());
    if let Some(last) = last {
        page.events.truncate(last + 1);
        page.has_more = true;
        page.next = page.events.last().and_then(|event| event.position).unwrap_or(page.next);
    }
    bytes
}
