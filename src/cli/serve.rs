//! `partway serve`: runs the server.
//!
//! Owns the greeting, the readiness for systemd and the signals. Does not own the server, which is in `http`, or the sweep's timer, which is in
//! `app`.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Args;
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::flags::ServeFlags;
use crate::{
    app::{App, Lock},
    config::Config,
    domain::SystemClock,
    http::{StopRequest, raise_descriptor_limit},
    logs,
    service::Service,
    traces::Traces,
};

/// The exit codes of a process that SIGINT or SIGTERM ended, as shells report them.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;
/// The owner of the token that the first start creates.
const FIRST_OWNER: &str = "local";

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::flags::settings(&self.flags)?;
        let traces = Traces::start(&config.traces)?;
        logs::init(config.server.log_format, traces.as_ref());
        raise_descriptor_limit();
        let served = Self::open_and_serve(&config).await;
        if let Some(traces) = traces {
            traces.stop().await;
        }
        served.map(|()| ExitCode::SUCCESS)
    }

    async fn open_and_serve(config: &Config) -> anyhow::Result<()> {
        let _lock = Lock::take(config)?;
        let app = App::open(config, Arc::new(SystemClock)).await?;
        let service = Arc::clone(&app.service);
        let served = Self::serve(app, config).await;
        service.close().await;
        served
    }

    async fn serve(app: App, config: &Config) -> anyhow::Result<()> {
        let listener = TcpListener::bind(config.server.listen)
            .await
            .with_context(|| format!("listen on {}", config.server.listen))?;
        let address = listener.local_addr()?;
        // Install the handlers before the greeting: a signal without a handler ends the process at once.
        let stop = stop_signal()?;
        greet(&app.service, address).await?;
        // Does nothing without a systemd that waits for it.
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            tracing::warn!(%error, "cannot tell systemd that the server listens");
        }
        app.serve(listener, stop).await;
        Ok(())
    }
}

/// Prints the server's address. At the first start, if it listens on a loopback address only, it also creates a token
/// and prints it.
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
            &format!("\n\nA token for owner `{FIRST_OWNER}`, shown only once:\n\n    export PARTWAY_TOKEN={token}\n");
        text += &format!("\nThe page, signed in:     http://{address}/#token={token}");
        text += &format!("\nGraphiQL, signed in:     http://{address}/graphiql#token={token}");
    } else if service.tokens().await.map_err(super::internal)?.is_empty() {
        text += "\nThere are no tokens yet: create one with `partway token create --owner NAME`.";
    }
    if let Err(error) = super::output::answer(text) {
        tracing::warn!(%error, "cannot print the address");
    }
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok(())
}

/// Completes at the first signal, which stops the server gracefully. The second signal ends the process at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = StopRequest>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => StopRequest::Terminate,
            _ = interrupt.recv() => StopRequest::Interrupt,
        }
    };
    Ok(async move {
        let first = next().await;
        tokio::spawn(async move {
            let code = match next().await {
                StopRequest::Interrupt => INTERRUPTED,
                StopRequest::Terminate => TERMINATED,
            };
            tracing::warn!("a second signal arrived; the process ends at once");
            std::process::exit(code);
        });
        first
    })
}
