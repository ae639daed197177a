//! The composition root: settings in, a router out.
//!
//! The one file that knows all parts. Owns which layers a request passes and in which order; decides nothing else.

mod observe;
mod stores;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, Method},
    middleware,
    response::IntoResponse,
};
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer, csrf::CsrfLayer};

pub use self::stores::{Lock, migrate, open_bound_service, open_service};
use crate::{
    config::{Config, ConnectionSettings},
    domain::Clock,
    error::Error,
    graphql,
    http::{LeastRate, PacedBody, Readiness, Server},
    rest,
    service::Service,
    web,
};

/// A server that only lacks a socket.
#[derive(Debug)]
pub struct App {
    /// The use cases.
    pub service: Arc<Service>,
    /// Every route.
    pub router: Router,
    overloaded: Router,
    readiness: Readiness,
    settings: ConnectionSettings,
}

impl App {
    /// Opens everything and wires it. Nothing is opened lazily: what is wrong is told now.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let service = Arc::new(open_bound_service(config, clock).await?);
        service.ready().await.map_err(|error| anyhow::anyhow!("{}", error.with_causes()))?;
        let readiness = Readiness::default();
        let (router, overloaded) = routers(&service, &readiness, config)?;
        Ok(Self { service, router, overloaded, readiness, settings: config.connections() })
    }

    /// The server, which a socket makes whole.
    pub fn into_server(self) -> Server {
        Server::new(self.router, self.overloaded, self.service, self.readiness, self.settings)
    }
}

/// The GraphQL schema, as `schema.graphql` holds it.
pub fn sdl() -> String {
    graphql::sdl()
}

/// Every route, and what answers in their place when there are too many connections.
fn routers(service: &Arc<Service>, readiness: &Readiness, config: &Config) -> anyhow::Result<(Router, Router)> {
    let observer = observe::Observer::new(Arc::clone(service))?;
    let (cors, csrf) = cross_origin(config)?;
    let documents = graphql::Documents::load(config.graphql_trusted_documents(), config.graphql_trusted_only)?;
    let origins = config.cors_origins().map(str::to_owned).collect();
    let rate = LeastRate::from(&config.connections());
    // From the outside in, as one: a router that is given them one by one wraps every route again for each.
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(observer, observe::observe))
        .option_layer(cors)
        .layer(csrf.with_rejection_response(|_| {
            rest::Problem(Error::forbidden("requests from this origin are not allowed")).into_response()
        }))
        .map_response(IntoResponse::into_response)
        .layer(CatchPanicLayer::custom(rest::panicked))
        .map_request(rest::linger)
        .map_request(move |request: Request| request.map(|body| PacedBody::wrap(body, rate)));
    let router = Router::new()
        .merge(rest::router(Arc::clone(service), readiness.clone()))
        .merge(graphql::router(Arc::clone(service), config.graphql(), documents, origins))
        .merge(web::router())
        .fallback(rest::no_such_route)
        .method_not_allowed_fallback(rest::no_such_method)
        .layer(layers.clone());
    Ok((router, Router::new().fallback(rest::overloaded).layer(layers)))
}

/// Which pages may use this server from a browser: its own, and those of the origins in the settings. Callers are known by
/// a header that no browser adds by itself, so this is the second lock on the door.
fn cross_origin(config: &Config) -> anyhow::Result<(Option<CorsLayer>, CsrfLayer)> {
    let (mut csrf, mut origins) = (CsrfLayer::new(), Vec::new());
    for origin in config.cors_origins() {
        let wrong = || format!("cors_origins: {origin} is no origin such as https://app.example.org");
        anyhow::ensure!(!origin.contains('*'), "cors_origins: {origin}: name each origin; patterns are not taken");
        csrf = csrf.add_trusted_origin(origin).with_context(wrong)?;
        origins.push(HeaderValue::from_str(origin).with_context(wrong)?);
    }
    if origins.is_empty() {
        return Ok((None, csrf));
    }
    let headers = ["authorization", "content-type", "content-digest", "idempotency-key", "if-none-match", "range"];
    let exposed = ["etag", "location", "retry-after", "x-request-id", "content-range", "content-disposition"];
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(headers.map(HeaderName::from_static))
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(Duration::from_hours(1));
    Ok((Some(cors), csrf))
}
