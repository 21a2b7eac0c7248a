//! `demo`: the whole story in one process.

use crate::cli::args::DemoArgs;
use crate::cli::stage::Stage;
use crate::cli::{Failure, Host};

/// Runs `demo`.
pub async fn run(args: &DemoArgs, host: &Host) -> Result<(), Failure> {
    (host.demo)(Stage::stdout(), args.serve).await
}
