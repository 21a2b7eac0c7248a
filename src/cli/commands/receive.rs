//! `receive`: what waits for a system.

use serde_json::{Value, json};

use crate::cli::args::{Options, ReceiveArgs};
use crate::cli::client::Client;
use crate::cli::{Failure, Host, output, stores};
use crate::domain::ids::SystemName;

/// Runs `receive`. Without `--ack` the messages stay where they are.
pub async fn run(args: &ReceiveArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let system = SystemName::new(&args.system)?;
    let updates = updates(&system, args, options, host).await?;
    if options.json {
        return output::json(&updates);
    }
    for update in &updates {
        output::line(line(update))?;
    }
    if updates.is_empty() {
        output::line(format!("nothing waits for {system}"))?;
    }
    Ok(())
}

/// From the message broker, where there is one; else, or with `--url`, from the orchestrator.
async fn updates(system: &SystemName, args: &ReceiveArgs, options: &Options, host: &Host) -> Result<Vec<Value>, Failure> {
    let tap = if options.url.is_none() { (host.tap)(stores::config(options)?).await? } else { None };
    if let Some(tap) = tap {
        let bodies = tap.take(system, args.max, !args.ack).await?;
        return bodies.iter().map(|body| serde_json::from_slice(body).map_err(Failure::internal)).collect();
    }
    let client = Client::new(options)?;
    // A lease of a millisecond only looks.
    let request = match args.ack {
        true => json!({ "max": args.max, "ack": "auto" }),
        false => json!({ "max": args.max, "lease_ms": 1 }),
    };
    let answer = client.post(&format!("/v1/systems/{system}/lease"), &request).await?;
    Ok(answer["updates"].as_array().cloned().unwrap_or_default())
}

fn line(update: &Value) -> String {
    let text = |field: &str| update[field].as_str().unwrap_or("?").to_owned();
    let id = update["native_id"].as_str().unwrap_or("(a new record)");
    format!("{:<6} {} {id}  rev {}  {}", text("op"), text("type"), update["rev"], update["entity"])
}
