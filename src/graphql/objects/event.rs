//! `Event`.

use std::sync::Arc;

use async_graphql::{ID, Object};

use crate::{
    domain,
    graphql::{
        budget::Budget,
        errors::ApiError,
        scalars::{DateTime, JsonObject},
    },
};

/// Something that happened to one of your uploads or files.
pub(crate) struct Event {
    event: domain::Event,
    budget: Arc<Budget>,
}

impl Event {
    /// An event in the answer with this budget.
    pub(crate) fn new(event: domain::Event, budget: &Arc<Budget>) -> Self {
        Self { event, budget: Arc::clone(budget) }
    }
}

/// Something that happened to one of your uploads or files.
#[Object]
impl Event {
    /// The event's id; the same as in `GET /events` and in requests to webhooks.
    async fn id(&self) -> ID {
        self.event.id.to_string().into()
    }

    /// What happened: `upload.completed`, `upload.failed`, `upload.aborted`, `upload.expired` or `file.deleted`. Later versions
    /// can have more types.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &'static str {
        self.event.event_type.as_str()
    }

    /// When it happened.
    async fn timestamp(&self) -> DateTime {
        DateTime(self.event.created_at)
    }

    /// The session and the file as they were then, as `GET /events` shows them.
    #[graphql(complexity = 20)]
    async fn data(&self) -> Result<JsonObject, ApiError> {
        self.budget.text(self.event.data.get()).await?;
        Ok(JsonObject(self.event.data.clone()))
    }
}
