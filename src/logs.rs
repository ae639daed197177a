//! The log.
//!
//! Owns where log lines go, and their format. Does not decide what to log: each module does.

use serde::Deserialize;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{spans, traces::Traces};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// Starts the log on standard error, and the export of spans. Standard output is for the results of commands.
pub(crate) fn init(format: LogFormat, traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sea_orm_migration=warn"));
    // At the level `trace`, it logs the messages of WebSockets, and the first one has the client's token.
    let filter = filter.add_directive("tungstenite::protocol=debug".parse().expect("a valid directive"));
    let filter = filter.add_directive(format!("{}=off", spans::TARGET).parse().expect("a valid directive"));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        // Otherwise it reports a failed write with `eprintln!`, which panics if standard error is closed or full.
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    match traces {
        // A filter for all, which decides faster than one for each layer.
        None => tracing_subscriber::registry().with(lines).with(filter).init(),
        Some(traces) => {
            let lines: Box<dyn Layer<Registry> + Send + Sync> = lines.with_filter(filter).boxed();
            tracing_subscriber::registry().with(lines).with(traces.layer()).init();
        }
    }
}
