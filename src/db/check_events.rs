//! Statements of `partway check` over events.
//!
//! Owns the search for events whose row is invalid. The feed and the webhooks leave these out.

use entity::event;
use sea_orm::{EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Db, Result, rows};

/// The number of events in one statement.
const PAGE: u64 = 500;

impl Db {
    /// What is wrong with the rows of events.
    pub async fn event_problems(&self) -> Result<Vec<String>> {
        let (mut problems, mut after) = (Vec::new(), 0);
        loop {
            let page =
                event::Entity::find().filter(event::COLUMN.seq.gt(after)).order_by_asc(event::COLUMN.seq).limit(PAGE);
            let found = page.all(&self.read).await?;
            let Some(last) = found.last() else { return Ok(problems) };
            after = last.seq;
            problems.extend(found.into_iter().filter_map(|row| Some(rows::event(row).err()?.to_string())));
        }
    }
}
