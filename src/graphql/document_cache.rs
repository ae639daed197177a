//! The document cache: documents that were found valid before.
//!
//! Owns when a document need not be parsed and validated again, which costs more than executing it; clients send the same
//! few documents over and over. A document enters the cache with its operation once it has passed every check. It is
//! recalled only with variables that cannot make it invalid: scalars of the declared types, where any value of the type will
//! do. With other variables (lists, enums, numbers that say how much is asked for) it is validated anew.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Request, Value, Variables,
    parser::types::{BaseType, DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use lru::LruCache;

/// Documents in the cache; the least recently used one is evicted first.
const MAX_DOCUMENTS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longer documents are not cached, so that the cache takes a few MiB at most.
const MAX_DOCUMENT_BYTES: usize = 4 * 1024;

/// Documents that have passed.
#[derive(Clone)]
pub(super) struct DocumentCache(Arc<Mutex<LruCache<Key, Arc<Entry>>>>);

/// The text of a document, and the name of the operation in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(String, Option<String>);

struct Entry {
    document: ExecutableDocument,
    variables: Vec<(String, Scalar)>,
}

/// The types whose every value is as valid as any other.
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
    /// Gives a request its parsed document, if the cache has it. Answers whether it has.
    pub(super) fn apply(&self, request: &mut Request) -> bool {
        let key = Key(std::mem::take(&mut request.query), request.operation_name.take());
        let entry = self.entries().get(&key).map(Arc::clone);
        Key(request.query, request.operation_name) = key;
        let Some(entry) = entry.filter(|entry| match_types(&request.variables, &entry.variables)) else { return false };
        request.set_parsed_query(entry.document.clone());
        true
    }

    /// What to remember of a request if it proves to be valid.
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A document that enters the cache if it proves to be valid.
pub(super) struct Candidate {
    key: Key,
    entry: Entry,
}

/// The variables of an operation, if all are scalars.
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

/// Whether there is a value of its type for each of these variables.
fn match_types(values: &Variables, declared: &[(String, Scalar)]) -> bool {
    declared.iter().all(|(name, scalar)| match values.get(name.as_str()) {
        Some(Value::String(_)) => *scalar == Scalar::Text,
        Some(Value::Boolean(_)) => *scalar == Scalar::Boolean,
        _ => false,
    })
}

/// The kind of the operation that would be executed, if there is one.
pub(super) fn selected_operation(request: &mut Request) -> Option<OperationType> {
    let name = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    operation(document, name.as_deref()).map(|operation| operation.ty)
}

/// The operation that would be executed: the one that is named, or the only one.
fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let selected = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        _ => None,
    };
    selected.map(|operation| &operation.node)
}
