//! `decisions`: the log, newest first.

use crate::cli::args::{DecisionsArgs, Options};
use crate::cli::{Failure, Host, output, stores};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::store::{DecisionFilter, Store};

const PAGE: usize = 500;

/// Runs `decisions`.
pub async fn run(args: &DecisionsArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    let mut filter = filter(args)?;
    let store = stores::open(options, host)?;
    filter.record = record(args, store.as_ref()).await?;
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

fn filter(args: &DecisionsArgs) -> Result<DecisionFilter, Failure> {
    let time = |text: &Option<String>| text.as_deref().map(Timestamp::parse).transpose().map_err(Failure::usage);
    Ok(DecisionFilter {
        record: None,
        system: args.system.as_deref().map(SystemName::new).transpose()?,
        entity_type: args.entity_type.as_deref().map(EntityType::new).transpose()?,
        decision: args.decision.as_deref().map(kind).transpose()?,
        since: time(&args.since)?,
        until: time(&args.until)?,
        reason: args.reason.clone(),
    })
}

fn kind(text: &str) -> Result<DecisionKind, Failure> {
    let known = DecisionKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let all: Vec<&str> = DecisionKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Failure::usage(format!("there is no decision {text:?}; there are {}", all.join(", ")))
    })
}

async fn record(args: &DecisionsArgs, store: &dyn Store) -> Result<Option<CanonicalId>, Failure> {
    Ok(match (&args.entity, &args.entity_type) {
        (None, _) => None,
        (Some(id), Some(entity_type)) => Some(stores::record(store, entity_type, id).await?.id),
        (Some(id), None) => Some(
            CanonicalId::parse(id).map_err(|_| Failure::usage("an --entity system:native_id needs --type too: ids count within a type"))?,
        ),
    })
}
