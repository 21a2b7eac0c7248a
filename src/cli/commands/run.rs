//! `run`: the orchestrator itself.

use crate::cli::args::Options;
use crate::cli::{Failure, Host, stores};

/// Runs `run`: until the process is told to end.
pub async fn run(options: &Options, host: &Host) -> Result<(), Failure> {
    let mut config = stores::config(options)?;
    if let Some(folder) = &options.store {
        config.store.path.clone_from(folder);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    (host.orchestrate)(config).await
}
