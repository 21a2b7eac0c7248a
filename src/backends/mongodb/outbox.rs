//! What each system is owed of each record.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::Ordering;

use mongodb::bson::{Document, doc};

use super::codec;
use super::commit::wait;
use super::keys;
use super::schema::{COUNTERS, OUTBOX};
use super::shared::Shared;
use super::spans::{Axis, Spans};
use super::writes::{Transaction, Trouble, Update};
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::outbox::{Next, changed};
use crate::ports::store::{Batch, OutboxChange, Owed, Published};

pub(super) const NOTE: &str = "note what was published";
const READ: &str = "read the outbox";
/// The counter of positions.
const POSITIONS: &str = "outbox";
/// Positions taken from the shared counter at a time. The rest of what was taken is lost with the process: they only grow.
const BLOCK: i64 = 1_000;
/// Tries of what meets others who write the same rows.
const TRIES: u32 = 8;

/// The rows a batch touches, as they will be.
type Rows = BTreeMap<String, (Option<i64>, Option<Owed>, Fate)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Noted,
    Due(i64),
}

/// Positions for the rows that become due.
#[derive(Debug, Default)]
pub(super) struct Positions(Range<i64>);

impl Positions {
    /// Takes as many as a batch may need.
    pub async fn reserve(shared: &Shared, batch: &Batch) -> Result<Self, PortError> {
        let changes = batch.plans.iter().filter_map(|plan| plan.record.as_ref()).map(|write| write.outbox.len() as i64).sum();
        if changes == 0 {
            return Ok(Self::default());
        }
        let mut left = shared.positions.lock().await;
        if left.end - left.start < changes {
            let count = changes.max(BLOCK);
            let last = shared.add(super::commit::COMMIT, COUNTERS, POSITIONS, count).await?;
            *left = last - count + 1..last + 1;
        }
        let taken = left.start..left.start + changes;
        left.start = taken.end;
        Ok(Self(taken))
    }

    fn next(&mut self) -> i64 {
        self.0.next().unwrap_or(i64::MAX)
    }
}

/// A change of a row, with the row's id and its record.
type Change<'b> = (String, CanonicalId, &'b OutboxChange);

/// Applies the changes of a batch. Answers are mostly to what was sent last, and are applied without a look at what is stored,
/// unless `met`: something was in the way of that.
pub(super) async fn change(tx: &mut Transaction<'_>, batch: &Batch, positions: Positions, met: bool) -> Result<(), Trouble> {
    let changes = batch.outbox().map(|(record, change)| (keys::owed(record, change.system()), record, change));
    let changes: Vec<Change<'_>> = changes.collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    changes.iter().for_each(|(id, ..)| *times.entry(id).or_default() += 1);
    let often: HashSet<String> = times.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.to_owned()).collect();
    let may_be_last = |(id, _, change): &&Change<'_>| {
        let answers = matches!(change, OutboxChange::Applied { .. } | OutboxChange::Rejected { .. });
        answers && !met && !often.contains(id)
    };
    let answered: Vec<&Change<'_>> = changes.iter().filter(may_be_last).collect();
    let none_left = drop_answered(tx, &answered).await?;
    // In their order, in which they become due again.
    let rest = changes.iter().filter(|change| !none_left || !may_be_last(change)).cloned().collect();
    read_and_change(tx, rest, positions).await
}

/// Takes away the rows of which nothing is owed any more; false if some are still there.
async fn drop_answered(tx: &mut Transaction<'_>, changes: &[&Change<'_>]) -> Result<bool, Trouble> {
    let mut gone = BTreeMap::<i64, Vec<&str>>::new();
    for (id, _, change) in changes {
        if let Some((_, rev)) = change.answered() {
            gone.entry(codec::signed(rev)).or_default().push(id);
        }
    }
    let gone = gone.into_iter().map(|(rev, ids)| doc! {"_id": {"$in": ids}, "rev": {"$lte": rev}}).collect();
    Ok(tx.delete(OUTBOX, gone).await? == changes.len() as i64)
}

async fn read_and_change(tx: &mut Transaction<'_>, changes: Vec<Change<'_>>, mut positions: Positions) -> Result<(), Trouble> {
    if changes.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = changes.iter().map(|(id, ..)| id.as_str()).collect();
    let mut rows = stored(tx, &ids).await?;
    for (id, record, change) in changes {
        let (_, row, fate) = rows.entry(id).or_insert((None, None, Fate::Same));
        match changed(row.clone(), record, change) {
            Next::Same => {}
            Next::Gone => *row = None,
            Next::Noted(owed) => (*row, *fate) = (Some(owed), if *fate == Fate::Same { Fate::Noted } else { *fate }),
            Next::Due(owed) => (*row, *fate) = (Some(owed), Fate::Due(positions.next())),
        }
    }
    write(tx, rows).await
}

async fn write(tx: &mut Transaction<'_>, rows: Rows) -> Result<(), Trouble> {
    let (mut new, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (id, (stored, row, fate)) in rows {
        match (stored, row, fate) {
            (None, None, _) | (Some(_), Some(_), Fate::Same) => {}
            (Some(_), None, _) => gone.push(id),
            (stored, Some(owed), fate) => {
                let position = match fate {
                    Fate::Due(position) => position,
                    Fate::Same | Fate::Noted => stored.unwrap_or_default(),
                };
                let document = codec::owed(&owed, position);
                match stored {
                    None => new.push(document),
                    Some(_) => kept.push(Update::replace(doc! {"_id": id}, document)),
                }
            }
        }
    }
    tx.insert(OUTBOX, new).await?;
    tx.update(OUTBOX, kept).await?;
    if gone.is_empty() {
        return Ok(());
    }
    tx.delete(OUTBOX, vec![doc! {"_id": {"$in": gone}}]).await.map(|_| ())
}

/// Notes what the broker has confirmed. Noting it twice changes nothing, so it is tried again whatever happened.
pub(super) async fn published(shared: &Shared, messages: &[Published]) -> Result<(), PortError> {
    let mut tries = 0;
    loop {
        match note(shared, messages).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Fatal(error) | Trouble::TooLarge(error)) => return Err(error),
            Err(Trouble::Again(error)) if tries == TRIES => return Err(error),
            Err(Trouble::Race) if tries == TRIES => {
                let message = "others change the same rows again and again";
                return Err(PortError::new(PortErrorKind::Unavailable, NOTE, message));
            }
            Err(Trouble::Again(_) | Trouble::Race) => tokio::time::sleep(wait(tries)).await,
        }
        tries += 1;
    }
}

async fn note(shared: &Shared, messages: &[Published]) -> Result<(), Trouble> {
    let trouble = |error| Trouble::of(NOTE, error);
    let mut session = super::presence::session(shared).await.map_err(trouble)?;
    session.start_transaction().with_options(shared.transaction()).await.map_err(trouble)?;
    let mut tx = Transaction { operation: NOTE, db: &shared.db, session: &mut session };
    match note_rows(&mut tx, messages).await {
        Ok(()) => session.commit_transaction().await.map_err(trouble),
        Err(trouble) => {
            // The server has done it already, or will.
            let _ = session.abort_transaction().await;
            Err(trouble)
        }
    }
}

/// What [`confirmed`](crate::ports::outbox::confirmed) makes of the rows, without reading them first.
async fn note_rows(tx: &mut Transaction<'_>, messages: &[Published]) -> Result<(), Trouble> {
    let (mut gone, mut noted) = (BTreeMap::<i64, Vec<String>>::new(), Vec::new());
    for message in messages {
        let (id, rev) = (keys::owed(message.record, &message.system), codec::signed(message.rev));
        let mut later = doc! {"_id": &id, "delivered": {"$lt": rev}};
        if !message.awaits_receipt {
            later.insert("rev", doc! {"$gt": rev});
            gone.entry(rev).or_default().push(id);
        }
        noted.push(Update::replace(
            later,
            doc! {"$set": {"published": rev, "delivered": rev, "answer_by": message.answer_by.map(Timestamp::as_micros)}},
        ));
    }
    // Most rows are of one kind: then there is nothing left to change.
    let gone = gone.into_iter().map(|(rev, ids)| doc! {"_id": {"$in": ids}, "rev": {"$lte": rev}}).collect();
    if tx.delete(OUTBOX, gone).await? == messages.len() as i64 {
        return Ok(());
    }
    tx.update_any(OUTBOX, noted).await
}

async fn stored(tx: &mut Transaction<'_>, ids: &[&str]) -> Result<Rows, Trouble> {
    let found = tx.find(OUTBOX, doc! {"_id": {"$in": ids}}, Document::new(), 0).await?;
    let read = |document| {
        let (position, owed) = codec::read_owed(tx.operation, &document).map_err(Trouble::Fatal)?;
        Ok((keys::owed(owed.record, &owed.system), (Some(position), Some(owed), Fate::Same)))
    };
    found.into_iter().map(read).collect()
}

/// Rows after a position.
pub(super) async fn after(shared: &Shared, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
    let given_out = shared.find(READ, COUNTERS, doc! {"_id": POSITIONS}).limit(1).all().await?;
    let given_out = given_out.first().map_or(0, |counter| codec::integer(counter, "value").unwrap_or(0));
    let first = codec::signed(after).saturating_add(1);
    let axis = Axis { first, dense: shared.pages.owed_from.load(Ordering::Relaxed), sparse: given_out, last: i64::MAX };
    let mut found = Vec::new();
    for (low, high) in Spans::up(axis, limit as i64) {
        let filter = doc! {"position": {"$gte": low, "$lte": high}};
        let rows = shared.find(READ, OUTBOX, filter).sort(doc! {"position": 1}).limit(limit - found.len()).all().await?;
        for row in rows {
            let (position, owed) = codec::read_owed(READ, &row)?;
            found.push((u64::try_from(position).unwrap_or(0), owed));
        }
        if found.len() >= limit {
            break;
        }
    }
    if after == 0 {
        let from = found.first().map_or(given_out, |(position, _)| codec::signed(*position));
        shared.pages.owed_from.store(from, Ordering::Relaxed);
    }
    Ok(found)
}

/// The rows of some pairs, in their order.
pub(super) async fn of(shared: &Shared, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = pairs.iter().map(|(record, system)| keys::owed(*record, system)).collect();
    let rows = shared.find(READ, OUTBOX, doc! {"_id": {"$in": &ids}}).limit(ids.len()).all().await?;
    let mut found = HashMap::new();
    for row in rows {
        let (_, owed) = codec::read_owed(READ, &row)?;
        found.insert(keys::owed(owed.record, &owed.system), owed);
    }
    Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
}
