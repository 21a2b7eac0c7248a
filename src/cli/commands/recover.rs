//! `recover`: after an older back-up was put back.

use serde_json::json;

use crate::cli::args::{Options, RecoverArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::engine::attendance;

const NEXT: &str = "now start the orchestrator, have every system hand in a full export (syncline snapshot), and then send each of them \
                    what it should hold (syncline resync --system NAME --everything)";

/// Runs `recover`.
pub async fn run(args: &RecoverArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host).await?;
    attendance::alone(store.as_ref(), host.clock.as_ref()).await?;
    let epoch = if args.dry_run { store.epoch().await? + 1 } else { store.raise_epoch().await? };
    if options.json {
        return output::json(&json!({ "epoch": epoch, "dry_run": args.dry_run }));
    }
    let (is, then) = if args.dry_run { ("would be", "then") } else { ("is", "now") };
    output::line(format!(
        "the epoch {is} {epoch} {then}: adapters take whatever they are sent from {then} on for newer than all they were sent before"
    ))?;
    if args.dry_run { Ok(()) } else { output::line(NEXT) }
}
