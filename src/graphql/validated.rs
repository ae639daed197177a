//! Documents that were found valid before.
//!
//! Owns the rule for not looking at a document twice. Parsing and validating cost more than executing, and clients send
//! the same few documents for ever. A document is remembered once it has passed everything, together with its operation;
//! it is known again only with variables that cannot make it invalid: scalars of the types that it declares, where any
//! value of the type will do. With others (lists, enums, numbers that say how much is asked for) it is validated anew.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Request, Value, Variables,
    parser::types::{BaseType, ExecutableDocument, OperationDefinition},
};
use lru::LruCache;

use super::request::operation;

/// Documents that are remembered; the one that was not used for the longest time goes first.
const MOST: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longer ones are not remembered, so that all of them take a few MiB.
const MOST_BYTES: usize = 4 * 1024;

/// What has passed.
#[derive(Clone)]
pub(super) struct Validated(Arc<Mutex<LruCache<Key, Arc<Entry>>>>);

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

impl Default for Validated {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MOST))))
    }
}

impl Validated {
    /// Gives a request that is known to be valid its document.
    pub(super) fn recall(&self, request: &mut Request) -> bool {
        let key = Key(std::mem::take(&mut request.query), request.operation_name.take());
        let entry = self.entries().get(&key).map(Arc::clone);
        Key(request.query, request.operation_name) = key;
        let Some(entry) = entry.filter(|entry| fit(&request.variables, &entry.variables)) else { return false };
        request.set_parsed_query(entry.document.clone());
        true
    }

    /// What is to be remembered of a request if it proves to be valid.
    pub(super) fn candidate(request: &mut Request) -> Option<Candidate> {
        if request.query.len() > MOST_BYTES {
            return None;
        }
        let key = Key(request.query.clone(), request.operation_name.clone());
        let document = request.parsed_query().ok()?.clone();
        let variables = scalars(operation(&document, key.1.as_deref())?)?;
        fit(&request.variables, &variables).then(|| Candidate { key, entry: Entry { document, variables } })
    }

    pub(super) fn remember(&self, candidate: Candidate) {
        self.entries().put(candidate.key, Arc::new(candidate.entry));
    }

    fn entries(&self) -> MutexGuard<'_, LruCache<Key, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A document on its way to be remembered.
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
fn fit(values: &Variables, declared: &[(String, Scalar)]) -> bool {
    declared.iter().all(|(name, scalar)| match values.get(name.as_str()) {
        Some(Value::String(_)) => *scalar == Scalar::Text,
        Some(Value::Boolean(_)) => *scalar == Scalar::Boolean,
        _ => false,
    })
}
