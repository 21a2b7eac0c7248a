//! Decision rows that are old enough to go, and the marks that are left of them.
//!
//! No TTL index does this: it would take the mark with the row, and goes by the server's clock.

use mongodb::bson::{Document, doc};

use super::codec::{self, integer};
use super::error::{all_done, failed, unreadable};
use super::schema::DECISIONS;
use super::shared::Shared;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::{DecisionWrite, Expired};

pub(super) const FORGET: &str = "forget old decisions";
pub(super) const REWRITE: &str = "write decisions again";

/// Looks at the oldest rows of each kind; returns whether there may be more.
pub(super) async fn forget(shared: &Shared, expired: &Expired, limit: usize) -> Result<bool, PortError> {
    let [unchanged, echo] = [DecisionKind::Unchanged, DecisionKind::Echo].map(DecisionKind::as_str);
    let others = [DecisionKind::Unchanged, DecisionKind::Echo, DecisionKind::Deferred, DecisionKind::Parked].map(DecisionKind::as_str);
    let says_why = |kind: &str| doc! {"decision": kind, codec::NOT_APPLIED: {"$exists": true}};
    let says_nothing = |kind: &str| doc! {"decision": kind, codec::NOT_APPLIED: {"$exists": false}};
    let decided = doc! {"decision": {"$nin": others.to_vec()}};
    let sweeps = [
        (expired.unchanged, says_nothing(unchanged)),
        (expired.echo, says_nothing(echo)),
        (expired.others, doc! {"$or": [decided, says_why(unchanged), says_why(echo)]}),
    ];
    let mut more = false;
    for (before, filter) in sweeps {
        if let Some(before) = before {
            more |= spend(shared, filter, before, limit).await?;
        }
    }
    match expired.markers {
        Some(before) => Ok(drop_marks(shared, before, limit).await? || more),
        None => Ok(more),
    }
}

/// Leaves only the marks of rows.
async fn spend(shared: &Shared, mut filter: Document, before: Timestamp, limit: usize) -> Result<bool, PortError> {
    filter.insert("place", doc! {"$lt": before.as_micros()});
    let shape = doc! {"content_hash": 1, "place": 1};
    let rows = shared.find(FORGET, DECISIONS, filter).sort(doc! {"place": 1, "_id": 1}).limit(limit).project(shape).all().await?;
    let mut statements = Vec::with_capacity(rows.len());
    for row in &rows {
        let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let (update, place) = (row.get_str("_id")?, integer(row, "place")?);
            let mark = codec::spent(update, integer(row, "content_hash")?, place);
            Ok(doc! {"q": {"_id": update, "place": place}, "u": mark})
        };
        statements.push(read().map_err(|error| unreadable(FORGET, "decision", error))?);
    }
    if !statements.is_empty() {
        let command = doc! {"update": DECISIONS, "updates": statements, "writeConcern": {"w": "majority", "j": true}};
        all_done(FORGET, &shared.db.run_command(command).await.map_err(failed(FORGET))?)?;
    }
    Ok(rows.len() == limit)
}

/// Takes marks away.
async fn drop_marks(shared: &Shared, before: Timestamp, limit: usize) -> Result<bool, PortError> {
    let filter = doc! {"decided": {"$lt": before.as_micros()}};
    let marks = shared.find(FORGET, DECISIONS, filter).sort(doc! {"decided": 1}).limit(limit).project(doc! {"_id": 1}).all().await?;
    let ids: Vec<&str> = marks.iter().filter_map(|mark| mark.get_str("_id").ok()).collect();
    if !ids.is_empty() {
        let decisions = shared.db.collection::<Document>(DECISIONS);
        let gone = decisions.delete_many(doc! {"_id": {"$in": ids}, "decided": {"$exists": true}});
        gone.await.map_err(failed(FORGET))?;
    }
    Ok(marks.len() == limit)
}

/// Writes rows again in their places.
pub(super) async fn rewrite(shared: &Shared, rows: &[Decision]) -> Result<(), PortError> {
    let mut statements = Vec::with_capacity(rows.len());
    for row in rows {
        let write = DecisionWrite { decision: row.clone(), content_hash: 0, replaces: false, place: 0 };
        let written = codec::decision(&write, 0).and_then(|row| codec::as_document(&row));
        let mut document = written.map_err(|error| unreadable(REWRITE, "decision", error))?;
        // What it is found by stays.
        for name in ["_id", "place", "content_hash"] {
            document.remove(name);
        }
        let gone: Document =
            codec::OPTIONAL.into_iter().filter(|name| !document.contains_key(*name)).map(|name| (name.to_owned(), "".into())).collect();
        let mut change = doc! {"$set": document};
        if !gone.is_empty() {
            change.insert("$unset", gone);
        }
        let update = row.update.to_string();
        statements.push(doc! {"q": {"_id": update, "decision": {"$exists": true}}, "u": change});
    }
    if !statements.is_empty() {
        let command = doc! {"update": DECISIONS, "updates": statements, "writeConcern": {"w": "majority", "j": true}};
        all_done(REWRITE, &shared.db.run_command(command).await.map_err(failed(REWRITE))?)?;
    }
    Ok(())
}
