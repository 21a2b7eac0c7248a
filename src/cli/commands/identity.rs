//! `merge`, `split` and `erase`: which records are one thing, which are two, and which are to be forgotten.

use serde_json::{Value, json};

use crate::cli::args::{EraseArgs, MergeArgs, Options, SayArgs, SplitArgs};
use crate::cli::client::Client;
use crate::cli::source::{escaped, login_name};
use crate::cli::{Failure, output};

/// Runs `merge`.
pub async fn merge(args: &MergeArgs, options: &Options) -> Result<(), Failure> {
    act("merge", &args.entity_type, &args.winner, json!({ "loser": args.loser }), &args.say, options).await
}

/// Runs `split`.
pub async fn split(args: &SplitArgs, options: &Options) -> Result<(), Failure> {
    act("split", &args.entity_type, &args.id, json!({ "links": args.links }), &args.say, options).await
}

/// Runs `erase`.
pub async fn erase(args: &EraseArgs, options: &Options) -> Result<(), Failure> {
    act("erase", &args.entity_type, &args.id, json!({}), &args.say, options).await
}

async fn act(what: &str, entity_type: &str, id: &str, mut request: Value, say: &SayArgs, options: &Options) -> Result<(), Failure> {
    request["by"] = json!(login_name(say.by.as_deref(), options));
    request["reason"] = json!(say.reason);
    request["dry_run"] = json!(say.dry_run);
    let path = format!("/v1/entities/{}/{}/{what}", escaped(entity_type), escaped(id));
    let answer = Client::new(options)?.post(&path, &request).await?;
    if options.json {
        return output::json(&answer);
    }
    if say.dry_run {
        output::line("nothing was changed; it would come to this:")?;
    }
    for row in answer["decisions"].as_array().map(Vec::as_slice).unwrap_or_default() {
        output::line(sentence(row))?;
    }
    Ok(())
}

/// What became of one record.
fn sentence(row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or("?").to_owned();
    let words = |field: &str| -> Vec<&str> { row[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let changed = match words("changed").as_slice() {
        [] => "no field changes".to_owned(),
        fields => format!("changed: {}", fields.join(", ")),
    };
    let told = match words("notified").as_slice() {
        [] => "nobody is told".to_owned(),
        systems => format!("told: {}", systems.join(", ")),
    };
    format!("{} {} version {}: {} ({changed}; {told})", text("entity_type"), text("canonical_id"), row["version_after"], text("reason"))
}
