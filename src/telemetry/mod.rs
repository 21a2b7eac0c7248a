//! Logs: constant lowercase messages with fields, once, where something is handled. And what is measured.

mod metrics;
mod spans;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use self::metrics::{Fault, Gauges, Metrics, Refused};
pub use self::spans::{Span, Spans};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts to write logs to stderr: at level info, or as the environment's `SYNCLINE_LOG` says (`debug`,
/// `syncline::engine=trace` …). Does nothing if the program logs already.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SYNCLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The client of RabbitMQ would log whole messages, and says what we say ourselves where it is handled.
    let filter = match "lapin=off".parse() {
        Ok(silence) => filter.add_directive(silence),
        Err(_) => filter,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // An error means that somebody else has set up logging; theirs is as good.
    let _ = match format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
