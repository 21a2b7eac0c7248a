//! `pause` and `resume`: nothing from a system, nothing to it, and on again.

use serde_json::json;

use super::resync::sends;
use crate::cli::args::{DirectionArg, Options, PauseArgs};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name};
use crate::cli::{Failure, output};

/// Runs `pause`.
pub async fn pause(args: &PauseArgs, options: &Options) -> Result<(), Failure> {
    let answer = ask("pause", args, options).await?;
    if options.json {
        return output::json(&answer);
    }
    let kept = match args.direction {
        DirectionArg::In => "what it says stays in the queue",
        DirectionArg::Out => "what it would be sent is kept back",
        DirectionArg::Both => "what it says stays in the queue, what it would be sent is kept back",
    };
    let verb = if args.dry_run { "would be paused" } else { "is paused" };
    output::line(format!("{} {verb}: {kept}; go on with `syncline resume --system {}`", args.system, args.system))
}

/// Runs `resume`.
pub async fn resume(args: &PauseArgs, options: &Options) -> Result<(), Failure> {
    let answer = ask("resume", args, options).await?;
    if options.json {
        return output::json(&answer);
    }
    output::line(sends(&args.system, &answer, if args.dry_run { "would be sent" } else { "is being sent" }))
}

async fn ask(what: &str, args: &PauseArgs, options: &Options) -> Result<serde_json::Value, Failure> {
    let request = json!({ "direction": args.direction.as_str(), "by": login_name(args.by.as_deref(), options), "dry_run": args.dry_run });
    Client::new(options)?.post(&format!("/v1/systems/{}/{what}", escaped(&args.system)), &request).await
}
