//! What all edges say in OpenAPI about their operations.
//!
//! Owns the answers with an error, the headers of requests and answers, and the schemas of values that several bodies have.
//! Does not own the operations: each edge describes its own, beside its handlers. `app` makes one document of them.

mod bodies;
mod errors;
mod headers;
mod parameters;
mod values;

use utoipa::openapi::{Components, OpenApi, PathItem, path::Operation};

pub(crate) use errors::Errors;
pub(crate) use parameters::{
    ChangeConditions, ContentDigest, Disposition, IdempotencyKey, IfNoneMatch, LastEventId, Ranges, ReadConditions,
    ReprDigest, Wait, id_in_path, number_in_path,
};
pub(crate) use values::{Binary, Filename};

/// How an edge describes its operations.
pub(crate) struct Description {
    /// Without the errors.
    pub(crate) document: OpenApi,
    pub(crate) errors: Errors,
}

/// Adds the operations of an edge to a document, each with its errors and with the descriptions of the headers of its answers.
///
/// # Panics
/// If an operation has no line in the table of errors, a line has no operation, or an answer has a header without a description.
pub(crate) fn add(document: &mut OpenApi, edge: Description) {
    let Description { document: mut described, errors } = edge;
    let components = document.components.get_or_insert_with(Components::new);
    components.headers.extend(headers::components());
    components.schemas.extend(errors::schema());
    let mut count = 0;
    for item in described.paths.paths.values_mut() {
        for (changes, operation) in operations(item) {
            bodies::may_be_absent(operation);
            headers::refer(operation);
            errors::add(operation, changes, errors, components);
            count += 1;
        }
    }
    assert_eq!(count, errors.len(), "the table of errors has a line for no operation");
    document.merge(described);
}

/// The operations of a path, and whether each changes something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    [(false, get), (true, put), (true, post), (true, delete)]
        .into_iter()
        .filter_map(|(changes, operation)| operation.as_mut().map(|operation| (changes, operation)))
}
