//! `dead-letters`: messages that could not be processed, and why; decided once more, or put away.

use serde_json::{Value, json};

use super::outcome;
use crate::cli::args::{DeadLettersAct, DeadLettersArgs, ListArgs, Options};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name, whole_text};
use crate::cli::{Failure, output};

/// Runs `dead-letters`.
pub async fn run(args: &DeadLettersArgs, options: &Options) -> Result<(), Failure> {
    match &args.act {
        None => list(&args.list, options).await,
        Some(DeadLettersAct::List(args)) => list(args, options).await,
        Some(DeadLettersAct::Requeue(args)) => {
            let message = args.edit.as_deref().map(whole_text).transpose()?;
            let request = json!({ "by": login_name(args.by.as_deref(), options), "message": message, "dry_run": args.dry_run });
            let answer = post(&args.id, "requeue", &request, options).await?;
            match options.json {
                true => output::json(&answer),
                false => output::line(outcome(&args.id, &answer, args.dry_run)),
            }
        }
        Some(DeadLettersAct::Discard(args)) => {
            let request = json!({ "by": login_name(args.by.as_deref(), options), "dry_run": args.dry_run });
            let answer = post(&args.id, "discard", &request, options).await?;
            let verb = if args.dry_run { "would be" } else { "is" };
            match options.json {
                true => output::json(&answer),
                false => output::line(format!("{} {verb} discarded", args.id)),
            }
        }
    }
}

async fn post(id: &str, what: &str, request: &Value, options: &Options) -> Result<Value, Failure> {
    Client::new(options)?.post(&format!("/v1/dead-letters/{}/{what}", escaped(id)), request).await
}

async fn list(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    let (rows, more) = Client::new(options)?.list("/v1/dead-letters", args.limit.max(1)).await?;
    if options.json {
        return output::json(&rows);
    }
    let cells = |row: &Value| ["received_at", "id", "reason", "detail"].map(|field| row[field].as_str().unwrap_or("?").to_owned());
    output::rows(&rows, cells, |row| cells(row).join("  "))?;
    if rows.is_empty() {
        output::line("no dead letters")?;
    }
    super::and_more(more)
}
