//! How long an answer may become, and when a long list is built.
//!
//! Owns the bytes that one answer may have. The text of a query shows its cost, except for values whose length depends
//! on the upload: ranges, names, metadata. These reserve their real length before anything is built. It also owns the
//! queue for long lists: one is built at a time, with pauses, so that small queries are not delayed and a query that
//! exceeds its time limit can be cancelled.

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
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors::ApiError;
use crate::error::Error;

/// What an item of a long list is charged: about what it takes as JSON with all its fields.
const ITEM_BYTES: usize = 64;
/// Items that are built at once. A shorter list needs no turn.
const ITEMS_AT_ONCE: usize = 64;
/// An answer that drew more is written away from those that serve.
const LONG_ANSWER_BYTES: usize = 64 * 1024;

/// How long each answer may become.
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
        Arc::new(Budget { limit: self.clone(), reserved: AtomicUsize::new(0) })
    }

    /// The error of an answer that would be longer.
    pub(super) fn exceeded(&self) -> Error {
        Error::too_large("a GraphQL answer", self.max_bytes as u64)
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

/// What one answer may still have.
pub(crate) struct Budget {
    limit: AnswerLimit,
    reserved: AtomicUsize,
}

impl Budget {
    /// Takes so many bytes.
    ///
    /// # Errors
    /// `TOO_LARGE` if that is more than there is.
    fn reserve(&self, bytes: usize) -> Result<(), ApiError> {
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        self.check()
    }

    /// The text, if there is room for it. Pauses where an answer has many.
    pub(super) async fn text<T: AsRef<str>>(&self, text: T) -> Result<T, ApiError> {
        tokio::task::consume_budget().await;
        self.reserve(text.as_ref().len()).map(|()| text)
    }

    /// A list of as many items as come of `count` parts at most, if there is room for it.
    pub(super) async fn list<T>(
        self: &Arc<Self>,
        count: u32,
        items: impl Iterator<Item = T> + Send,
    ) -> Result<LongList<T>, ApiError> {
        // Every list of an answer reserves its bytes here before the first is built, so an answer that is too long is
        // refused early.
        let _turn = if count as usize > ITEMS_AT_ONCE { self.turn().await } else { None };
        let items: Vec<T> = items.collect();
        self.reserve(items.len().saturating_mul(ITEM_BYTES))?;
        Ok(LongList { items, budget: Arc::clone(self) })
    }

    /// A budget with the same limit that is whole again.
    pub(super) fn renewed(&self) -> Arc<Self> {
        self.limit.budget()
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > self.limit.max_bytes
    }

    pub(super) fn is_long(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > LONG_ANSWER_BYTES
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.is_exceeded() { Err(self.limit.exceeded().into()) } else { Ok(()) }
    }

    /// The pause is taken with the turn, so that of an answer's lists one goes on and then others than this answer.
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
