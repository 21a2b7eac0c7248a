//! `send`: hands in native records.

use std::io::{BufRead, BufReader, IsTerminal, Read};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use crate::cli::args::{Options, SendArgs};
use crate::cli::client::Client;
use crate::cli::{Failure, output, stores};
use crate::domain::ids::{EntityType, SystemName};

/// Records of one request.
const GROUP: usize = 500;

/// Runs `send`: one JSON record a line, in the system's own form.
pub async fn run(args: &SendArgs, options: &Options) -> Result<(), Failure> {
    let (system, entity_type) = (SystemName::new(&args.system)?, EntityType::new(&args.entity_type)?);
    let client = Client::new(options)?;
    let config = stores::config(options)?;
    let id_field = config.systems.get(&system).map_or_else(|| "id".to_owned(), |system| system.id_field.clone());
    let progress = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let (mut group, mut lines, mut refused) = (String::new(), Vec::new(), 0_u64);
    let mut sent = 0_u64;
    for (at, line) in (1_u64..).zip(reader(args)?.lines()) {
        let line = line.map_err(|error| Failure::file("read", &args.file, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let envelope =
            envelope(&line, &system, &entity_type, args, &id_field).map_err(|text| Failure::usage(format!("line {at}: {text}")))?;
        group.push_str(&envelope.to_string());
        group.push('\n');
        lines.push(at);
        if lines.len() == GROUP {
            refused += hand_in(&client, &mut group, &mut lines, &mut sent).await?;
            progress.set_position(sent);
        }
    }
    refused += hand_in(&client, &mut group, &mut lines, &mut sent).await?;
    progress.finish_and_clear();
    output::line(format!("{sent} handed in, {refused} refused"))?;
    if refused > 0 { Err(Failure::absent("see above for what was refused")) } else { Ok(()) }
}

fn reader(args: &SendArgs) -> Result<BufReader<Box<dyn Read>>, Failure> {
    let source: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(&args.file).map_err(|error| Failure::file("read", &args.file, &error))?)
    };
    Ok(BufReader::new(source))
}

fn envelope(line: &str, system: &SystemName, entity_type: &EntityType, args: &SendArgs, id_field: &str) -> Result<Value, String> {
    let mut entity: Map<String, Value> = serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let native_id = entity.remove(id_field).filter(|id| !id.is_null()).ok_or_else(|| format!("the record has no {id_field:?}"))?;
    let op = args.op.as_str();
    let mut envelope = json!({
        "id": uuid::Uuid::now_v7().to_string(), "system": system, "type": entity_type, "op": op, "native_id": native_id,
    });
    if op != "delete" {
        envelope["entity"] = Value::Object(entity);
    }
    Ok(envelope)
}

/// Sends a group; returns how many were refused.
async fn hand_in(client: &Client, group: &mut String, lines: &mut Vec<u64>, sent: &mut u64) -> Result<u64, Failure> {
    if lines.is_empty() {
        return Ok(0);
    }
    let answers = client.stream("/v1/updates", std::mem::take(group)).await?;
    let mut refused = 0;
    for (answer, line) in answers.iter().zip(lines.drain(..)) {
        if answer["status"] == "queued" {
            *sent += 1;
        } else {
            refused += 1;
            output::complain(&format!("line {line}: {}", answer["problem"]["detail"].as_str().unwrap_or("refused")));
        }
    }
    Ok(refused)
}
