//! `snapshot`: hands in a full export, as far as it is news.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::{Map, Value, json};

use super::send::{Stream, Way, envelope, reader};
use crate::cli::args::{OpArg, Options, SnapshotArgs};
use crate::cli::client::Client;
use crate::cli::source::escaped;
use crate::cli::{Failure, Host, output};
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::value::same_held;

/// Records asked for at once.
const PAGE: usize = 1000;

/// Runs `snapshot`. What the system is known to hold already is not handed in. Records that are not in the export are handed
/// in as deletes; too many of them at once wait for a person (`delete_brake`).
pub async fn run(args: &SnapshotArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let (system, entity_type) = (SystemName::new(&args.system)?, EntityType::new(&args.entity_type)?);
    let mut held = held(&Client::new(options)?, &system, &entity_type).await?;
    let (way, id_field) = Way::of(&system, options, host).await?;
    let mut stream = if args.dry_run { Stream::counting(way) } else { Stream::new(way) };
    let mut known = 0_u64;
    for (at, line) in (1_u64..).zip(reader(&args.file)?.lines()) {
        let line = line.map_err(|error| Failure::file("read", &args.file, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let message = envelope(&line, &system, &entity_type, OpArg::Upsert, &id_field).map_err(|why| stops(at, &why, stream.sent()))?;
        let native_id = message["native_id"].as_str().map_or_else(|| message["native_id"].to_string(), str::to_owned);
        if held.remove(&native_id).is_some_and(|held| is_as_held(&message["entity"], &held, &id_field)) {
            known += 1;
            continue;
        }
        stream.add(format!("line {at}"), &message).await?;
    }
    let absent = held.len();
    for native_id in held.keys() {
        let id = uuid::Uuid::now_v7().to_string();
        let gone = json!({ "id": id, "system": system, "type": entity_type, "op": "delete", "native_id": native_id });
        stream.add(format!("the delete of {native_id}"), &gone).await?;
    }
    let (sent, refused) = stream.end().await?;
    if options.json {
        let told = json!({ "sent": sent, "refused": refused, "as_known": known, "absent": absent, "dry_run": args.dry_run });
        output::json(&told)?;
    } else {
        let were = if args.dry_run { "would be" } else { "were" };
        output::line(format!("{sent} differ and {were} handed in, {refused} refused, {known} are as known"))?;
        if absent > 0 {
            output::line(format!("{absent} of them as deleted: {system} is known to hold them, and they are not in the export"))?;
        }
    }
    if refused > 0 { Err(Failure::absent("see above for what was refused")) } else { Ok(()) }
}

/// What is not read might be the very record that would be missed.
fn stops(line: u64, why: &str, sent: u64) -> Failure {
    let how_far = format!("{sent} records before it were handed in, and nothing was deleted");
    Failure::usage(format!("line {line}: {why}; {how_far}. Mend the line, and run it again with the whole export."))
}

/// What the system is known to hold, by native id.
async fn held(client: &Client, system: &SystemName, entity_type: &EntityType) -> Result<BTreeMap<String, Map<String, Value>>, Failure> {
    let (mut held, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/systems/{system}/held/{entity_type}?limit={PAGE}{cursor}");
        let mut page = client.get(&path).await?;
        for row in page["items"].as_array_mut().into_iter().flatten() {
            if let (Some(id), Value::Object(entity)) = (row["native_id"].as_str().map(str::to_owned), row["entity"].take()) {
                held.insert(id, entity);
            }
        }
        let Some(next) = page["next"].as_str() else { return Ok(held) };
        cursor = format!("&cursor={}", escaped(next));
    }
}

/// Whether an exported record says nothing that is not known. Null and absent mean the same.
fn is_as_held(exported: &Value, held: &Map<String, Value>, id_field: &str) -> bool {
    let Some(exported) = exported.as_object() else { return false };
    let fields = exported.keys().chain(held.keys()).filter(|name| *name != id_field);
    fields.into_iter().all(|name| same_held(exported.get(name), held.get(name)))
}
