//! `parked`: updates that wait, and for what.

use serde_json::Value;

use crate::cli::args::{ListArgs, Options};
use crate::cli::client::Client;
use crate::cli::{Failure, output};

/// Runs `parked`.
pub async fn run(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    let answer = Client::new(options)?.get(&format!("/v1/parked?limit={}", args.limit.clamp(1, 1000))).await?;
    if options.json {
        return output::json(&answer["items"]);
    }
    let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let retry = row["retry_at"].as_str().map(|at| format!(", again at {at}")).unwrap_or_default();
        output::line(format!(
            "{}  {} since {}{retry}",
            text(&row["update"]),
            text(&row["waiting_for"]["kind"]).replace('_', " "),
            text(&row["since"])
        ))?;
    }
    if rows.is_empty() {
        output::line("nothing waits")?;
    }
    Ok(())
}
