//! `entity`: one canonical record.

use serde_json::Value;

use crate::cli::args::{Options, RecordArgs};
use crate::cli::source::{Source, escaped};
use crate::cli::{Failure, Host, output};
use crate::domain::handler::shown;
use crate::domain::value::Leaves;
use crate::views::find;
use crate::views::rows::CanonicalRow;

/// Runs `entity`.
pub async fn run(args: &RecordArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let row = match Source::of(options, host).await? {
        Source::Running(client) => client.get(&path(args, "")).await?,
        Source::Store(store) => {
            let record = find::record(store.as_ref(), &args.entity_type, &args.id).await?;
            let owed = find::owed(store.as_ref(), &record).await?.at(host.clock.now());
            serde_json::to_value(CanonicalRow::new(&record, &owed)).map_err(Failure::internal)?
        }
    };
    if options.json {
        return output::json(&row);
    }
    show(&row)
}

/// Where a record, or something about it, is served.
pub fn path(args: &RecordArgs, rest: &str) -> String {
    format!("/v1/entities/{}/{}{rest}", escaped(&args.entity_type), escaped(&args.id))
}

fn show(row: &Value) -> Result<(), Failure> {
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    output::line(format!("{} {}, version {}", text("type"), text("id"), row["version"]))?;
    output::line(format!("made {}, changed {}", text("created_at"), text("updated_at")))?;
    output::line("")?;
    let data: Leaves = serde_json::from_value(row["data"].clone()).map_err(Failure::internal)?;
    for (path, value) in data.iter() {
        let source = &row["provenance"][path.as_str()];
        let from = source["system"].as_str().map(|system| format!("   ({system}, version {})", source["version"]));
        output::line(format!("  {path} = {}{}", shown(value), from.unwrap_or_default()))?;
    }
    output::line("")?;
    for link in row["links"].as_array().into_iter().flatten() {
        output::line(format!("  {}", side(link)))?;
    }
    Ok(())
}

/// One system's side, in a line.
fn side(link: &Value) -> String {
    let text = |field: &str| link[field].as_str().unwrap_or_default().to_owned();
    let (system, sending) = (text("system"), sending(&link["rev"], &text("delivery")));
    let Some(native_id) = link["native_id"].as_str() else { return format!("{system} does not have it yet: {sending}") };
    let differs: Vec<&str> = link["diverges"].as_object().into_iter().flatten().map(|(field, _)| field.as_str()).collect();
    let differs =
        if differs.is_empty() { String::new() } else { format!("; there it still differs in {}", crate::domain::explain::list(differs)) };
    format!("{system} {native_id}: {sending}{differs}")
}

fn sending(rev: &Value, delivery: &str) -> String {
    match delivery {
        "idle" => "nothing was ever sent there".to_owned(),
        "sent" => format!("rev {rev} was sent, not confirmed yet"),
        "timed_out" => format!("rev {rev} was sent and is not answered; the time for that is over"),
        "pending" => format!("rev {rev} is still to be sent"),
        "failing" => format!("rev {rev} could not be delivered yet and is tried again"),
        other => format!("rev {rev} {other}"),
    }
}
