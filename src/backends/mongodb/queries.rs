//! Lists: decisions, records, waiting updates, dead letters, facts.

use std::collections::BTreeMap;

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};

use super::codec::{self, integer, signed, text};
use super::error::{failed, unreadable};
use super::letters::Stored;
use super::schema::{CANONICAL, DEAD_LETTERS, DECISIONS, META, SYSTEMS, WAITING};
use super::shared::Shared;
use super::spans::{Axis, Spans};
use super::{lookup, parked};
use crate::domain::decision::Decision;
use crate::domain::ids::{CanonicalId, EntityType, UpdateId};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{Cursor, DeadLetter, DecisionFilter, Page, PageBytes, SystemFacts, Versioned, words_of};

const DECISION: &str = "read a decision";
const DECISIONS_LISTED: &str = "list decisions";
const RECORDS: &str = "list records";
const WAITING_LISTED: &str = "list waiting updates";
const DEAD: &str = "list dead letters";
const FACTS: &str = "read facts";
const COUNTED: &str = "count what waits";

/// Rows a search for words looks through at most: some ten milliseconds.
const LOOKED_THROUGH: usize = 400;
/// Rows of such a search that are fetched together.
const LOOKED_AT_ONCE: usize = 200;

/// A place in a list. Two orchestrators may give out the same number; then the ids decide.
struct Place {
    number: i64,
    id: String,
}

impl Place {
    fn read(after: Option<&Cursor>, operation: &'static str) -> Result<Option<Self>, PortError> {
        let invalid = || PortError::new(PortErrorKind::Invalid, operation, "the cursor is not one of this list");
        let parse = |cursor: &Cursor| {
            let (number, id) = cursor.0.split_once(':')?;
            Some(Self { number: number.parse().ok()?, id: id.to_owned() })
        };
        after.map(|cursor| parse(cursor).ok_or_else(invalid)).transpose()
    }

    fn of(operation: &'static str, row: &RawDocument) -> Result<Self, PortError> {
        let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            Ok(Self { number: integer(row, "place")?, id: row.get_str("_id")?.to_owned() })
        };
        read().map_err(|error| unreadable(operation, "place", error))
    }

    fn cursor(&self) -> Cursor {
        Cursor(format!("{}:{}", self.number, self.id))
    }

    fn key(&self) -> (i64, &str) {
        (self.number, &self.id)
    }
}

/// Collects a page; asks for one item more than it keeps.
struct Pager<T> {
    items: Vec<T>,
    last: Option<Place>,
    more: bool,
    limit: usize,
}

impl<T> Pager<T> {
    const fn new(limit: usize) -> Self {
        Self { items: Vec::new(), last: None, more: false, limit }
    }

    /// Adds an item; false once nothing more is wanted.
    fn add(&mut self, place: Place, item: T) -> bool {
        if self.items.len() == self.limit {
            self.more = true;
            return false;
        }
        self.items.push(item);
        self.last = Some(place);
        true
    }

    /// What comes next belongs to the next page.
    const fn ends(&mut self) {
        self.limit = self.items.len();
    }

    /// Goes on after this place the next time, however few items there are.
    fn stop(&mut self, last: Place) {
        (self.last, self.more) = (Some(last), true);
    }

    fn page(self) -> Page<T> {
        Page { items: self.items, next: self.last.filter(|_| self.more).map(|place| place.cursor()) }
    }
}

/// The row of one update.
pub(super) async fn decision(shared: &Shared, update: &UpdateId) -> Result<Option<Decision>, PortError> {
    let found = shared.find(DECISION, DECISIONS, doc! {"_id": update.to_string()}).limit(1).all().await?;
    found.into_iter().next().map_or(Ok(None), |row| codec::read_decision(DECISION, &row))
}

/// Rows, newest first.
pub(super) async fn decisions(
    shared: &Shared,
    filter: &DecisionFilter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page<Decision>, PortError> {
    let after = Place::read(after, DECISIONS_LISTED)?;
    let words = filter.words();
    let mut pager = Pager::new(limit);
    let (mut looked, mut begin) = (0, None);
    let mut take = |row: &RawDocument| {
        let place = Place::of(DECISIONS_LISTED, row)?;
        if after.as_ref().is_some_and(|after| place.key() >= after.key()) {
            return Ok(true);
        }
        looked += 1;
        begin.get_or_insert(place.number);
        if !words.is_empty() && !row.get_str("reason").is_ok_and(|reason| words_of(reason).is_superset(&words)) {
            let on = looked < LOOKED_THROUGH;
            if !on {
                pager.stop(place);
            }
            return Ok(on);
        }
        let Some(decision) = codec::read_decision(DECISIONS_LISTED, row)? else { return Ok(true) };
        Ok(pager.add(place, decision))
    };
    let at_once = if words.is_empty() { limit.saturating_add(2) } else { LOOKED_AT_ONCE };
    for (low, high) in spans_of(shared, filter, after.as_ref()).await? {
        let wanted = decision_filter(filter, low, high);
        let rows = shared.find(DECISIONS_LISTED, DECISIONS, wanted).sort(doc! {"place": -1, "_id": -1});
        if !rows.batch(at_once).each(&mut take).await? {
            break;
        }
    }
    if let (Some(begin), Some(last)) = (begin.filter(|_| filter.is_all()), &pager.last) {
        shared.pages.decisions.learn(begin.saturating_sub(last.number), pager.items.len(), limit);
    }
    Ok(pager.page())
}

/// The places that may have what a filter wants, newest first, a span at a time.
async fn spans_of(shared: &Shared, filter: &DecisionFilter, after: Option<&Place>) -> Result<Spans, PortError> {
    // No row has a place before its time.
    let last = filter.since.map_or(i64::MIN, Timestamp::as_micros);
    let mut first = after.map_or(i64::MAX, |after| after.number);
    if filter.record.is_some() {
        return Ok(Spans::whole(last, first));
    }
    if let Some(until) = filter.until {
        first = first.min(until.as_micros().saturating_add(late(shared).await?));
    }
    let axis = Axis { first, dense: first.min(shared.numbers.latest()), sparse: shared.began.as_micros(), last };
    Ok(Spans::down(axis, shared.pages.decisions.get()))
}

/// How much later than its time the place of any row is at most, in microseconds.
async fn late(shared: &Shared) -> Result<i64, PortError> {
    let found = shared.find(DECISIONS_LISTED, META, doc! {"_id": "store"}).limit(1).project(doc! {"late": 1}).all().await?;
    Ok(found.first().and_then(|store| integer(store, "late").ok()).unwrap_or(i64::MAX))
}

fn decision_filter(filter: &DecisionFilter, low: i64, high: i64) -> Document {
    let mut wanted = doc! {"place": {"$gte": low, "$lte": high}};
    if let Some(record) = filter.record {
        wanted.insert("canonical_id", record.to_string());
    }
    if let Some(system) = &filter.system {
        wanted.insert("source_system", system.as_str());
    }
    if let Some(entity_type) = &filter.entity_type {
        wanted.insert("type", entity_type.as_str());
    }
    if let Some(kind) = filter.decision {
        wanted.insert("decision", kind.as_str());
    }
    let mut at = Document::new();
    if let Some(since) = filter.since {
        at.insert("$gte", since.as_micros());
    }
    if let Some(until) = filter.until {
        at.insert("$lt", until.as_micros());
    }
    if !at.is_empty() {
        wanted.insert("at", at);
    }
    wanted
}

/// Records by id.
pub(super) async fn records(
    shared: &Shared,
    entity_type: Option<&EntityType>,
    after: Option<CanonicalId>,
    limit: usize,
) -> Result<Vec<Versioned>, PortError> {
    let mut found: Vec<Versioned> = Vec::new();
    let axis = Axis {
        first: after.map_or(0, made_in),
        dense: shared.began.as_micros() / 1000,
        sparse: shared.numbers.latest() / 1000,
        last: i64::MAX,
    };
    let name = entity_type.map_or("", EntityType::as_str);
    for (low, high) in Spans::up(axis, shared.pages.records.get(name)) {
        let mut ids = doc! {"$gte": id_text(low, false)};
        if let Some(after) = after.filter(|_| low == axis.first) {
            ids = doc! {"$gt": after.to_string()};
        }
        if high < i64::MAX {
            ids.insert("$lte", id_text(high, true));
        }
        let mut filter = doc! {"_id": ids};
        if let Some(entity_type) = entity_type {
            filter.insert("type", entity_type.as_str());
        }
        let rows = shared.find(RECORDS, CANONICAL, filter).sort(doc! {"_id": 1}).limit(limit - found.len()).all().await?;
        for row in rows {
            found.push(lookup::versioned(shared, RECORDS, &row)?);
        }
        if found.len() >= limit {
            break;
        }
    }
    if let (Some(first), Some(last)) = (found.first(), found.last()) {
        let length = made_in(last.record.id).saturating_sub(made_in(first.record.id)).saturating_add(1);
        shared.pages.records.learn(name, length, found.len(), limit);
    }
    Ok(found)
}

/// How many records there are.
pub(super) async fn count_records(shared: &Shared) -> Result<u64, PortError> {
    if let Some(count) = shared.pages.counted.lately() {
        return Ok(count);
    }
    let records = shared.db.collection::<RawDocumentBuf>(CANONICAL);
    let count = records.estimated_document_count().await.map_err(failed("count records"))?;
    shared.pages.counted.note(count);
    Ok(count)
}

/// When a canonical id was made, in milliseconds: it begins with that (UUID version 7, RFC 9562).
fn made_in(id: CanonicalId) -> i64 {
    (u128::from_be_bytes(*id.as_bytes()) >> 80) as i64
}

/// The first or the last id that can be made in a millisecond.
fn id_text(made_in: i64, last: bool) -> String {
    let rest = if last { u128::MAX >> 48 } else { 0 };
    let made_in = u128::from(made_in.unsigned_abs()) << 80;
    uuid::Uuid::from_u128(made_in | rest).to_string()
}

/// Waiting updates in arrival order.
pub(super) async fn waiting(shared: &Shared, after: Option<u64>, limit: usize) -> Result<Vec<Waiting>, PortError> {
    let filter = doc! {"arrival": {"$gt": after.map_or(-1, signed)}};
    let rows = shared.find(WAITING_LISTED, WAITING, filter).sort(doc! {"arrival": 1, "_id": 1}).limit(limit).all().await?;
    rows.iter().map(|row| codec::read_waiting(WAITING_LISTED, row)).collect()
}

/// Waiting updates whose time has come, or that miss nothing any more.
pub(super) async fn waiting_due(shared: &Shared, now: Timestamp, limit: usize) -> Result<Vec<Waiting>, PortError> {
    if lookup::nobody_waits(shared).await? {
        return Ok(Vec::new());
    }
    parked::sweep(shared).await?;
    let ask = |filter| shared.find(WAITING_LISTED, WAITING, filter).sort(doc! {"arrival": 1}).limit(limit).all();
    let (timed, ready) = tokio::try_join!(ask(doc! {"due": {"$lte": now.as_micros()}}), ask(doc! {"ready": true}))?;
    let mut found = BTreeMap::new();
    for row in timed.iter().chain(&ready) {
        let waiting = codec::read_waiting(WAITING_LISTED, row)?;
        found.insert((waiting.arrival, waiting.update.clone()), waiting);
    }
    Ok(found.into_values().take(limit).collect())
}

/// The earliest time any waiting update has.
pub(super) async fn next_due(shared: &Shared) -> Result<Option<Timestamp>, PortError> {
    if lookup::nobody_waits(shared).await? {
        return Ok(None);
    }
    let timed = shared.find(WAITING_LISTED, WAITING, doc! {"due": {"$gte": i64::MIN}}).sort(doc! {"due": 1});
    let found = timed.limit(1).project(doc! {"due": 1}).all().await?;
    let read = |row: &RawDocumentBuf| integer(row, "due").map(Timestamp::from_micros);
    found.first().map(read).transpose().map_err(|error| unreadable(WAITING_LISTED, "waiting update", error))
}

/// Dead letters, oldest first.
pub(super) async fn dead_letters(shared: &Shared, after: Option<&Cursor>, limit: usize) -> Result<Page<DeadLetter>, PortError> {
    let after = Place::read(after, DEAD)?;
    let mut pager = Pager::new(limit);
    let filter = doc! {"place": {"$gte": after.as_ref().map_or(i64::MIN, |after| after.number)}};
    let mut bytes = PageBytes::default();
    let take = |row: &RawDocument| {
        let place = Place::of(DEAD, row)?;
        if after.as_ref().is_some_and(|after| place.key() <= after.key()) {
            return Ok(true);
        }
        let letter = Stored::read(DEAD, row)?;
        if !bytes.has_room(letter.bytes()) {
            pager.ends();
        }
        Ok(pager.add(place, letter))
    };
    let rows = shared.find(DEAD, DEAD_LETTERS, filter).sort(doc! {"place": 1, "_id": 1});
    rows.batch(limit.saturating_add(2)).each(take).await?;
    let Page { items, next } = pager.page();
    let mut letters = Vec::with_capacity(items.len());
    for item in items {
        letters.push(item.whole(shared, DEAD).await?);
    }
    Ok(Page { items: letters, next })
}

/// How many updates wait for what, and how many dead letters have which reason. Nothing else of them is read.
pub(super) async fn count_what_waits(shared: &Shared) -> Result<(BTreeMap<String, u64>, BTreeMap<String, u64>), PortError> {
    Ok((count_by(shared, WAITING, "waiting_for").await?, count_by(shared, DEAD_LETTERS, "reason").await?))
}

async fn count_by(shared: &Shared, collection: &'static str, field: &'static str) -> Result<BTreeMap<String, u64>, PortError> {
    let mut counts = BTreeMap::new();
    let take = |row: &RawDocument| {
        let value = row.get_str(field).map_err(|error| unreadable(COUNTED, "row", error))?;
        *counts.entry(value.to_owned()).or_default() += 1;
        Ok(true)
    };
    shared.find(COUNTED, collection, Document::new()).project(doc! {field: 1, "_id": 0}).each(take).await?;
    Ok(counts)
}

/// One dead letter.
pub(super) async fn dead_letter(shared: &Shared, id: &str) -> Result<Option<DeadLetter>, PortError> {
    let found = shared.find(DEAD, DEAD_LETTERS, doc! {"_id": id}).limit(1).all().await?;
    match found.first() {
        Some(row) => Ok(Some(Stored::read(DEAD, row)?.whole(shared, DEAD).await?)),
        None => Ok(None),
    }
}

/// Everything known about systems.
pub(super) async fn facts(shared: &Shared) -> Result<Vec<SystemFacts>, PortError> {
    let rows = shared.find(FACTS, SYSTEMS, Document::new()).sort(doc! {"_id": 1}).all().await?;
    let read = |row: &RawDocumentBuf| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
        let types = codec::read_texts(row, "types").map(EntityType::new);
        Ok(SystemFacts {
            system: text(row, "_id")?,
            types: types.collect::<Result<_, _>>()?,
            receipts_seen: row.get_bool("receipts_seen")?,
            base_seen: row.get_bool("base_seen")?,
        })
    };
    rows.iter().map(|row| read(row).map_err(|error| unreadable(FACTS, "fact", error))).collect()
}
