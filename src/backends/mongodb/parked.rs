//! Waiting updates: kept, woken, and judged whenever a record they wait for becomes known.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::FindOptions;

use super::codec::{self, integer};
use super::error::failed;
use super::schema::{LINKS, WAITING};
use super::shared::Shared;
use super::staging::Staged;
use super::writes::{Transaction, Trouble, Update};
use super::{commit::COMMIT, error::unreadable};
use crate::ports::error::PortError;

/// Updates one commit judges anew at most; the others are found by the sweep.
const JUDGED: i64 = 2_000;
/// Updates one sweep looks at.
const SWEPT: usize = 500;
const SWEEP: &str = "look after waiting updates";

/// Updates that wait for records, with what they wait for.
#[derive(Default)]
struct Judged(BTreeMap<String, Wants>);

struct Wants {
    links: Vec<String>,
    behind: Option<String>,
    ready: bool,
}

impl Judged {
    fn add(&mut self, document: &RawDocument) {
        let Ok(id) = document.get_str("_id") else { return };
        let links = codec::read_texts(document, "refs").map(str::to_owned).collect();
        let behind = document.get_str("behind").ok().map(str::to_owned);
        let ready = document.get_bool("ready").unwrap_or(false);
        self.0.insert(id.to_owned(), Wants { links, behind, ready });
    }

    /// The links they wait for.
    fn links(&self) -> Vec<String> {
        self.0.values().flat_map(|wants| &wants.links).collect::<HashSet<_>>().into_iter().cloned().collect()
    }

    /// The updates they queue behind.
    fn behind(&self) -> Vec<String> {
        self.0.values().filter_map(|wants| wants.behind.as_ref()).collect::<HashSet<_>>().into_iter().cloned().collect()
    }

    /// Those of which it must be noted that nothing is missing any more, and those that miss something again.
    fn verdict(&self, linked: &HashSet<String>, waiting: &HashSet<String>) -> (Vec<&String>, Vec<&String>) {
        let is_ready = |wants: &Wants| {
            wants.links.iter().all(|key| linked.contains(key)) && wants.behind.as_ref().is_none_or(|update| !waiting.contains(update))
        };
        let changed = self.0.iter().filter(|(_, wants)| is_ready(wants) != wants.ready).map(|(id, wants)| (id, !wants.ready));
        let (ready, missing): (Vec<_>, Vec<_>) = changed.partition(|(_, ready)| *ready);
        (ready.into_iter().map(|(id, _)| id).collect(), missing.into_iter().map(|(id, _)| id).collect())
    }
}

fn ids(documents: &[RawDocumentBuf]) -> HashSet<String> {
    documents.iter().filter_map(|document| document.get_str("_id").ok()).map(str::to_owned).collect()
}

fn shape() -> Document {
    doc! {"refs": 1, "behind": 1, "ready": 1, "arrival": 1}
}

/// Takes away who waits no more and keeps who does. Runs after all links of the batch are written.
pub(super) async fn apply(tx: &mut Transaction<'_>, shared: &Shared, staged: &Staged<'_>) -> Result<(), Trouble> {
    let links: Vec<&String> = staged.links.changed().collect();
    if staged.waiting.is_empty() && (links.is_empty() || !shared.waits.load(Ordering::Relaxed)) {
        return make_way(tx, staged).await;
    }
    let (mut gone, mut kept, mut judged) = (Vec::new(), Vec::new(), Judged::default());
    for (update, waiting) in &staged.waiting {
        let Some(waiting) = waiting else {
            gone.push(update.to_string());
            continue;
        };
        shared.waits.store(true, Ordering::Relaxed);
        let document = codec::waiting(waiting).map_err(|error| Trouble::Fatal(unreadable(COMMIT, "waiting update", error)))?;
        if codec::has(&document, "refs") {
            judged.add(&document);
        }
        kept.push(Update::put(doc! {"_id": update.to_string()}, document));
    }
    if !gone.is_empty() {
        tx.delete(WAITING, vec![doc! {"_id": {"$in": &gone}}]).await?;
    }
    tx.update(WAITING, kept).await?;
    // Who waits for a link that came or went, or queues behind an update that did.
    let moved: Vec<String> = staged.waiting.keys().map(ToString::to_string).collect();
    let touched = doc! {"$or": [{"refs": {"$in": links}}, {"behind": {"$in": moved}}]};
    for document in tx.find(WAITING, touched, FindOptions::builder().projection(shape()).limit(JUDGED).build()).await? {
        judged.add(&document);
    }
    judge(tx, &judged).await?;
    make_way(tx, staged).await
}

/// For whom a record makes way may go on. Somebody else may have kept the first of them a moment ago, so it is always looked.
async fn make_way(tx: &mut Transaction<'_>, staged: &Staged<'_>) -> Result<(), Trouble> {
    if staged.making_way.is_empty() {
        return Ok(());
    }
    let freed = Update::replace(doc! {"records": {"$in": &staged.making_way}}, doc! {"$set": {"ready": true}});
    tx.update_any(WAITING, vec![Update { many: true, ..freed }]).await
}

async fn judge(tx: &mut Transaction<'_>, judged: &Judged) -> Result<(), Trouble> {
    if judged.0.is_empty() {
        return Ok(());
    }
    let only_id = || doc! {"_id": 1};
    let linked = tx.find_ids(LINKS, judged.links(), only_id()).await?;
    let waiting = tx.find_ids(WAITING, judged.behind(), only_id()).await?;
    let (ready, missing) = judged.verdict(&ids(&linked), &ids(&waiting));
    let verdicts = [(ready, true), (missing, false)].into_iter().filter(|(ids, _)| !ids.is_empty());
    let set = |(ids, ready)| Update { many: true, ..Update::replace(doc! {"_id": {"$in": ids}}, doc! {"$set": {"ready": ready}}) };
    tx.update_any(WAITING, verdicts.map(set).collect()).await
}

/// Looks at the next few updates that miss something. A link that another orchestrator made while one of them was being
/// kept was not seen by either side, and neither is what a commit had no room for.
pub(super) async fn sweep(shared: &Shared) -> Result<(), PortError> {
    let after = shared.swept.load(Ordering::Relaxed);
    let filter = doc! {"ready": false, "arrival": {"$gt": after}};
    let rows = shared.find(SWEEP, WAITING, filter).project(shape()).sort(doc! {"arrival": 1}).limit(SWEPT).all().await?;
    let last = rows.last().map(|row| integer(row, "arrival")).transpose();
    let last = last.map_err(|error| unreadable(SWEEP, "waiting update", error))?;
    shared.swept.store(last.filter(|_| rows.len() == SWEPT).unwrap_or(-1), Ordering::Relaxed);
    let mut judged = Judged::default();
    rows.iter().for_each(|row| judged.add(row));
    if judged.0.is_empty() {
        return Ok(());
    }
    let only_id = || doc! {"_id": 1};
    let linked = shared.find_ids(SWEEP, LINKS, judged.links()).project(only_id()).all().await?;
    let waiting = shared.find_ids(SWEEP, WAITING, judged.behind()).project(only_id()).all().await?;
    let (ready, _) = judged.verdict(&ids(&linked), &ids(&waiting));
    if ready.is_empty() {
        return Ok(());
    }
    let filter = doc! {"_id": {"$in": ready}, "ready": false};
    let waiting = shared.db.collection::<Document>(WAITING);
    waiting.update_many(filter, doc! {"$set": {"ready": true}}).await.map(|_| ()).map_err(failed(SWEEP))
}
