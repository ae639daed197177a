//! The queries.

use async_graphql::{
    Context, ID, Object,
    connection::{Connection, Edge, query},
};
use futures_util::future::join_all;
use uuid::Uuid;

use super::{
    errors::{ApiError, invalid_page},
    objects::{Event, Node, UploadLimits, UploadSession, UploadSessionStatus, Viewer},
    paging::{Cursor, page_size},
    scalars::BigInt,
    scope::Scope,
};
use crate::{
    domain::{Direction, SessionId, SessionQuery},
    error::Error,
};

/// Reads of your sessions and files.
pub(crate) struct Query;

/// Reads of your sessions and files.
#[Object]
impl Query {
    /// One of your sessions; null if you have none with this id.
    async fn upload_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's id.")] id: ID,
    ) -> Result<Option<UploadSession>, ApiError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        UploadSession::find(ctx, id).await
    }

    /// Your sessions, newest first.
    #[graphql(complexity = "page_size(first.or(last)) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "one for each argument of the field")]
    async fn upload_sessions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of sessions to return, newest first: at most 100, by default 20.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only sessions after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of sessions to return from the end of the list, the oldest ones: at most 100.")]
        last: Option<i32>,
        #[graphql(desc = "Only sessions before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only sessions with this status.")] status: Option<UploadSessionStatus>,
        #[graphql(desc = "Only sessions for a file with exactly this name. The Unicode normal form does not matter.")]
        original_filename: Option<String>,
        #[graphql(desc = "Only sessions for a file of exactly this size in bytes.")] total_size_bytes: Option<BigInt>,
    ) -> async_graphql::Result<Connection<Cursor<Uuid>, UploadSession>> {
        query(after, before, first, last, |after, before, first: Option<usize>, last: Option<usize>| async move {
            let direction = if first.is_none() && last.is_some() { Direction::Backward } else { Direction::Forward };
            let limit = page_size(first.or(last).map(|size| i32::try_from(size).unwrap_or(i32::MAX)));
            let id = |cursor: Cursor<Uuid>| SessionId(cursor.0);
            let (has_after, has_before) = (after.is_some(), before.is_some());
            let filter = SessionQuery {
                status: status.map(Into::into),
                original_filename,
                total_size_bytes: total_size_bytes.map(|size| size.0),
                after: after.map(id),
                before: before.map(id),
                direction,
                limit: limit as u64,
            };
            let scope = Scope::of(ctx);
            let page = scope.service.list(&scope.principal, filter).await.map_err(ApiError::from)?;
            let (has_previous, has_next) = match direction {
                Direction::Forward => (has_after, page.has_more),
                Direction::Backward => (page.has_more, has_before),
            };
            let mut connection = Connection::new(has_previous, has_next);
            let edges = page
                .uploads
                .into_iter()
                .map(|upload| Edge::new(Cursor(upload.session.id.0), UploadSession::with_file(upload, scope)));
            connection.edges.extend(edges);
            Ok::<_, async_graphql::Error>(connection)
        })
        .await
        .map_err(invalid_page)
    }

    /// The sizes of parts and files that the server accepts.
    async fn upload_limits(&self, ctx: &Context<'_>) -> UploadLimits {
        Scope::of(ctx).service.limits().into()
    }

    /// What happened to your uploads and files, oldest first: each end of a session, and each deletion of a file. Keep the last
    /// cursor, and continue after it later. If the server has removed events after a cursor because of their age, the error is
    /// `EVENTS_EXPIRED`.
    #[graphql(complexity = "page_size(first) * child_complexity + 1")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of events to return: at most 100, by default 20.")] first: Option<i32>,
        #[graphql(desc = "Only events after this cursor.")] after: Option<String>,
    ) -> async_graphql::Result<Connection<Cursor<u64>, Event>> {
        query(after, None, first, None, |after: Option<Cursor<u64>>, _, first: Option<usize>, _| async move {
            let limit = page_size(first.map(|size| i32::try_from(size).unwrap_or(i32::MAX)));
            let scope = Scope::of(ctx);
            let position = after.map(|cursor| cursor.0.to_string());
            let page = scope.service.events(&scope.principal, position.as_deref(), limit as u64);
            let page = page.await.map_err(ApiError::from)?;
            let mut connection = Connection::new(after.is_some(), page.has_more);
            let edge = |event: crate::domain::Event| {
                let position = event.position.unwrap_or(page.next);
                Edge::new(Cursor(position), Event::new(event, &scope.budget))
            };
            connection.edges.extend(page.events.into_iter().map(edge));
            Ok::<_, async_graphql::Error>(connection)
        })
        .await
        .map_err(invalid_page)
    }

    /// What you use, and how much you may use.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer, ApiError> {
        let scope = Scope::of(ctx);
        Ok(scope.service.account(&scope.principal).await?.into())
    }

    /// One of your sessions or files by its id; null if you have none with this id.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The object's id.")] id: ID,
    ) -> Result<Option<Node>, ApiError> {
        Node::find(ctx, &id).await
    }

    /// Your sessions and files with these ids, in the same order; null for an id of which you have none. At most 100 ids.
    #[graphql(complexity = "ids.len() * child_complexity + 1")]
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The objects' ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Result<Node, ApiError>>>, ApiError> {
        if ids.len() as u64 > SessionQuery::MAX_LIMIT {
            let problem = format!("must have at most {} ids", SessionQuery::MAX_LIMIT);
            return Err(Error::invalid("ids", problem).into());
        }
        // An error of one node does not fail the others.
        let found = join_all(ids.iter().map(|id| Node::find(ctx, id))).await;
        Ok(found.into_iter().map(Result::transpose).collect())
    }
}
