//! `receive`: what waits for a system.

use serde_json::{Value, json};

use crate::cli::args::{Options, ReceiveArgs};
use crate::cli::client::Client;
use crate::cli::{Failure, output};
use crate::domain::ids::SystemName;

/// Runs `receive`. Without `--ack` the messages stay where they are.
pub async fn run(args: &ReceiveArgs, options: &Options) -> Result<(), Failure> {
    let system = SystemName::new(&args.system)?;
    let client = Client::new(options)?;
    // A lease of a millisecond only looks.
    let request = match args.ack {
        true => json!({ "max": args.max, "ack": "auto" }),
        false => json!({ "max": args.max, "lease_ms": 1 }),
    };
    let answer = client.post(&format!("/v1/systems/{system}/lease"), &request).await?;
    if options.json {
        return output::json(&answer["updates"]);
    }
    let updates = answer["updates"].as_array().map(Vec::as_slice).unwrap_or_default();
    for update in updates {
        output::line(line(update))?;
    }
    if updates.is_empty() {
        output::line(format!("nothing waits for {system}"))?;
    }
    Ok(())
}

fn line(update: &Value) -> String {
    let text = |field: &str| update[field].as_str().unwrap_or("?").to_owned();
    let id = update["native_id"].as_str().unwrap_or("(a new record)");
    format!("{:<6} {} {id}  rev {}  {}", text("op"), text("type"), update["rev"], update["entity"])
}
