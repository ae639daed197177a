//! Queries whose answer depends on the state of one session only, as the ones with which clients resume.
//!
//! Owns which documents are such queries, and the answers that are kept with a state. Does not own how long a state is current:
//! that is `db/snapshots.rs`.
//!
//! # Why a kept answer is right
//!
//! 1. The document selects one session, by a variable, and only [`FIELDS`] of it, without arguments and directives. Their
//!    resolvers read nothing but the session: not the time, the caller or another row. So all executions of the document for
//!    one state give the same answer.
//! 2. An answer is kept with the state that its execution read: the whole answer shows the first state that its loaders got.
//! 3. Each request reads the last committed state of the caller's session first, as every other query does, and takes the
//!    answer from that state.
//! 4. An answer with errors is not kept.

use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql::{
    Response, Value, Variables,
    parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet},
};

use super::{
    response::{encoded, write_value},
    scope::Scope,
};
use crate::domain::{SessionId, SessionState};

/// The fields of a session that depend on nothing else, and those of its ranges.
const FIELDS: [&str; 22] = [
    "__typename",
    "id",
    "status",
    "statusReason",
    "totalParts",
    "completedParts",
    "receivedParts",
    "missingParts",
    "receivedPartsText",
    "chunkSizeBytes",
    "totalSizeBytes",
    "bytesReceived",
    "contiguousBytes",
    "autoFinalize",
    "progress",
    "version",
    "createdAt",
    "updatedAt",
    "expiresAt",
    "first",
    "last",
    "count",
];

/// Longest answer in bytes that is kept: one with all fields of a session has about 650. `db/snapshots.rs` counts it for each state.
const MAX_KEPT_BYTES: usize = 768;

/// A query for the state of a session.
pub(super) struct StateQuery {
    /// A number that no other document has, since the process started.
    document: u64,
    /// The variable with the session's id.
    id_variable: String,
}

/// The place for the answer to a query, in the state of a session.
pub(super) struct AnswerPlace {
    document: u64,
    state: SessionState,
}

impl StateQuery {
    /// The query in this operation of a valid document, if its answer depends on the state of one session only.
    pub(super) fn of(document: &ExecutableDocument, operation: &OperationDefinition) -> Option<Self> {
        static DOCUMENTS: AtomicU64 = AtomicU64::new(0);
        if operation.ty != OperationType::Query
            || !operation.directives.is_empty()
            || operation.variable_definitions.iter().any(|variable| !variable.node.directives.is_empty())
        {
            return None;
        }
        let [root] = &*operation.selection_set.node.items else { return None };
        let Selection::Field(session) = &root.node else { return None };
        let Field { name, arguments, directives, selection_set, .. } = &session.node;
        if name.node != "uploadSession" || !directives.is_empty() {
            return None;
        }
        let [(_, id)] = &**arguments else { return None };
        // Only a variable begins with `$`: a string is in quotes. async-graphql does not export the type of this value.
        let id_variable = id.node.to_string().strip_prefix('$')?.to_owned();
        depends_on_session_only(document, &selection_set.node)
            .then(|| Self { document: DOCUMENTS.fetch_add(1, Ordering::Relaxed), id_variable })
    }

    /// Reads the state of the caller's session that these variables name. Returns the place for the answer in that state, or `None`
    /// if the caller has no such session, or the read fails.
    pub(super) async fn place(&self, variables: &Variables, scope: &Scope) -> Option<AnswerPlace> {
        let Value::String(id) = variables.get(self.id_variable.as_str())? else { return None };
        let id: SessionId = id.parse().ok()?;
        let state = scope.loaders.state(id).await.ok()??;
        Some(AnswerPlace { document: self.document, state })
    }
}

impl AnswerPlace {
    /// The answer, if it is there.
    pub(super) fn kept(&self) -> Option<Response> {
        let kept = self.state.encoded.selected.lock();
        let (_, data) = kept.as_ref().filter(|(document, _)| *document == self.document)?;
        Some(Response::new(encoded(data.clone())))
    }

    /// Keeps the answer, if it is short and has no errors. A state keeps the answer to one document: a deployment's clients usually
    /// send the same one.
    pub(super) fn keep(&self, answer: &Response) {
        if !answer.errors.is_empty() {
            return;
        }
        if let Ok(data) = write_value(&answer.data, MAX_KEPT_BYTES) {
            // A boxed slice has no spare capacity.
            *self.state.encoded.selected.lock() = Some((self.document, data.into_boxed_slice().into()));
        }
    }
}

/// Whether all fields of this set, also those in fragments and below other fields, are [`FIELDS`] without arguments and
/// directives. Ends, because no fragment of a valid document contains itself.
fn depends_on_session_only(document: &ExecutableDocument, set: &SelectionSet) -> bool {
    set.items.iter().all(|selection| match &selection.node {
        Selection::Field(field) => {
            let Field { name, arguments, directives, selection_set, .. } = &field.node;
            FIELDS.contains(&name.node.as_str())
                && arguments.is_empty()
                && directives.is_empty()
                && depends_on_session_only(document, &selection_set.node)
        }
        Selection::InlineFragment(inline) => {
            inline.node.directives.is_empty() && depends_on_session_only(document, &inline.node.selection_set.node)
        }
        Selection::FragmentSpread(spread) => {
            let fragment = document.fragments.get(&spread.node.fragment_name.node);
            spread.node.directives.is_empty()
                && fragment.is_some_and(|fragment| {
                    fragment.node.directives.is_empty()
                        && depends_on_session_only(document, &fragment.node.selection_set.node)
                })
        }
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::{
        ServerError,
        parser::{
            parse_query, parse_schema,
            types::{TypeKind, TypeSystemDefinition},
        },
    };

    use super::*;
    use crate::{
        domain::{Clock, OwnerName, PartPlan, SystemClock, Upload, UploadRequest},
        graphql::response::to_json,
    };

    fn is_state_query(document: &str) -> bool {
        let document = parse_query(document).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        StateQuery::of(&document, &operation.node).is_some()
    }

    /// The fields of a type in the schema.
    fn fields(type_name: &str) -> Vec<String> {
        let schema = parse_schema(crate::graphql::sdl()).unwrap();
        let definition = schema.definitions.into_iter().find_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) if definition.node.name.node == type_name => Some(definition.node),
            _ => None,
        });
        let TypeKind::Object(object) = definition.unwrap().kind else { panic!("{type_name} is no object") };
        object.fields.iter().map(|field| field.node.name.node.to_string()).collect()
    }

    /// A new field must be added to [`FIELDS`], or here if it depends on more than the session.
    #[test]
    fn each_field_of_a_session_is_known() {
        let mut known = vec!["file".to_owned(), "parts".to_owned()];
        known.extend(FIELDS.iter().filter(|field| **field != "__typename").map(|field| (*field).to_owned()));
        let mut present = [fields("UploadSession"), fields("PartRange")].concat();
        known.sort_unstable();
        present.sort_unstable();
        assert_eq!(known, present);
    }

    #[test]
    fn a_state_query_selects_one_session_and_fields_of_it() {
        for document in [
            "query($id: ID!) { uploadSession(id: $id) { status receivedParts { first last } } }",
            "query($id: ID!) { now: uploadSession(id: $id) { its: version __typename missingParts { n: count } } }",
            "query($id: ID!) { uploadSession(id: $id) { ...A } } \
             fragment A on UploadSession { id ... on UploadSession { progress } ... on Node { id } }",
        ] {
            assert!(is_state_query(document), "{document}");
        }
        for document in [
            "query { uploadSession(id: \"a\") { status } }",
            "query($id: ID!) { uploadSession(id: $id) { status } viewer { owner } }",
            "query($id: ID!) { node(id: $id) { id } }",
            "query($id: ID!) { uploadSession(id: $id) { status file { id } } }",
            "query($id: ID!) { uploadSession(id: $id) { parts { nodes { sha256 } } } }",
            "query($id: ID!) { uploadSession(id: $id) { receivedParts(first: 1) { first } } }",
            "query($id: ID!, $b: Boolean!) { uploadSession(id: $id) { status @include(if: $b) } }",
            "query($id: ID!, $b: Boolean!) { uploadSession(id: $id) @skip(if: $b) { status } }",
            "query($id: ID!, $b: Boolean!) { uploadSession(id: $id) { ... @include(if: $b) { status } } }",
            "query($id: ID!, $b: Boolean!) { uploadSession(id: $id) { ...A @include(if: $b) } } \
             fragment A on UploadSession { id }",
            "query($id: ID!) { uploadSession(id: $id) { ...A } } fragment A on UploadSession { file { id } }",
            "query($id: ID!) { ...A } fragment A on Query { uploadSession(id: $id) { id } }",
            "subscription($id: ID!) { uploadSession(id: $id) { status } }",
            "mutation($id: ID!) { uploadSession(id: $id) { status } }",
        ] {
            assert!(!is_state_query(document), "{document}");
        }
    }

    #[test]
    fn a_state_keeps_the_last_answer_for_its_own_document() {
        let request = UploadRequest::new("a", "text/plain", PartPlan::new(10, 10).unwrap());
        let owner = OwnerName::parse("ann").unwrap();
        let state: SessionState = Upload::new(&owner, request, SystemClock.now(), chrono::TimeDelta::days(1)).into();
        let place = |document| AnswerPlace { document, state: state.clone() };
        let kept = |document| place(document).kept().map(|answer| to_json(&answer));
        assert_eq!(kept(1), None);
        place(1).keep(&Response::new(Value::from("one")));
        assert_eq!(kept(1).unwrap(), r#"{"data":"one"}"#);
        assert_eq!(kept(2), None);
        place(2).keep(&Response::new(Value::from("two")));
        assert_eq!((kept(1), kept(2).unwrap()), (None, r#"{"data":"two"}"#.to_owned()));

        let mut failed = Response::new(Value::from("failed"));
        failed.errors.push(ServerError::new("a", None));
        place(3).keep(&failed);
        place(3).keep(&Response::new(Value::from("x".repeat(MAX_KEPT_BYTES))));
        assert_eq!(kept(3), None);
    }
}
