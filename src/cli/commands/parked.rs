//! `parked`: updates that wait, and for what; a person's word about them.

use serde_json::{Value, json};

use super::outcome;
use crate::cli::args::{JudgeArgs, ListArgs, Options, ParkedAct, ParkedArgs};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name, whole_text};
use crate::cli::{Failure, output};
use crate::wire::{Limits, strict_json};

/// Runs `parked`.
pub async fn run(args: &ParkedArgs, options: &Options) -> Result<(), Failure> {
    match &args.act {
        None => list(&args.list, options).await,
        Some(ParkedAct::List(args)) => list(args, options).await,
        Some(ParkedAct::Approve(args)) => {
            let entity = match &args.edit {
                None => Value::Null,
                Some(path) => strict_json::parse(whole_text(path)?.as_bytes(), &Limits::LARGEST)
                    .map_err(|bad| Failure::usage(format!("{}: {bad}", path.display())))?,
            };
            judge("approve", &args.judge, json!({ "reason": args.reason, "entity": entity }), options).await
        }
        Some(ParkedAct::Reject(args)) => judge("reject", &args.judge, json!({ "reason": args.reason }), options).await,
        Some(ParkedAct::Retry(args)) => judge("retry", &args.judge, json!({}), options).await,
    }
}

async fn judge(what: &str, args: &JudgeArgs, mut request: Value, options: &Options) -> Result<(), Failure> {
    request["by"] = json!(login_name(args.by.as_deref(), options));
    request["dry_run"] = json!(args.dry_run);
    let answer = Client::new(options)?.post(&format!("/v1/parked/{}/{what}", escaped(&args.update)), &request).await?;
    if options.json {
        return output::json(&answer);
    }
    output::line(outcome(&args.update, &answer, args.dry_run))
}

async fn list(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    let (rows, more) = Client::new(options)?.list("/v1/parked", args.limit.max(1)).await?;
    if options.json {
        return output::json(&rows);
    }
    let cells = |row: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let retry = row["retry_at"].as_str().map(|at| format!(", again at {at}")).unwrap_or_default();
        let kind = text(&row["waiting_for"]["kind"]).replace('_', " ");
        [text(&row["update"]), format!("{kind} since {}{retry}", text(&row["since"]))]
    };
    output::rows(&rows, cells, |row| cells(row).join("  "))?;
    if rows.is_empty() {
        output::line("nothing waits")?;
    }
    super::and_more(more)
}
