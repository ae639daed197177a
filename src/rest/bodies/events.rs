//! The JSON bodies of events.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    domain::{Event, Timestamp},
    service::EventPage,
};

/// `GET /events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct EventsParams {
    pub(in crate::rest) after: Option<String>,
    pub(in crate::rest) limit: Option<u64>,
}

/// A page of events.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct EventsBody {
    events: Vec<EventBody>,
    /// The cursor of the next page. A client keeps it, also if this page is empty.
    next: String,
}

impl From<EventPage> for EventsBody {
    fn from(page: EventPage) -> Self {
        Self { events: page.events.into_iter().map(Into::into).collect(), next: page.next.to_string() }
    }
}

/// An event in an answer.
#[derive(Debug, Serialize)]
struct EventBody {
    id: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    timestamp: Timestamp,
    data: Box<RawValue>,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            event_type: event.event_type.as_str(),
            timestamp: event.created_at,
            data: event.data,
        }
    }
}
