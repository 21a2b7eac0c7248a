//! `systems`: who takes part, and what is still on its way to whom.

use serde_json::Value;

use crate::cli::args::Options;
use crate::cli::client::Client;
use crate::cli::{Failure, output};

/// Runs `systems`.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let answer = Client::new(options)?.get("/v1/systems").await?;
    if options.json {
        return output::json(&answer["items"]);
    }
    let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return output::line("no system is configured, and none has been seen yet");
    }
    let number = |row: &Value, field: &str| row[field].as_u64().unwrap_or(0).to_string();
    let mut table =
        vec![["system", "health", "types", "lag", "drift", "pending", "unanswered", "failing", "queued", "answers"].map(str::to_owned)];
    for row in rows {
        let types: Vec<&str> = row["types"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let answers = match (row["receipts_seen"].as_bool(), row["base_seen"].as_bool()) {
            (Some(true), Some(true)) => "receipts and base",
            (Some(true), _) => "receipts",
            (_, Some(true)) => "base",
            _ => "none seen",
        };
        table.push([
            row["system"].as_str().unwrap_or("?").to_owned(),
            row["health"].as_str().unwrap_or("?").replace('_', " "),
            types.join(", "),
            format!("{}s", number(row, "lag")),
            number(row, "drift"),
            number(row, "pending"),
            number(row, "unanswered"),
            number(row, "failing"),
            // A broker does not tell everything.
            row["queued"].as_u64().map_or_else(|| "?".to_owned(), |queued| queued.to_string()),
            answers.to_owned(),
        ]);
    }
    output::line(output::aligned(&table))
}
