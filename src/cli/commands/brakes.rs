//! `brakes`: what is kept back until a person lets it go.

use serde_json::{Value, json};

use crate::cli::args::{BrakesAct, BrakesArgs, LetGoArgs, Options};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name};
use crate::cli::{Failure, output};

/// Runs `brakes`.
pub async fn run(args: &BrakesArgs, options: &Options) -> Result<(), Failure> {
    match (&args.act, &args.release) {
        (Some(BrakesAct::Release(args)), _) => act("release", args, options).await,
        (Some(BrakesAct::Discard(args)), _) => act("discard", args, options).await,
        (None, Some(id)) => act("release", &LetGoArgs { id: id.clone(), by: None, dry_run: false }, options).await,
        (None | Some(BrakesAct::List), None) | (Some(BrakesAct::List), Some(_)) => list(options).await,
    }
}

async fn act(what: &str, args: &LetGoArgs, options: &Options) -> Result<(), Failure> {
    let request = json!({ "by": login_name(args.by.as_deref(), options), "dry_run": args.dry_run });
    let answer = Client::new(options)?.post(&format!("/v1/brakes/{}/{what}", escaped(&args.id)), &request).await?;
    if options.json {
        return output::json(&answer);
    }
    let verb = if args.dry_run { "would be" } else { "is" };
    let done = if what == "release" { "released" } else { "discarded" };
    output::line(format!("{} {verb} {done}: {}", args.id, counts(&answer[done])))
}

async fn list(options: &Options) -> Result<(), Failure> {
    let answer = Client::new(options)?.get("/v1/brakes").await?;
    if options.json {
        return output::json(&answer["items"]);
    }
    let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cells = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        [text("id"), format!("since {}", text("since")), counts(&row["waiting"])]
    };
    output::rows(rows, cells, |row| cells(row).join("  "))?;
    if rows.is_empty() {
        output::line("nothing is kept back")?;
    }
    Ok(())
}

fn counts(counts: &Value) -> String {
    let number = |field: &str| counts[field].as_u64().unwrap_or(0);
    match number("deletes") {
        0 => format!("{} creates and {} updates to send", number("creates"), number("updates")),
        deletes => format!("{deletes} deletes to decide"),
    }
}
