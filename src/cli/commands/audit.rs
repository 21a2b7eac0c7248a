//! `audit`: who did what.

use serde_json::Value;

use crate::cli::args::{ListArgs, Options};
use crate::cli::client::Client;
use crate::cli::{Failure, output};

/// Runs `audit`.
pub async fn run(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    let (rows, more) = Client::new(options)?.list("/v1/audit", args.limit.max(1)).await?;
    if options.json {
        return output::json(&rows);
    }
    let cells = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        let role = row["role"].as_str().map(|role| format!(" ({role})")).unwrap_or_default();
        let change = match (&row["before"], &row["after"]) {
            (before, after) if before.is_null() && after.is_null() => String::new(),
            (before, after) => format!(": {before} → {after}"),
        };
        [text("at"), format!("{}{role}", text("by")), format!("{} {}{change}", text("act"), text("on"))]
    };
    output::rows(&rows, cells, |row| cells(row).join("  "))?;
    if rows.is_empty() {
        output::line("nobody has done anything")?;
    }
    super::and_more(more)
}
