//! The queries.

use std::sync::Arc;

use async_graphql::{
    Context, ID, Object,
    connection::{Connection, Edge, query},
};
use futures_util::future::join_all;

use super::{
    errors::{ApiError, invalid_page},
    objects::{Event, Node, UploadFile, UploadFileStatus, UploadLimits, UploadSession, UploadSessionStatus, Viewer},
    paging::{Cursor, UploadConnection, UploadPageArguments, page_size, upload_page},
    scalars::BigInt,
    scope::Scope,
};
use crate::{
    domain::{FileId, SessionId, Upload, UploadQuery},
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
        #[graphql(desc = "Only sessions that are open, or with false only those that have ended.")] open: Option<bool>,
        #[graphql(desc = "Only sessions for a file with exactly this name. The Unicode normal form does not matter.")]
        original_filename: Option<String>,
        #[graphql(desc = "Only sessions for a file of exactly this size in bytes.")] total_size_bytes: Option<BigInt>,
    ) -> async_graphql::Result<UploadConnection<UploadSession>> {
        let filter = UploadQuery {
            status: status.map(Into::into),
            open,
            original_filename,
            total_size_bytes: total_size_bytes.map(|size| size.0),
            ..Default::default()
        };
        let scope = Scope::of(ctx);
        upload_page(scope, UploadPageArguments { first, after, last, before }, filter, |query| async move {
            let page = scope.service.list(&scope.principal, query).await.map_err(ApiError::from)?;
            let session = |upload: Upload| (upload.session.id, UploadSession::with_file(upload, scope));
            Ok((page.uploads.into_iter().map(session).collect(), page.has_more))
        })
        .await
    }

    /// One of your files; null if you have none with this id.
    async fn upload_file(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The file's id.")] id: ID,
    ) -> Result<Option<UploadFile>, ApiError> {
        let Ok(SessionId(id)) = id.parse() else { return Ok(None) };
        UploadFile::find(ctx, FileId(id)).await
    }

    /// Your files, newest first: those that are uploading, the stored ones, and the records of those without content.
    #[graphql(complexity = "page_size(first.or(last)) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "one for each argument of the field")]
    async fn upload_files(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of files to return, newest first: at most 100, by default 20.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only files after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of files to return from the end of the list, the oldest ones: at most 100.")]
        last: Option<i32>,
        #[graphql(desc = "Only files before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only files with exactly this name. The Unicode normal form does not matter.")]
        original_filename: Option<String>,
        #[graphql(desc = "Only files with this status.")] status: Option<UploadFileStatus>,
    ) -> async_graphql::Result<UploadConnection<UploadFile>> {
        let filter = UploadQuery { file_status: status.map(Into::into), original_filename, ..Default::default() };
        let scope = Scope::of(ctx);
        upload_page(scope, UploadPageArguments { first, after, last, before }, filter, |query| async move {
            let page = scope.service.list_files(&scope.principal, query).await.map_err(ApiError::from)?;
            let file = |(id, file)| (id, UploadFile::new(Arc::new(file), &scope.budget));
            Ok((page.files.into_iter().map(file).collect(), page.has_more))
        })
        .await
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
        if ids.len() as u64 > UploadQuery::MAX_LIMIT {
            let problem = format!("must have at most {} ids", UploadQuery::MAX_LIMIT);
            return Err(Error::invalid("ids", problem).into());
        }
        // An error of one node does not fail the others.
        let found = join_all(ids.iter().map(|id| Node::find(ctx, id))).await;
        Ok(found.into_iter().map(Result::transpose).collect())
    }
}
