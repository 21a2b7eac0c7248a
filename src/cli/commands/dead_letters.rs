//! `dead-letters`: messages that could not be processed, and why.

use crate::cli::args::{ListArgs, Options};
use crate::cli::client::Client;
use crate::cli::{Failure, output};

/// Runs `dead-letters`.
pub async fn run(args: &ListArgs, options: &Options) -> Result<(), Failure> {
    let answer = Client::new(options)?.get(&format!("/v1/dead-letters?limit={}", args.limit.clamp(1, 1000))).await?;
    if options.json {
        return output::json(&answer["items"]);
    }
    let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        output::line(format!("{}  {}  {}  {}", text("received_at"), text("id"), text("reason"), text("detail")))?;
    }
    if rows.is_empty() {
        output::line("no dead letters")?;
    }
    Ok(())
}
