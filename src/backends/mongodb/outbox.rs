//! What systems are owed of records: one document a record, with a row for each system, as a change is mostly owed to all
//! of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::Ordering;

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::commit::wait;
use super::schema::{COUNTERS, OWED};
use super::shared::Shared;
use super::spans::{Axis, Spans};
use super::writes::{Transaction, Trouble, Update};
use super::{codec, recall};
use crate::domain::ids::{CanonicalId, SystemName};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::outbox::{Next, changed, confirmed};
use crate::ports::store::{Batch, OutboxChange, Owed, Published};

pub(super) const NOTE: &str = "note what was published";
const READ: &str = "read the outbox";
/// The counter of places.
const PLACES: &str = "outbox";
/// Places taken from the shared counter at a time. The rest of what was taken is lost with the process: they only grow.
const BLOCK: i64 = 10_000;
/// Tries of what meets others who write the same rows.
const TRIES: u32 = 8;
/// A row's position is its document's place, and in the lower bits its number in it.
const NUMBER_BITS: u32 = 16;

/// Places for the records of which something becomes due.
#[derive(Debug)]
pub(super) struct Places<'s> {
    shared: &'s Shared,
    range: Range<i64>,
}

impl<'s> Places<'s> {
    /// As many as a batch may need.
    pub async fn reserve(shared: &'s Shared, batch: &Batch) -> Result<Self, PortError> {
        let writes = batch.plans.iter().filter_map(|plan| plan.record.as_ref());
        let changes = writes.filter(|write| !write.outbox.is_empty()).count() as i64;
        let mut places = Self::none(shared);
        if changes > 0 {
            places.take(changes, 0).await?;
        }
        Ok(places)
    }

    /// For what makes nothing due.
    const fn none(shared: &'s Shared) -> Self {
        Self { shared, range: 0..0 }
    }

    /// Takes so many places after one that is taken.
    async fn take(&mut self, count: i64, after: i64) -> Result<(), PortError> {
        let ours = |left: &mut Range<i64>| {
            let fits = left.end - left.start >= count && left.start > after;
            fits.then(|| {
                let taken = left.start..left.start + count;
                left.start = taken.end;
                taken
            })
        };
        if let Some(taken) = ours(&mut self.shared.places()) {
            self.range = taken;
            return Ok(());
        }
        // What the counter gives out is behind everything that was given out before, by whomever. Nobody waits for this answer but
        // who asks: it may take as long as a dead connection.
        let block = count.max(BLOCK);
        let last = self.shared.add(super::commit::COMMIT, COUNTERS, PLACES, block).await?;
        let first = last - block + 1;
        self.range = first..first + count;
        let mut left = self.shared.places();
        if self.range.end > left.start {
            *left = self.range.end..last + 1;
        }
        Ok(())
    }

    /// The next one after the place a document has: nothing in it may come to stand before where a scan has been.
    async fn next(&mut self, stored: Option<i64>) -> Result<i64, PortError> {
        let after = stored.unwrap_or(0);
        match self.range.next().filter(|place| *place > after) {
            Some(place) => Ok(place),
            None => {
                self.take(1, after).await?;
                Ok(self.range.next().unwrap_or(after.saturating_add(1)))
            }
        }
    }
}

/// What is owed of one record: its rows in the order in which they became due, each with its number.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where it is stored, if it is.
    place: Option<i64>,
    rows: Vec<Row>,
    fate: Fate,
}

/// A row with its number, which stays as long as the document is in its place.
pub(super) type Row = (u16, Owed);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    #[default]
    Same,
    /// Written where it is.
    Noted,
    /// Written at the end of the order, after those with lower numbers.
    Due(usize),
}

impl Rows {
    /// Changes the row of a system. `turn`: which change of all it is.
    fn change(&mut self, system: &SystemName, turn: usize, next: impl FnOnce(Option<Owed>) -> Next) {
        let at = self.rows.iter().position(|(_, row)| row.system == *system);
        let end = self.rows.last().map_or(0, |(number, _)| number.saturating_add(1));
        match next(at.map(|at| self.rows[at].1.clone())) {
            Next::Same => return,
            Next::Gone => drop(at.map(|at| self.rows.remove(at))),
            Next::Noted(owed) => match at {
                Some(at) => self.rows[at].1 = owed,
                None => self.rows.push((end, owed)),
            },
            Next::Due(owed) => {
                at.map(|at| self.rows.remove(at));
                self.rows.push((end, owed));
                self.fate = Fate::Due(turn);
                return;
            }
        }
        if self.fate == Fate::Same {
            self.fate = Fate::Noted;
        }
    }

    /// The rows as they are numbered in a new place.
    fn renumbered(&self) -> Vec<Row> {
        (0..=u16::MAX).zip(self.rows.iter().map(|(_, row)| row.clone())).collect()
    }
}

/// Documents as they were read, by record.
pub(super) type Touched = BTreeMap<CanonicalId, Rows>;

/// Documents as they are written.
pub(super) type Written = Vec<(CanonicalId, recall::Document)>;

/// What a batch does to the outbox, as it is written.
#[derive(Default)]
pub(super) struct Formed {
    new: Vec<RawDocumentBuf>,
    kept: Vec<Update>,
    gone: Vec<CanonicalId>,
    written: Written,
}

/// Reads what is stored of the records of which a batch changes what is owed. Unless it is `careful`, what is new is taken to be
/// new: if it is not, that is a race.
pub(super) async fn read(tx: &mut Transaction<'_>, shared: &Shared, batch: &Batch, careful: bool) -> Result<Touched, Trouble> {
    let all: BTreeSet<CanonicalId> = batch.outbox().map(|(record, _)| record).collect();
    let asked = if careful { all } else { may_have_rows(shared, batch, all) };
    stored(tx, asked).await
}

/// Applies the changes of a batch to what was read.
pub(super) async fn change(mut touched: Touched, batch: &Batch, places: Places<'_>) -> Result<Formed, Trouble> {
    for (turn, (record, change)) in batch.outbox().enumerate() {
        touched.entry(record).or_default().change(change.system(), turn, |row| changed(row, record, change));
    }
    form(touched, places).await
}

/// The records of which rows may be stored: those that are known, and those about which somebody answers.
fn may_have_rows(shared: &Shared, batch: &Batch, all: BTreeSet<CanonicalId>) -> BTreeSet<CanonicalId> {
    let answers = |change: &OutboxChange| match change {
        OutboxChange::Due { .. } | OutboxChange::DueAfresh { .. } | OutboxChange::DueLater { .. } => false,
        OutboxChange::Sent(_) | OutboxChange::Applied { .. } | OutboxChange::Rejected { .. } | OutboxChange::Failed { .. } => true,
    };
    let answered = batch.outbox().filter(|(_, change)| answers(change)).map(|(record, _)| record);
    let mut may = shared.recall.may_have_rows(all);
    may.extend(answered);
    may
}

async fn stored(tx: &mut Transaction<'_>, records: BTreeSet<CanonicalId>) -> Result<Touched, Trouble> {
    if records.is_empty() {
        return Ok(Touched::new());
    }
    let ids: Vec<String> = records.iter().map(ToString::to_string).collect();
    let found = tx.find_ids(OWED, ids, Document::new()).await?;
    let read = |document: RawDocumentBuf| {
        let (record, place, rows) = codec::read_owed(tx.operation, &document).map_err(Trouble::Fatal)?;
        Ok((record, Rows { place: Some(place), rows, fate: Fate::Same }))
    };
    found.into_iter().map(read).collect()
}

/// Puts documents into the form in which they are stored.
async fn form(touched: Touched, mut places: Places<'_>) -> Result<Formed, Trouble> {
    let (mut formed, stamp) = (Formed::default(), new_stamp());
    let mut touched: Vec<(CanonicalId, Rows)> = touched.into_iter().filter(|(_, rows)| rows.fate != Fate::Same).collect();
    touched.sort_by_key(|(_, rows)| rows.fate);
    let written = touched.iter().filter(|(_, rows)| !rows.rows.is_empty()).map(|(record, _)| *record);
    places.shared.recall.writes(written, stamp);
    for (record, rows) in touched {
        match (rows.place, rows.fate) {
            (None, _) if rows.rows.is_empty() => {}
            (Some(_), _) if rows.rows.is_empty() => formed.gone.push(record),
            (Some(place), Fate::Same | Fate::Noted) => {
                formed.kept.push(Update::of_id(&record.to_string(), codec::owed(record, &rows.rows, (place, stamp))));
                formed.written.push((record, recall::Document { stamp, rows: rows.rows }));
            }
            (stored, _) => {
                let place = places.next(stored).await.map_err(Trouble::Fatal)?;
                let rows = rows.renumbered();
                let document = codec::owed(record, &rows, (place, stamp));
                match stored {
                    None => formed.new.push(document),
                    Some(_) => formed.kept.push(Update::of_id(&record.to_string(), document)),
                }
                formed.written.push((record, recall::Document { stamp, rows }));
            }
        }
    }
    Ok(formed)
}

/// Writes them; returns what is stored once the transaction is committed. Whoever changes a document after this transaction has
/// read it is met here: only one of two may write.
pub(super) async fn write(tx: &mut Transaction<'_>, shared: &Shared, formed: Formed) -> Result<Written, Trouble> {
    let Formed { new, kept, gone, written } = formed;
    tx.insert(OWED, new).await?;
    tx.update(OWED, kept).await?;
    if gone.is_empty() {
        return Ok(written);
    }
    let ids: Vec<String> = gone.iter().map(ToString::to_string).collect();
    tx.delete(OWED, vec![doc! {"_id": {"$in": ids}}]).await?;
    shared.recall.gone(gone);
    Ok(written)
}

/// By which a state of a document is known from every other one of it, whoever wrote that.
pub(super) fn new_stamp() -> i64 {
    uuid::Uuid::new_v4().as_u64_pair().1.cast_signed()
}

/// Notes what the broker has confirmed. Noting it twice changes nothing, so it is tried again whatever happened.
pub(super) async fn published(shared: &Shared, messages: &[Published]) -> Result<(), PortError> {
    let messages = end_known(shared, messages).await;
    let mut tries = 0;
    while !messages.is_empty() {
        match note(shared, &messages).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Fatal(error) | Trouble::TooLarge(error) | Trouble::OneByOne(error)) => return Err(error),
            Err(Trouble::Again(error)) if tries == TRIES => return Err(error),
            Err(Trouble::Race) if tries == TRIES => {
                let message = "others change the same rows again and again";
                return Err(PortError::new(PortErrorKind::Unavailable, NOTE, message));
            }
            Err(Trouble::Again(_) | Trouble::Race) => tokio::time::sleep(wait(tries)).await,
        }
        tries += 1;
    }
    Ok(())
}

/// Takes documents away of which nothing is owed any more by these messages, as far as they are stored as they were read just
/// before; returns the messages that are still to be noted.
async fn end_known(shared: &Shared, messages: &[Published]) -> Vec<Published> {
    let mut known = shared.recall.take(messages.iter().map(|message| message.record));
    for message in messages {
        if let Some(document) = known.get_mut(&message.record) {
            let next = |row: &Owed| confirmed(row.clone(), message);
            document.rows.retain(|(_, row)| row.system != message.system || next(row) != Next::Gone);
        }
    }
    let mut ends: BTreeMap<i64, BTreeSet<CanonicalId>> = BTreeMap::new();
    for (record, document) in known.into_iter().filter(|(_, document)| document.rows.is_empty()) {
        ends.entry(document.stamp).or_default().insert(record);
    }
    let ended: BTreeSet<CanonicalId> = ends.values().flatten().copied().collect();
    if ended.is_empty() || delete_as_read(shared, &ends, ended.len() as i64).await.is_err() {
        return messages.to_vec();
    }
    shared.recall.gone(ended.iter().copied());
    messages.iter().filter(|message| !ended.contains(&message.record)).cloned().collect()
}

/// Deletes the documents that have these stamps still, if all of them have.
async fn delete_as_read(shared: &Shared, ends: &BTreeMap<i64, BTreeSet<CanonicalId>>, expected: i64) -> Result<(), Trouble> {
    let filter = |(stamp, records): (&i64, &BTreeSet<CanonicalId>)| {
        let ids: Vec<String> = records.iter().map(ToString::to_string).collect();
        doc! {"_id": {"$in": ids}, "stamp": stamp}
    };
    let filters = ends.iter().map(filter).collect();
    in_transaction(shared, async |tx| match tx.delete(OWED, filters).await? {
        deleted if deleted == expected => Ok(()),
        _ => Err(Trouble::Race),
    })
    .await
}

async fn note(shared: &Shared, messages: &[Published]) -> Result<(), Trouble> {
    in_transaction(shared, async |tx| note_rows(tx, shared, messages).await).await
}

/// Does something whole or not at all.
async fn in_transaction(shared: &Shared, work: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<(), Trouble>) -> Result<(), Trouble> {
    let trouble = |error| Trouble::of(NOTE, error);
    let mut session = super::presence::session(shared).await.map_err(trouble)?;
    session.start_transaction().with_options(shared.transaction()).await.map_err(trouble)?;
    let mut tx = Transaction::new(NOTE, &shared.db, &mut session);
    match work(&mut tx).await {
        Ok(()) => session.commit_transaction().await.map_err(trouble),
        Err(trouble) => {
            // The server has done it already, or will.
            let _ = session.abort_transaction().await;
            Err(trouble)
        }
    }
}

async fn note_rows(tx: &mut Transaction<'_>, shared: &Shared, messages: &[Published]) -> Result<(), Trouble> {
    let mut touched = stored(tx, messages.iter().map(|message| message.record).collect()).await?;
    for (turn, message) in messages.iter().enumerate() {
        let Some(rows) = touched.get_mut(&message.record) else { continue };
        rows.change(&message.system, turn, |row| row.map_or(Next::Same, |row| confirmed(row, message)));
    }
    // Nothing becomes due by this, so nothing changes its place.
    let formed = form(touched, Places::none(shared)).await?;
    write(tx, shared, formed).await.map(drop)
}

/// Rows after a position.
pub(super) async fn after(shared: &Shared, after: u64, limit: usize) -> Result<Vec<(u64, Owed)>, PortError> {
    let given_out = shared.find(READ, COUNTERS, doc! {"_id": PLACES}).limit(1).all().await?;
    let given_out = given_out.first().map_or(0, |counter| codec::integer(counter, "value").unwrap_or(0));
    let first = codec::signed(after >> NUMBER_BITS);
    let axis = Axis { first, dense: shared.pages.owed_from.load(Ordering::Relaxed), sparse: given_out, last: i64::MAX };
    let mut found = Vec::new();
    for (low, high) in Spans::up(axis, limit as i64) {
        let filter = doc! {"position": {"$gte": low, "$lte": high}};
        // One more than there is room for: the first one may have been read before.
        let wanted = (limit - found.len()).saturating_add(1);
        for document in shared.find(READ, OWED, filter).sort(doc! {"position": 1}).limit(wanted).all().await? {
            let (_, place, rows) = codec::read_owed(READ, &document)?;
            let placed = rows.into_iter().map(|(number, row)| (position(place, number), row));
            found.extend(placed.filter(|(position, _)| *position > after));
        }
        if found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    if after == 0 {
        if found.is_empty() {
            shared.recall.saw_nothing();
        }
        let from = found.first().map_or(given_out, |(position, _)| codec::signed(*position >> NUMBER_BITS));
        shared.pages.owed_from.store(from, Ordering::Relaxed);
    }
    Ok(found)
}

fn position(place: i64, number: u16) -> u64 {
    (u64::try_from(place).unwrap_or(0) << NUMBER_BITS) | u64::from(number)
}

/// The rows of some pairs, in their order.
pub(super) async fn of(shared: &Shared, pairs: &[(CanonicalId, SystemName)]) -> Result<Vec<Owed>, PortError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: BTreeSet<CanonicalId> = pairs.iter().map(|(record, _)| *record).collect();
    // Mostly it was committed here just before.
    let (mut found, mut stamped) = (shared.recall.unasked(&ids), Vec::new());
    let ids: Vec<String> = ids.iter().filter(|record| !found.contains_key(*record)).map(ToString::to_string).collect();
    for document in shared.find_ids(READ, OWED, ids).all().await? {
        let (record, _, rows) = codec::read_owed(READ, &document)?;
        // Without a stamp it is by an earlier version.
        let stamp = codec::integer(&document, "stamp").ok();
        stamped.extend(stamp.map(|stamp| (record, recall::Document { stamp, rows: rows.clone() })));
        found.insert(record, rows);
    }
    shared.recall.saw(stamped);
    let row = |(record, system): &(CanonicalId, SystemName)| {
        found.get(record)?.iter().map(|(_, row)| row).find(|row| row.system == *system).cloned()
    };
    Ok(pairs.iter().filter_map(row).collect())
}
