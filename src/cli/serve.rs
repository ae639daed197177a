//! `partway serve`: the socket, the sweep and the signals.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, extract::Request};
use clap::Args;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::flags::ServeFlags;
use crate::{
    app::{App, Lock},
    domain::SystemClock,
    service::Service,
    telemetry,
};

/// How long a client may take to send a request's head, or keep an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Most bytes of a connection that are read at once; also the longest head. hyper's own 400 KiB would be most of the memory
/// that 64 uploads take.
const READ_BYTES: usize = 160 * 1024;
/// The owner of the token that a first start makes.
const FIRST_OWNER: &str = "local";

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::flags::settings(&self.flags)?;
        telemetry::init_logs(config.log_format);
        let _lock = Lock::take(&config)?;
        let app = App::open(&config, Arc::new(SystemClock)).await?;
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        greet(&app.service, address).await?;
        let sweeping = sweep_periodically(Arc::clone(&app.service), config.sweep_interval);
        let service = Arc::clone(&app.service);
        serve(listener, app, config.shutdown_timeout).await?;
        sweeping.abort();
        service.checkpoint().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Tells where the server is, and at a first start on this machine alone, how to get in.
async fn greet(service: &Service, address: SocketAddr) -> anyhow::Result<()> {
    let mut text = format!("Partway listens on http://{address}");
    let first = if address.ip().is_loopback() {
        service.create_first_token(FIRST_OWNER, "first start").await.map_err(super::internal)?
    } else {
        None
    };
    if let Some(first) = first {
        let token = first.token.reveal();
        text +=
            &format!("\n\nA token for owner `{FIRST_OWNER}`, shown this once:\n\n    export PARTWAY_TOKEN={token}\n");
        text += &format!("\nGraphiQL with it: http://{address}/graphiql#token={token}");
    } else if service.tokens().await.map_err(super::internal)?.is_empty() {
        text += "\nThere are no tokens yet: make one with `partway token create --owner NAME`.";
    }
    if let Err(error) = super::output::answer(text) {
        tracing::warn!(%error, "the address could not be shown");
    }
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok(())
}

fn sweep_periodically(service: Arc<Service>, interval: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            service.sweep().await;
        }
    })
}

/// Serves until told to stop, then lets running requests end. While they do, `/ready` still answers: that it does not
/// want more; and who connects late may send one request.
async fn serve(listener: TcpListener, app: App, shutdown_timeout: Duration) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(stop_signal()?);
    loop {
        let stream = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let stopping = app.service.stopping().clone();
        tokio::spawn(app.service.going_on(connection(&http(), stream, &app, stopping)));
    }
    tracing::info!("stopping: running requests may end");
    app.readiness.stop();
    app.service.stop();
    let (late, last_call) = (TaskTracker::new(), CancellationToken::new());
    let drain = async {
        let mut ended = std::pin::pin!(app.service.stopped());
        loop {
            let stream = tokio::select! {
                accepted = accept(&listener) => accepted,
                () = &mut ended => break,
            };
            let one_request = connection(http().keep_alive(false), stream, &app, last_call.clone());
            tokio::spawn(late.track_future(one_request));
        }
        last_call.cancel();
        late.close();
        late.wait().await;
    };
    if tokio::time::timeout(shutdown_timeout, drain).await.is_err() {
        tracing::warn!("requests that did not end in time are cut off");
    }
    tracing::info!("stopped");
    Ok(())
}

/// One connection: its running request may end when the server is about to stop.
fn connection(
    http: &http1::Builder,
    stream: TcpStream,
    app: &App,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let connection = http.serve_connection(TokioIo::new(stream), service(&app.router)).with_upgrades();
    async move {
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A connection that broke is the client's to notice.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

type HttpService = TowerToHyperService<tower::util::MapRequest<Router, fn(Request<Incoming>) -> Request>>;

fn service(router: &Router) -> HttpService {
    let request: fn(Request<Incoming>) -> Request = |request| request.map(axum::body::Body::new);
    TowerToHyperService::new(tower::ServiceExt::<Request>::map_request(router.clone(), request))
}

/// HTTP/1.1 alone: HTTP/2 comes with TLS, which a proxy in front does.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(READ_BYTES);
    http
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers are not held back to be sent with more.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                // Out of file descriptors, most often: wait for some to come free.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
