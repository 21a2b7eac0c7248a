//! `decisions`: the log, newest first.

use crate::cli::args::{DecisionsArgs, Options};
use crate::cli::{Failure, Host, output, stores};
use crate::domain::decision::Decision;
use crate::views::find::{self, Wanted};

const PAGE: usize = 500;

/// Runs `decisions`.
pub async fn run(args: &DecisionsArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host).await?;
    let wanted = Wanted {
        entity: args.entity.as_deref(),
        system: args.system.as_deref(),
        entity_type: args.entity_type.as_deref(),
        decision: args.decision.as_deref(),
        since: args.since.as_deref(),
        until: args.until.as_deref(),
        reason: args.reason.as_deref(),
    };
    let filter = find::filter(store.as_ref(), &wanted).await?;
    let (mut after, mut rows) = (None, Vec::new());
    while rows.len() < args.limit {
        let page = store.decisions(&filter, after.as_ref(), PAGE.min(args.limit - rows.len())).await?;
        rows.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if options.json {
        return output::json(&rows);
    }
    for row in &rows {
        output::line(line(row))?;
    }
    if rows.is_empty() {
        output::line("no decisions")?;
    }
    Ok(())
}

/// One decision on one line.
pub fn line(row: &Decision) -> String {
    let native = row.native_id.as_ref().map_or("?", |id| id.as_str());
    let kind = row.decision.as_str().replace('_', " ");
    format!("{}  {:<18} {} {}:{native}  {}  [{}]", row.timestamp, kind, row.entity_type, row.source_system, row.reason, row.update)
}
