//! `entity`: one canonical record.

use crate::cli::args::{Options, RecordArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::domain::explain::list;
use crate::domain::handler::shown;
use crate::domain::link::Link;
use crate::views::find;
use crate::views::rows::{CanonicalRow, delivery};

/// Runs `entity`.
pub async fn run(args: &RecordArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host).await?;
    let record = find::record(store.as_ref(), &args.entity_type, &args.id).await?;
    let owed = find::owed(store.as_ref(), &record).await?;
    if options.json {
        return output::json(&CanonicalRow::new(&record, &owed));
    }
    output::line(format!("{} {}, version {}", record.entity_type, record.id, record.version))?;
    output::line(format!("made {}, changed {}", record.created_at, record.updated_at))?;
    output::line("")?;
    for (path, value) in record.data.iter() {
        let from = record.provenance.of(path).map(|source| format!("   ({}, version {})", source.system, source.version));
        output::line(format!("  {path} = {}{}", shown(value), from.unwrap_or_default()))?;
    }
    output::line("")?;
    for link in &record.links {
        output::line(format!("  {}", side(link, delivery(link, owed.get(&(record.id, link.system.clone()))))))?;
    }
    Ok(())
}

/// One system's side, in a line.
fn side(link: &Link, delivery: &str) -> String {
    let Link { system, rev, .. } = link;
    let Some(native_id) = &link.native_id else { return format!("{system} does not have it yet: {}", sending(*rev, delivery)) };
    let differs = list(link.shadow.held.differences().map(|(path, _)| path));
    let differs = if differs.is_empty() { String::new() } else { format!("; there it still differs in {differs}") };
    format!("{system} {native_id}: {}{differs}", sending(*rev, delivery))
}

fn sending(rev: u64, delivery: &str) -> String {
    match delivery {
        "idle" => "nothing was ever sent there".to_owned(),
        "sent" => format!("rev {rev} was sent, not confirmed yet"),
        "pending" => format!("rev {rev} is still to be sent"),
        "failing" => format!("rev {rev} could not be delivered yet and is tried again"),
        other => format!("rev {rev} {other}"),
    }
}
