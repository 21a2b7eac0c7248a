//! `why`: the story behind a record's fields.

use crate::cli::args::{Options, WhyArgs};
use crate::cli::{Failure, Host, output, stores};
use crate::views::{find, why};

/// Runs `why`.
pub async fn run(args: &WhyArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let store = stores::open(options, host).await?;
    let record = find::record(store.as_ref(), &args.record.entity_type, &args.record.id).await?;
    let owed = find::owed(store.as_ref(), &record).await?;
    let fields = why::fields(&record, args.field.as_deref())?;
    if options.json {
        return output::json(&why::rows(&record, &fields, &owed));
    }
    for sentence in why::sentences(&record, &fields, &owed) {
        output::line(sentence)?;
    }
    Ok(())
}
