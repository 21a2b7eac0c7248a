//! `why`: the story behind a record's fields.

use super::entity::path;
use crate::cli::args::{Options, WhyArgs};
use crate::cli::source::{Source, escaped};
use crate::cli::{Failure, Host, output};
use crate::views::{find, why};

/// Runs `why`.
pub async fn run(args: &WhyArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let rows = match Source::of(options, host).await? {
        Source::Running(client) => {
            let field = args.field.as_ref().map(|field| format!("?field={}", escaped(field)));
            client.get(&path(&args.record, &format!("/why{}", field.unwrap_or_default()))).await?
        }
        Source::Store(store) => {
            let record = find::record(store.as_ref(), &args.record.entity_type, &args.record.id).await?;
            let owed = find::owed(store.as_ref(), &record).await?.at(host.clock.now());
            why::rows(&record, &why::fields(&record, args.field.as_deref())?, &owed)
        }
    };
    if options.json {
        return output::json(&rows);
    }
    rows["fields"].as_array().into_iter().flatten().try_for_each(|row| output::line(row["text"].as_str().unwrap_or_default()))
}
