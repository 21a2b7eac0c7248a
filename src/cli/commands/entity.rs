//! `entity`: one canonical record.

use crate::cli::args::{Options, RecordArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::domain::handler::shown;
use crate::views::find;
use crate::views::rows::{CanonicalRow, delivery};

/// Runs `entity`.
pub async fn run(args: &RecordArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host)?;
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
        let id = link.native_id.as_ref().map_or("(not known yet)", |id| id.as_str());
        let state = delivery(link, owed.get(&(record.id, link.system.clone())));
        let differs: Vec<_> = link.shadow.held.differences().map(|(path, _)| path.to_string()).collect();
        let differs = if differs.is_empty() { String::new() } else { format!(", differs in {}", differs.join(", ")) };
        output::line(format!("  {} {id}: rev {}, {state}{differs}", link.system, link.rev))?;
    }
    Ok(())
}
