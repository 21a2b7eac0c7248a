//! `history`: every decision about one record, oldest first.

use super::decisions::{cells, line};
use super::entity::path;
use crate::cli::args::{Options, RecordArgs};
use crate::cli::source::{Source, read};
use crate::cli::{Failure, Host, output};
use crate::domain::decision::Decision;
use crate::views::find;

/// Runs `history`.
pub async fn run(args: &RecordArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let rows: Vec<Decision> = match Source::of(options, host).await? {
        Source::Running(client) => read(client.get(&path(args, "/history")).await?["items"].take())?,
        Source::Store(store) => {
            let record = find::record(store.as_ref(), &args.entity_type, &args.id).await?;
            find::history(store.as_ref(), record.id).await?
        }
    };
    if options.json {
        return output::json(&rows);
    }
    let with_version = |row: &Decision| {
        let [at, decision, about, reason] = cells(row);
        [version(row), at, decision, about, reason]
    };
    output::rows(&rows, with_version, |row| format!("{:<10} {}", version(row), line(row)))
}

fn version(row: &Decision) -> String {
    match row.version_after == row.version_before {
        true => format!("v{}", row.version_after),
        false => format!("v{} → v{}", row.version_before, row.version_after),
    }
}
