//! The descriptions of request bodies. Owns corrections to what utoipa derives. Does not own the schemas: those are in each edge.

use utoipa::openapi::{Content, RefOr, Schema, path::Operation};

/// The JSON body of an operation, if it has one.
pub(super) fn json(operation: &mut Operation) -> Option<&mut Content> {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return None };
    match body.content.get_mut("application/json") {
        Some(RefOr::T(content)) => Some(content),
        _ => None,
    }
}

/// Says of an optional body that it may be absent. utoipa says that it may be `null`.
pub(super) fn may_be_absent(operation: &mut Operation) {
    let Some(content) = json(operation) else { return };
    if let Some(RefOr::T(Schema::OneOf(either))) = &mut content.schema {
        let object = either.items.iter().find(|schema| matches!(schema, RefOr::Ref(_)));
        content.schema = object.cloned();
    }
}
