//! `history`: every decision about one record, oldest first.

use super::decisions::line;
use crate::cli::args::{Options, RecordArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::domain::decision::Decision;
use crate::domain::ids::CanonicalId;
use crate::ports::store::{DecisionFilter, Store};

/// Runs `history`.
pub async fn run(args: &RecordArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host)?;
    let record = stores::record(store.as_ref(), &args.entity_type, &args.id).await?;
    let rows = of(store.as_ref(), record.id).await?;
    if options.json {
        return output::json(&rows);
    }
    for row in &rows {
        let version = match row.version_after == row.version_before {
            true => format!("v{}", row.version_after),
            false => format!("v{} → v{}", row.version_before, row.version_after),
        };
        output::line(format!("{version:<10} {}", line(row)))?;
    }
    Ok(())
}

/// The rows of one record, oldest first.
pub async fn of(store: &dyn Store, record: CanonicalId) -> Result<Vec<Decision>, Failure> {
    const PAGE: usize = 500;
    let filter = DecisionFilter { record: Some(record), ..DecisionFilter::default() };
    let (mut after, mut rows) = (None, Vec::new());
    loop {
        let page = store.decisions(&filter, after.as_ref(), PAGE).await?;
        rows.extend(page.items);
        after = page.next;
        if after.is_none() {
            rows.reverse();
            return Ok(rows);
        }
    }
}
