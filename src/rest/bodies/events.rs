//! The JSON bodies of events.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    domain::{Crc64Nvme, Event, EventType, Metadata, Sha256Digest, StatusReason, Timestamp},
    service::EventPage,
};

/// `GET /events`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct EventsParams {
    /// The `next` of the page before, or the `id` of an event. Without it, the page begins with the oldest event.
    #[param(pattern = "^(|[0-9]{1,18}|evt_[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$")]
    pub(in crate::rest) after: Option<String>,
    /// The number of events on a page. A larger number counts as 1,000.
    #[param(format = "uint64", minimum = 1, maximum = 18_446_744_073_709_551_615_u64, default = 100)]
    pub(in crate::rest) limit: Option<u64>,
}

/// A page of events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventPage)]
pub(in crate::rest) struct EventsBody {
    events: Vec<EventBody>,
    /// The cursor of the next page. Keep it, also if this page is empty.
    #[schema(pattern = "^[0-9]+$")]
    next: String,
}

impl From<EventPage> for EventsBody {
    fn from(page: EventPage) -> Self {
        Self { events: page.events.into_iter().map(Into::into).collect(), next: page.next.to_string() }
    }
}

/// What happened to an upload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct EventBody {
    #[schema(pattern = "^evt_")]
    id: String,
    #[serde(rename = "type")]
    #[schema(value_type = EventType)]
    event_type: &'static str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    #[schema(value_type = EventData)]
    data: Box<RawValue>,
}

/// The session and the file as they were then. If a row was damaged, the fields from `original_filename` on are null.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the text that an event is stored with")]
struct EventData {
    session_id: Uuid,
    file_id: Uuid,
    owner: String,
    #[schema(required)]
    status_reason: Option<StatusReason>,
    #[schema(required)]
    original_filename: Option<String>,
    #[schema(required)]
    content_type: Option<String>,
    #[schema(required)]
    size_bytes: Option<u64>,
    #[schema(required)]
    sha256: Option<Sha256Digest>,
    #[schema(required)]
    crc64nvme: Option<Crc64Nvme>,
    #[schema(required)]
    composite_sha256: Option<Sha256Digest>,
    #[schema(required)]
    metadata: Option<Metadata>,
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
