//! The length limit of an answer, and the queue for long lists.
//!
//! Owns the budget of bytes of one answer. The complexity of a query bounds the length of its answer, except for values whose
//! length depends on the upload: ranges, names, metadata. Resolvers reserve the real length of these before they build them.
//! Owns the queue, too: the server builds one long list at a time and yields in between, so that small queries do not wait
//! and the time limit can cancel a query.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_graphql::{
    ContextSelectionSet, OutputType, Positioned, ServerResult, Value, parser::types::Field, registry::Registry,
};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors::ApiError;
use crate::error::Error;

/// Bytes that a list reserves for each item: about the length of its JSON with all fields.
const ITEM_BYTES: usize = 64;
/// Items that the server builds between two yields. A list that is not longer skips the queue.
const ITEMS_AT_ONCE: usize = 64;
/// An answer that has reserved more than this, without values that are JSON already, is serialized on a thread for blocking work.
const LONG_ANSWER_BYTES: usize = 64 * 1024;

/// The length limit of every answer.
#[derive(Clone)]
pub(crate) struct AnswerLimit {
    max_bytes: usize,
    turns: Arc<Semaphore>,
}

impl AnswerLimit {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), turns: Arc::new(Semaphore::new(1)) }
    }

    /// The budget of one answer.
    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::new(Budget { limit: self.clone(), reserved: AtomicUsize::new(0), encoded: AtomicUsize::new(0) })
    }

    /// The error for an answer over the limit.
    pub(super) fn exceeded(&self) -> Error {
        Error::too_large("a GraphQL answer", self.max_bytes as u64)
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

/// The budget of one answer.
pub(crate) struct Budget {
    limit: AnswerLimit,
    reserved: AtomicUsize,
    /// The part of `reserved` that is already JSON.
    encoded: AtomicUsize,
}

impl Budget {
    /// Reserves this number of bytes.
    ///
    /// # Errors
    /// `TOO_LARGE` if the answer exceeds its limit.
    fn reserve(&self, bytes: usize) -> Result<(), ApiError> {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.check()
    }

    /// Reserves the length of a text and returns it. Yields from time to time: an answer can have many texts.
    pub(super) async fn text<T: AsRef<str>>(&self, text: T) -> Result<T, ApiError> {
        tokio::task::consume_budget().await;
        self.reserve(text.as_ref().len()).map(|()| text)
    }

    /// Reserves the length of a value that is already JSON, and returns it.
    pub(super) fn json(&self, json: Bytes) -> Result<Bytes, ApiError> {
        self.encoded.fetch_add(json.len(), Ordering::Relaxed);
        self.reserve(json.len()).map(|()| json)
    }

    /// Reserves the length of a list and returns it. `count` is an upper bound for its items.
    pub(super) async fn list<T>(
        self: &Arc<Self>,
        count: u32,
        items: impl Iterator<Item = T> + Send,
    ) -> Result<LongList<T>, ApiError> {
        // All lists of an answer reserve their bytes before the first one resolves its items, so the server refuses an answer
        // over the limit early.
        let _turn = if count as usize > ITEMS_AT_ONCE { self.turn().await } else { None };
        let items: Vec<T> = items.collect();
        self.reserve(items.len().saturating_mul(ITEM_BYTES))?;
        Ok(LongList { items, budget: Arc::clone(self) })
    }

    /// A new budget with the same limit.
    pub(super) fn renewed(&self) -> Arc<Self> {
        self.limit.budget()
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > self.limit.max_bytes
    }

    pub(super) fn is_long(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) - self.encoded.load(Ordering::Relaxed) > LONG_ANSWER_BYTES
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.is_exceeded() { Err(self.limit.exceeded().into()) } else { Ok(()) }
    }

    /// Waits for the turn of a list. It yields while it holds the turn: the answer's other lists wait for that turn, so other
    /// requests run.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.limit.turns.acquire().await.ok();
        tokio::task::yield_now().await;
        turn
    }
}

/// A list whose length depends on the upload and not on the query.
pub(crate) struct LongList<T> {
    items: Vec<T>,
    budget: Arc<Budget>,
}

impl<T: OutputType> OutputType for LongList<T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        let _turn = if self.items.len() > ITEMS_AT_ONCE { self.budget.turn().await } else { None };
        self.budget.check().map_err(|error| async_graphql::Error::from(error).into_server_error(field.pos))?;
        let mut values = Vec::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            if at % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let ctx = ctx.with_index(at);
            values.push(item.resolve(&ctx, field).await.map_err(|error| ctx.set_error_path(error))?);
        }
        Ok(Value::List(values))
    }
}
