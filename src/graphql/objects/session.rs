//! `UploadSession`.

use std::sync::{Arc, OnceLock};

use async_graphql::{
    Context, Enum, ID, Object,
    connection::{Connection, Edge, query_with},
};
use bytes::Bytes;

use super::{PartRange, UploadFile, UploadPart};
use crate::{
    domain::{self, Encoded, FileRecord, Session, SessionId, SessionState, SessionStatus, Upload},
    error::Error,
    graphql::{
        errors::{ApiError, invalid_page},
        paging::{Cursor, page_size},
        ranges::{self, RangeList},
        scalars::{BigInt, DateTime},
        scope::Scope,
    },
};

/// The complexity of a field whose length depends on the upload and not on the query.
const LONG_LIST_COMPLEXITY: usize = 20;

/// The state of a session.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum UploadSessionStatus {
    /// Created; no part has arrived.
    Init,
    /// At least one part has arrived.
    InProgress,
    /// Finalized: the file is stored.
    Complete,
    /// Ended by an error that sending parts again cannot correct; `statusReason` names it.
    Failed,
    /// Aborted by its owner, or expired; `statusReason` says which.
    Aborted,
}

impl From<SessionStatus> for UploadSessionStatus {
    fn from(status: SessionStatus) -> Self {
        match status {
            SessionStatus::Init => Self::Init,
            SessionStatus::InProgress => Self::InProgress,
            SessionStatus::Complete => Self::Complete,
            SessionStatus::Failed => Self::Failed,
            SessionStatus::Aborted => Self::Aborted,
        }
    }
}

impl From<UploadSessionStatus> for SessionStatus {
    fn from(status: UploadSessionStatus) -> Self {
        match status {
            UploadSessionStatus::Init => Self::Init,
            UploadSessionStatus::InProgress => Self::InProgress,
            UploadSessionStatus::Complete => Self::Complete,
            UploadSessionStatus::Failed => Self::Failed,
            UploadSessionStatus::Aborted => Self::Aborted,
        }
    }
}

/// A session in a resolver. It has its file if the use case has read that, too.
pub(crate) struct UploadSession {
    session: Arc<Session>,
    file: Option<Arc<FileRecord>>,
    encoded: Arc<Encoded>,
    scope: Arc<Scope>,
}

impl UploadSession {
    /// The caller's session with this id.
    pub(crate) async fn find(ctx: &Context<'_>, id: SessionId) -> Result<Option<Self>, ApiError> {
        let scope = Scope::of(ctx);
        match scope.loaders.state(id).await {
            // The row of the file may be damaged: then only the field `file` fails.
            Err(error) if !error.is_retryable() => {}
            found => return Ok(found?.map(|state| Self::of_state(state, scope))),
        }
        let found = scope.loaders.session(id).await?;
        let of = |session| Self { session, file: None, encoded: Arc::default(), scope: Arc::clone(scope) };
        Ok(found.map(of))
    }

    /// A session in this state, in the answer with this scope.
    pub(crate) fn of_state(SessionState { session, file, encoded }: SessionState, scope: &Arc<Scope>) -> Self {
        Self { session, file: Some(file), encoded, scope: Arc::clone(scope) }
    }

    /// The same, from the upload that a use case returned.
    pub(crate) fn with_file(upload: Upload, scope: &Arc<Scope>) -> Self {
        Self::of_state(upload.into(), scope)
    }

    /// The page of these ranges. `cell` is the place for the JSON of all of them.
    async fn ranges(
        &self,
        ctx: &Context<'_>,
        ranges: impl Iterator<Item = domain::PartRange> + Send,
        cell: &OnceLock<Bytes>,
        (first, after): (Option<i32>, Option<i32>),
    ) -> Result<RangeList, ApiError> {
        let (count, budget) = (self.session.received.len(), &self.scope.budget);
        if first.is_none() && after.is_none() && ranges::may_encode(ctx.item, count) {
            return budget.json(ranges::encoded(cell, ranges)).map(RangeList::Encoded);
        }
        budget.list(count, page(ranges, first, after)).await.map(RangeList::Listed)
    }
}

/// The first of these ranges, without the parts up to the number `after`.
fn page(
    ranges: impl Iterator<Item = domain::PartRange>,
    first: Option<i32>,
    after: Option<i32>,
) -> impl Iterator<Item = PartRange> {
    let after = after.and_then(|after| u32::try_from(after).ok()).unwrap_or_default();
    let limit = first.map_or(usize::MAX, |first| usize::try_from(first).unwrap_or_default());
    ranges.filter_map(move |range| range.after(after)).take(limit).map(Into::into)
}

// Resolvers of the fields in `state_query::FIELDS` may read only the session, because their answers are kept.
/// An upload session: which parts of a file have arrived, and which have not.
#[Object]
impl UploadSession {
    /// The session's id; the same as in `GET /uploads/sessions/{id}`.
    pub(crate) async fn id(&self) -> ID {
        self.session.id.0.into()
    }

    /// The session's state.
    async fn status(&self) -> UploadSessionStatus {
        self.session.status.into()
    }

    /// Why the session ended without a file: `aborted_by_owner`, `expired`, `checksum_mismatch` or `bytes_lost`.
    async fn status_reason(&self) -> Option<&'static str> {
        self.session.status_reason.map(|reason| reason.as_str())
    }

    /// How many parts the whole file has; 0 for an empty file.
    async fn total_parts(&self) -> u32 {
        self.session.plan.total_parts()
    }

    /// How many parts have arrived.
    async fn completed_parts(&self) -> u32 {
        self.session.completed_parts()
    }

    /// The parts that have arrived and are durable, as ranges. If there are many, read them in pages: pass `last` of the last
    /// range as `after`.
    #[graphql(complexity = "LONG_LIST_COMPLEXITY + child_complexity")]
    async fn received_parts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of ranges to return; by default all.", validator(minimum = 0))] first: Option<i32>,
        #[graphql(desc = "Only parts with a larger number than this one.", validator(minimum = 0))] after: Option<i32>,
    ) -> Result<RangeList, ApiError> {
        let ranges = self.session.received.ranges();
        self.ranges(ctx, ranges, &self.encoded.received_ranges, (first, after)).await
    }

    /// The parts that have not arrived, as ranges.
    #[graphql(complexity = "LONG_LIST_COMPLEXITY + child_complexity")]
    async fn missing_parts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of ranges to return; by default all.", validator(minimum = 0))] first: Option<i32>,
        #[graphql(desc = "Only parts with a larger number than this one.", validator(minimum = 0))] after: Option<i32>,
    ) -> Result<RangeList, ApiError> {
        let ranges = self.session.received.missing(self.session.plan.total_parts());
        self.ranges(ctx, ranges, &self.encoded.missing_ranges, (first, after)).await
    }

    /// The parts that have arrived as one line of text, as in `1-50,52,55-100`.
    #[graphql(complexity = "LONG_LIST_COMPLEXITY")]
    async fn received_parts_text(&self) -> Result<String, ApiError> {
        self.scope.budget.text(self.session.received.to_string()).await
    }

    /// The size in bytes of every part except the last, which may be smaller.
    async fn chunk_size_bytes(&self) -> BigInt {
        BigInt(self.session.plan.chunk_size_bytes())
    }

    /// The size in bytes of the whole file.
    async fn total_size_bytes(&self) -> BigInt {
        BigInt(self.session.plan.total_size_bytes())
    }

    /// The size in bytes of all parts that have arrived.
    async fn bytes_received(&self) -> BigInt {
        BigInt(self.session.bytes_received)
    }

    /// How many bytes from the beginning of the file are durable without a gap. Clients that send a file from its beginning
    /// to its end, such as those of tus, continue there. It counts bytes of a part that has not arrived in full; the other
    /// fields do not.
    async fn contiguous_bytes(&self) -> BigInt {
        BigInt(self.session.contiguous_bytes())
    }

    /// Whether the server finalizes the session as soon as it has all bytes.
    async fn auto_finalize(&self) -> bool {
        self.session.auto_finalize
    }

    /// The share of the bytes that has arrived, from 0 to 1.
    async fn progress(&self) -> f64 {
        self.session.progress()
    }

    /// Grows by one with every change. Two answers with the same version describe the same state.
    async fn version(&self) -> BigInt {
        BigInt(self.session.version)
    }

    /// The file that the session is for.
    async fn file(&self) -> Result<UploadFile, ApiError> {
        if let Some(file) = &self.file {
            return Ok(UploadFile::new(Arc::clone(file), &self.scope.budget));
        }
        let file = self.scope.loaders.file(self.session.file_id).await?;
        let missing = || Error::internal(format!("session {}: its file has no row", self.session.id));
        Ok(UploadFile::new(file.ok_or_else(missing)?, &self.scope.budget))
    }

    /// The parts that have arrived, each with its digest, in the order of their numbers. Null if the session ended so long ago
    /// that the server has removed these records; `receivedParts` then still has the numbers.
    #[graphql(complexity = "page_size(first.or(last)) * child_complexity + 1")]
    async fn parts(
        &self,
        #[graphql(desc = "The number of parts to return: at most 100, by default 20.")] first: Option<i32>,
        #[graphql(desc = "Only parts after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of parts to return from the end of the list: at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only parts before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Connection<Cursor<u32>, UploadPart>>> {
        query_with(after, before, first, last, |after, before, first: Option<usize>, last: Option<usize>| async move {
            let cursor = |cursor: Cursor<u32>| cursor.0;
            let limit = page_size(first.or(last).map(|size| i32::try_from(size).unwrap_or(i32::MAX)));
            let from_end = first.is_none() && last.is_some();
            let (after, before) = (after.map_or(0, cursor), before.map_or(u32::MAX, cursor));
            let page = self.session.received.page(after, before, limit, from_end);
            let parts = self.scope.loaders.parts(Arc::clone(&self.session), page.numbers).await?;
            let Some(parts) = parts else { return Ok(None) };
            let mut connection = Connection::new(page.has_previous, page.has_next);
            let edges = parts.iter().map(|part| Edge::new(Cursor(part.part.number), part.into()));
            connection.edges.extend(edges);
            Ok::<_, async_graphql::Error>(Some(connection))
        })
        .await
        .map_err(invalid_page)
    }

    /// When the session was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.session.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.session.updated_at)
    }

    /// When the server aborts the session as expired. Every part and every finalize sets a later time.
    async fn expires_at(&self) -> DateTime {
        DateTime(self.session.expires_at)
    }
}
