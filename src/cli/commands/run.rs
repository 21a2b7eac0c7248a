//! `run`: the orchestrator itself.

use crate::cli::args::{LogFormatArg, Options, RunArgs};
use crate::cli::{Failure, Host, stores};
use crate::telemetry::{self, LogFormat};

/// Runs `run`: until the process is told to end.
pub async fn run(args: &RunArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    telemetry::start(match args.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    });
    let mut config = stores::config(options)?;
    if let Some(folder) = &options.store {
        config.store.path.clone_from(folder);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    (host.orchestrate)(config, args.rolling).await
}
