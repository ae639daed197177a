//! The cache of validated documents.
//!
//! Owns the rule for when the server may skip parsing and validation. These cost more than the execution, and clients send
//! the same few documents again and again. A document enters the cache with its operation after it has passed every check.
//! The cache applies only if the variables cannot make the document invalid: they are scalars, and every value of their type
//! is valid. With other variables (lists, enums, page sizes) the server validates the document again.

use std::{num::NonZeroUsize, sync::Arc};

use async_graphql::{
    Request, Value, Variables,
    parser::types::{BaseType, DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use super::state_query::StateQuery;

/// Documents in the cache. A new one evicts the least recently used one.
const MAX_DOCUMENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longest document in bytes that enters the cache, so that the cache takes a few MiB at most.
const MAX_DOCUMENT_BYTES: usize = 4 * 1024;

/// The validated documents.
#[derive(Clone)]
pub(super) struct DocumentCache(Arc<Mutex<LruCache<Key, Arc<CachedDocument>>>>);

/// The text of a document, and the name of its selected operation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(String, Option<String>);

/// A validated document with its selected operation.
pub(super) struct CachedDocument {
    pub(super) document: ExecutableDocument,
    pub(super) operation_type: OperationType,
    /// Set if the answer depends on the state of one session only.
    pub(super) state_query: Option<StateQuery>,
    variables: Vec<(String, Scalar)>,
}

/// The types of which every value is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scalar {
    /// `ID` or `String`
    Text,
    Boolean,
}

impl Default for DocumentCache {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX_DOCUMENTS))))
    }
}

impl DocumentCache {
    /// The document of a request, if the cache has it and the variables have its types.
    pub(super) fn get(&self, request: &mut Request) -> Option<Arc<CachedDocument>> {
        let key = Key(std::mem::take(&mut request.query), request.operation_name.take());
        let cached = self.documents().get(&key).map(Arc::clone);
        Key(request.query, request.operation_name) = key;
        cached.filter(|cached| match_types(&request.variables, &cached.variables))
    }

    /// The document of a request, to insert if the request turns out to be valid. `None` if the cache does not take it.
    pub(super) fn candidate(request: &mut Request) -> Option<Candidate> {
        if request.query.len() > MAX_DOCUMENT_BYTES {
            return None;
        }
        let key = Key(request.query.clone(), request.operation_name.clone());
        let document = request.parsed_query().ok()?.clone();
        let variables = scalars(operation(&document, key.1.as_deref())?)?;
        match_types(&request.variables, &variables).then_some(Candidate { key, document, variables })
    }

    /// Inserts a valid document. Keeps one that another request has inserted meanwhile: states have answers to that one.
    pub(super) fn insert(&self, Candidate { key, document, variables }: Candidate) {
        let Some(operation) = operation(&document, key.1.as_deref()) else { return };
        let (operation_type, state_query) = (operation.ty, StateQuery::of(&document, operation));
        let cached = CachedDocument { document, operation_type, state_query, variables };
        self.documents().get_or_insert(key, || Arc::new(cached));
    }

    fn documents(&self) -> MutexGuard<'_, LruCache<Key, Arc<CachedDocument>>> {
        self.0.lock()
    }
}

/// A document that is not in the cache yet.
pub(super) struct Candidate {
    key: Key,
    document: ExecutableDocument,
    variables: Vec<(String, Scalar)>,
}

/// The variables of an operation. `None` if one of them is not a [`Scalar`].
fn scalars(operation: &OperationDefinition) -> Option<Vec<(String, Scalar)>> {
    let declared = operation.variable_definitions.iter().map(|variable| {
        let BaseType::Named(name) = &variable.node.var_type.node.base else { return None };
        let scalar = match name.as_str() {
            "ID" | "String" => Scalar::Text,
            "Boolean" => Scalar::Boolean,
            _ => return None,
        };
        Some((variable.node.name.node.to_string(), scalar))
    });
    declared.collect()
}

/// Whether each declared variable has a value of its type.
fn match_types(values: &Variables, declared: &[(String, Scalar)]) -> bool {
    declared.iter().all(|(name, scalar)| match values.get(name.as_str()) {
        Some(Value::String(_)) => *scalar == Scalar::Text,
        Some(Value::Boolean(_)) => *scalar == Scalar::Boolean,
        _ => false,
    })
}

/// The type of the selected operation, if there is one.
pub(super) fn selected_operation(request: &mut Request) -> Option<OperationType> {
    let name = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    operation(document, name.as_deref()).map(|operation| operation.ty)
}

/// The selected operation: the one with this name, or the only one.
fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let selected = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        _ => None,
    };
    selected.map(|operation| &operation.node)
}
