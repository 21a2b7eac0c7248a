//! `brakes`: what is kept back until a person lets it go.

use serde_json::{Value, json};

use crate::cli::args::{BrakesArgs, Options};
use crate::cli::client::Client;
use crate::cli::source::escaped;
use crate::cli::{Failure, output};

/// Runs `brakes`.
pub async fn run(args: &BrakesArgs, options: &Options) -> Result<(), Failure> {
    let client = Client::new(options)?;
    if let Some(id) = &args.release {
        let answer = client.post(&format!("/v1/brakes/{}/release", escaped(id)), &json!({})).await?;
        return match options.json {
            true => output::json(&answer),
            false => output::line(format!("{id} is released: {}", counts(&answer["released"]))),
        };
    }
    let answer = client.get("/v1/brakes").await?;
    if options.json {
        return output::json(&answer["items"]);
    }
    let rows = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
        output::line(format!("{}  since {}  {}", text("id"), text("since"), counts(&row["waiting"])))?;
    }
    if rows.is_empty() {
        output::line("nothing is kept back")?;
    }
    Ok(())
}

fn counts(counts: &Value) -> String {
    let number = |field: &str| counts[field].as_u64().unwrap_or(0);
    format!("{} creates and {} updates to send", number("creates"), number("updates"))
}
