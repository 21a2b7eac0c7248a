//! `decisions`: the log, newest first.

use serde_json::Value;

use crate::cli::args::{DecisionsArgs, Options};
use crate::cli::client::Client;
use crate::cli::source::{Source, escaped, read};
use crate::cli::{Failure, Host, output};
use crate::domain::decision::Decision;
use crate::ports::store::Store;
use crate::views::find::{self, Wanted};

const PAGE: usize = 500;

/// Runs `decisions`.
pub async fn run(args: &DecisionsArgs, options: &Options, host: &Host) -> Result<(), Failure> {
    if args.follow {
        return follow(args, options).await;
    }
    let rows = rows(args, &Source::of(options, host).await?).await?;
    if options.json {
        return output::json(&rows);
    }
    output::rows(&rows, cells, line)?;
    if rows.is_empty() {
        output::line("no decisions")?;
    }
    Ok(())
}

/// The rows that are asked for, newest first.
pub async fn rows(args: &DecisionsArgs, source: &Source) -> Result<Vec<Decision>, Failure> {
    let mut rows = Vec::new();
    each(args, source, |row| rows.push(row)).await?;
    Ok(rows)
}

/// The same, one by one.
pub async fn each(args: &DecisionsArgs, source: &Source, row: impl FnMut(Decision)) -> Result<(), Failure> {
    match source {
        Source::Running(client) => asked(args, client, row).await,
        Source::Store(store) => looked_up(args, store.as_ref(), row).await,
    }
}

/// The newest, then each as it is made.
async fn follow(args: &DecisionsArgs, options: &Options) -> Result<(), Failure> {
    let client = Client::new(options)?;
    let tell = |row: Value| {
        if options.json { output::line(row.to_string()) } else { output::line(line(&read(row)?)) }
    };
    let path = format!("/v1/events?limit={}{}", args.limit.clamp(1, PAGE), query(args));
    client
        .listen(&path, |name, mut data| match (name, data["items"].as_array_mut()) {
            ("snapshot", Some(rows)) => rows.drain(..).rev().try_for_each(tell),
            ("decision", _) => tell(data),
            // A later version may tell more.
            _ => Ok(()),
        })
        .await?;
    Err(Failure::unreachable("the orchestrator has stopped telling; ask again once it runs"))
}

fn query(args: &DecisionsArgs) -> String {
    let filters = [
        ("entity", &args.entity),
        ("system", &args.system),
        ("type", &args.entity_type),
        ("decision", &args.decision),
        ("since", &args.since),
        ("until", &args.until),
        ("reason", &args.reason),
    ];
    filters.iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(value.as_deref()?)))).collect()
}

async fn asked(args: &DecisionsArgs, client: &Client, mut each: impl FnMut(Decision)) -> Result<(), Failure> {
    let query = query(args);
    let (mut cursor, mut left) = (String::new(), args.limit);
    while left > 0 {
        let limit = PAGE.min(left);
        let mut page = client.get(&format!("/v1/decisions?limit={limit}{query}{cursor}")).await?;
        let rows: Vec<Decision> = read(page["items"].take())?;
        left -= rows.len().min(left);
        rows.into_iter().for_each(&mut each);
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", escaped(next));
    }
    Ok(())
}

async fn looked_up(args: &DecisionsArgs, store: &dyn Store, mut each: impl FnMut(Decision)) -> Result<(), Failure> {
    let wanted = Wanted {
        entity: args.entity.as_deref(),
        system: args.system.as_deref(),
        entity_type: args.entity_type.as_deref(),
        decision: args.decision.as_deref(),
        since: args.since.as_deref(),
        until: args.until.as_deref(),
        reason: args.reason.as_deref(),
    };
    let filter = find::filter(store, &wanted).await?;
    let (mut after, mut left) = (None, args.limit);
    while left > 0 {
        let page = store.decisions(&filter, after.as_ref(), PAGE.min(left)).await?;
        left -= page.items.len().min(left);
        page.items.into_iter().for_each(&mut each);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

/// One decision as columns.
pub fn cells(row: &Decision) -> [String; 4] {
    let native = row.native_id.as_ref().map_or("?", |id| id.as_str());
    let about = format!("{} {}:{native}", row.entity_type, row.source_system);
    [row.timestamp.to_string(), row.decision.as_str().replace('_', " "), about, format!("{}  [{}]", row.reason, row.update)]
}

/// One decision on one line.
pub fn line(row: &Decision) -> String {
    let native = row.native_id.as_ref().map_or("?", |id| id.as_str());
    let kind = row.decision.as_str().replace('_', " ");
    // Its last zeros are left out.
    let time = row.timestamp.to_string();
    format!("{time:<27}  {:<18} {} {}:{native}  {}  [{}]", kind, row.entity_type, row.source_system, row.reason, row.update)
}
