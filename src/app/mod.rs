//! The composition root: from settings to a router.
//!
//! The only file that imports all parts. Owns which layers a request passes, and their order. Does not
//! own what runs without a request: that is `background`.

mod background;
mod folders;
mod lock;
mod moving;
mod openapi;
mod origins;
mod stores;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request, middleware, response::IntoResponse};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, csrf::CsrfLayer};

use self::origins::Origins;
pub use self::{
    lock::Lock,
    moving::{MoveStorages, Moving, plan_move},
    openapi::openapi,
    stores::{Opening, migrate, open_service},
};
pub use crate::http::Shutdown;
use crate::{
    config::Config,
    domain::Clock,
    graphql,
    http::{self, ConnectionSettings, MinRate, PacedBody, PublicUrl, Server, StopRequest},
    identity::Jwt,
    rest, rufh,
    service::Service,
    tus, web,
};

/// A server without its listening socket.
#[derive(Debug)]
pub struct App {
    /// The use cases.
    pub service: Arc<Service>,
    /// All routes.
    pub router: Router,
    overloaded: Router,
    /// Stops what the routes serve.
    pub shutdown: Shutdown,
    settings: ConnectionSettings,
    sweep_interval: Duration,
}

impl App {
    /// Opens the database and the storage, and wires the routes. Opens nothing lazily, so errors appear at the start.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let identity = Jwt::open(&config.identity)?;
        let service = open_service(config, clock, Opening { bind: true, ..Opening::default() }).await?;
        let service = Arc::new(service.with_identity(identity));
        service.reachable().await.map_err(|error| anyhow::anyhow!("{}", error.with_causes()))?;
        if let Err(error) = service.ready().await {
            tracing::warn!(error = error.with_causes(), details = ?error.details(), "the server starts, but is not ready");
        }
        Self::over(service, config)
    }

    /// Wires the routes over an open service.
    ///
    /// # Errors
    /// A setting of an edge is invalid.
    pub fn over(service: Arc<Service>, config: &Config) -> anyhow::Result<Self> {
        let shutdown = Shutdown::default();
        let (router, overloaded) = routers(&service, &shutdown, config)?;
        let (settings, sweep_interval) = (config.connections, config.limits.sweep_interval);
        Ok(Self { service, router, overloaded, shutdown, settings, sweep_interval })
    }

    /// Serves requests and runs the periodic sweep, until `stop` completes and the requests have drained.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = StopRequest>) {
        let background = background::run(&self.service, self.sweep_interval);
        let server = Server::new(self.router, self.overloaded, self.service, self.shutdown, self.settings);
        server.run(listener, stop).await;
        drop(background);
    }
}

/// Checks the settings that `config` cannot check: origins, and the files of trusted documents and of the provider's key.
///
/// # Errors
/// `serve` would refuse a setting. The message names it.
pub fn check(config: &Config) -> anyhow::Result<()> {
    Origins::new(config.server.cors_origins(), config.server.public_url()?.as_ref())?;
    Jwt::open(&config.identity)?;
    graphql::PersistedDocuments::load(&config.documents).map(drop)
}

/// The GraphQL schema, as in `schema.graphql`.
pub fn sdl() -> String {
    graphql::sdl()
}

/// All routes, and the router that answers instead while there are too many connections.
fn routers(service: &Arc<Service>, shutdown: &Shutdown, config: &Config) -> anyhow::Result<(Router, Router)> {
    let observer = http::Observer::new(Arc::clone(service))?;
    let public_url = config.server.public_url()?;
    let origins = Origins::new(config.server.cors_origins(), public_url.as_ref())?;
    let documents = graphql::PersistedDocuments::load(&config.documents)?;
    let rate = MinRate::from(&config.connections);
    let document = rest::Document::new(openapi(public_url.as_ref())?);
    let public_url = PublicUrl::new(public_url.as_ref());
    let tus = tus::Discovery { max_file_bytes: config.limits.max_file_size.0 };
    // The outermost layer first. Combined into one, because a router wraps every route again for each layer that it
    // gets.
    let observed = middleware::from_fn_with_state(observer, http::observe);
    let guarded = ServiceBuilder::new()
        .option_layer(origins.cors())
        .map_request(move |request| origins.admit(request))
        .layer(CsrfLayer::new().with_rejection_response(|_| http::foreign_origin().into_response()))
        .map_response(IntoResponse::into_response)
        .layer(CatchPanicLayer::custom(http::panicked))
        .map_request(http::drain_unread_body)
        .map_request(move |request: Request| request.map(|body| PacedBody::wrap(body, rate)));
    let layers = ServiceBuilder::new().layer(observed.clone()).layer(guarded.clone());
    let advertised = middleware::from_fn_with_state(Arc::clone(service), rufh::advertise);
    let rufh_layers = ServiceBuilder::new().layer(observed.clone()).layer(advertised).layer(guarded.clone());
    let tus_layers =
        ServiceBuilder::new().layer(observed).layer(middleware::from_fn_with_state(tus, tus::conform)).layer(guarded);
    let router = Router::new()
        .merge(rest::router(Arc::clone(service), shutdown.clone(), public_url.clone(), document))
        .merge(graphql::router(Arc::clone(service), shutdown.clone(), config.graphql, documents, &public_url))
        .merge(web::router())
        .fallback(http::no_such_route)
        .method_not_allowed_fallback(http::no_such_method)
        .layer(layers.clone())
        .merge(rufh::router(Arc::clone(service), public_url.clone()).layer(rufh_layers))
        .merge(tus::router(Arc::clone(service), public_url).layer(tus_layers.clone()));
    let overloaded = Router::new().fallback(http::overloaded).layer(layers);
    Ok((router, overloaded.merge(tus::overloaded_router().layer(tus_layers))))
}
