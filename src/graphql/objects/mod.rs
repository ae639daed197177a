//! The schema's object types.

mod event;
mod file;
mod limits;
mod part;
mod session;
mod viewer;

use async_graphql::{Context, ID, Interface};

pub(super) use event::Event;
pub(super) use file::{UploadFile, UploadFileStatus};
pub(super) use limits::UploadLimits;
pub(super) use part::{PartRange, UploadPart};
pub(super) use session::{UploadSession, UploadSessionStatus};
pub(super) use viewer::Viewer;

use super::errors::ApiError;
use crate::domain::{FileId, SessionId};

/// An object with an id. Ids are UUIDs, unique across types, and the same in REST.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "The id of the object."))]
pub(super) enum Node {
    UploadSession(UploadSession),
    UploadFile(UploadFile),
}

impl Node {
    /// The caller's object with this id.
    pub(super) async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Self>, ApiError> {
        let Ok(SessionId(id)) = id.parse() else { return Ok(None) };
        if let Some(session) = UploadSession::find(ctx, SessionId(id)).await? {
            return Ok(Some(Self::UploadSession(session)));
        }
        Ok(UploadFile::find(ctx, FileId(id)).await?.map(Self::UploadFile))
    }
}
