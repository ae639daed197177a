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

/// Documents in the cache. A new one evicts the least recently used one.
const MAX_DOCUMENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longest document in bytes that enters the cache, so that the cache takes a few MiB at most.
const MAX_DOCUMENT_BYTES: usize = 4 * 1024;

/// The validated documents.
#[derive(Clone)]
pub(super) struct DocumentCache(Arc<Mutex<LruCache<Key, Arc<Entry>>>>);

/// The text of a document, and the name of its selected operation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(String, Option<String>);

struct Entry {
    document: ExecutableDocument,
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
    /// Sets the parsed document of a request from the cache. Returns whether the cache has it.
    pub(super) fn apply(&self, request: &mut Request) -> bool {
        let key = Key(std::mem::take(&mut request.query), request.operation_name.take());
        let entry = self.entries().get(&key).map(Arc::clone);
        Key(request.query, request.operation_name) = key;
        let Some(entry) = entry.filter(|entry| match_types(&request.variables, &entry.variables)) else { return false };
        request.set_parsed_query(entry.document.clone());
        true
    }

    /// The entry for a request, to insert if the request turns out to be valid. `None` if the cache does not take it.
    pub(super) fn candidate(request: &mut Request) -> Option<Candidate> {
        if request.query.len() > MAX_DOCUMENT_BYTES {
            return None;
        }
        let key = Key(request.query.clone(), request.operation_name.clone());
        let document = request.parsed_query().ok()?.clone();
        let variables = scalars(operation(&document, key.1.as_deref())?)?;
        match_types(&request.variables, &variables).then(|| Candidate { key, entry: Entry { document, variables } })
    }

    pub(super) fn insert(&self, candidate: Candidate) {
        self.entries().put(candidate.key, Arc::new(candidate.entry));
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<Key, Arc<Entry>>> {
        self.0.lock()
    }
}

/// An entry that is not in the cache yet.
pub(super) struct Candidate {
    key: Key,
    entry: Entry,
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
