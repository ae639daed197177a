//! The GraphQL edge.
//!
//! Owns the schema, its limits and the HTTP handler. A resolver takes the arguments, calls one use case and shapes the
//! answer. Types here are made for callers and mirror no table; their doc comments are the schema's descriptions.

mod errors;
mod http;
mod limits;
mod loaders;
mod mutation;
mod objects;
mod query;
mod scalars;

use std::sync::Arc;

use async_graphql::{EmptySubscription, SDLExportOptions};

pub use http::router;

use crate::service::Service;

/// Deepest nesting; 15 is the least that lets GraphiQL's introspection pass.
const MAX_DEPTH: usize = 15;
/// Most fields in one answer, pages counted at their size.
const MAX_COMPLEXITY: usize = 10_000;
/// Most directives on one field.
const MAX_DIRECTIVES: usize = 8;

/// The schema with its resolvers.
type Schema = async_graphql::Schema<query::Query, mutation::Mutation, EmptySubscription>;

/// The schema over a service.
fn schema(service: Arc<Service>) -> Schema {
    builder().data(service).finish()
}

/// The schema in the GraphQL schema language, as `schema.graphql` holds it.
pub fn sdl() -> String {
    builder().finish().sdl_with_options(SDLExportOptions::new().include_specified_by().use_space_ident())
}

fn builder() -> async_graphql::SchemaBuilder<query::Query, mutation::Mutation, EmptySubscription> {
    Schema::build(query::Query, mutation::Mutation, EmptySubscription)
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
        .limit_directives(MAX_DIRECTIVES)
}
