//! The GraphQL edge.
//!
//! Owns the schema, its limits and the HTTP handler. A resolver parses the arguments, calls one use case and builds the
//! answer. The types follow the needs of clients, not the tables; their doc comments are the schema's descriptions.

mod budget;
mod document_cache;
mod errors;
mod execute;
mod http;
mod limits;
mod literals;
mod loaders;
mod mutation;
mod negotiation;
mod nesting;
mod objects;
mod paging;
mod persisted_documents;
mod query;
mod ranges;
mod request;
mod response;
mod scalars;
mod scope;
mod settings;
mod sse;
mod state_query;
mod subscription;
mod time_limit;
mod tokens;
mod variables;
mod websocket;

use async_graphql::{SDLExportOptions, ValidationMode};

use crate::http::PublicUrl;

pub(crate) use http::router;
pub(crate) use persisted_documents::PersistedDocuments;
pub(crate) use settings::{DocumentSettings, GraphqlSettings};

/// The schema with its resolvers.
type Schema = async_graphql::Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// The schema with its limits. `ValidationMode::Fast` is for documents that `Strict` has validated before.
fn schema(settings: &GraphqlSettings, public_url: &PublicUrl, validation: ValidationMode) -> Schema {
    let mut builder = builder()
        .data(public_url.clone())
        .validation_mode(validation)
        .limit_depth(settings.max_depth)
        .limit_complexity(settings.max_complexity)
        .limit_directives(settings.max_directives);
    if !settings.introspection {
        builder = builder.disable_introspection();
    }
    if !settings.suggestions {
        builder = builder.disable_suggestions();
    }
    builder.finish()
}

/// The schema in the GraphQL schema language, as `schema.graphql` holds it.
pub(crate) fn sdl() -> String {
    builder().finish().sdl_with_options(SDLExportOptions::new().include_specified_by().use_space_ident())
}

fn builder() -> async_graphql::SchemaBuilder<query::Query, mutation::Mutation, subscription::Subscription> {
    Schema::build(query::Query, mutation::Mutation, subscription::Subscription::default())
}
