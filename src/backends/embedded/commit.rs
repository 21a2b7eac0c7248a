//! A batch: written down by the caller, applied by the writer.

use rusqlite::{OptionalExtension, params};

use super::codec::{Entry, Hasher, KEPT, Key, canonical, decision_body, is_rare, kind_number, marker_entry, marker_row, signed};
use super::error::{failed, unreadable};
use super::keys::Kind;
use super::outbox;
use super::parked::{self, EncodedWaiting};
use super::tasks::{self, EncodedRefers, EncodedTask};
use super::writer::Session;
use crate::domain::decision::{DecisionKind, Keeping, Logging};
use crate::domain::ids::{EntityType, SystemName};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::{Batch, DeadLetter, DecisionWrite, LetterEnd, OutboxChange, Plan, RecordWrite, SettledLetter, SystemFacts};

pub(super) const COMMIT: &str = "commit";

/// A batch with everything that needs no lock done: hashes taken, rows written as text.
pub(super) struct Encoded {
    plans: Vec<EncodedPlan>,
    /// Every row as (plan, row in it), in the order of their numbers.
    order: Vec<(usize, usize)>,
    /// The records that make way.
    making_way: Vec<Key>,
    facts: Vec<SystemFacts>,
}

struct EncodedPlan {
    record: Option<EncodedRecord>,
    checks: Vec<(Entry, i64)>,
    decisions: Vec<EncodedDecision>,
    waiting: Vec<EncodedWaiting>,
    awake: Vec<String>,
    dead: Vec<EncodedDead>,
    settled: Vec<EncodedSettled>,
    tasks: Vec<EncodedTask>,
}

struct EncodedRecord {
    id: Entry,
    entity_type: EntityType,
    expected: Option<i64>,
    /// None: it goes.
    body: Option<String>,
    deleted_at: Option<i64>,
    added: Vec<(Kind, Key)>,
    removed: Vec<(Kind, Key)>,
    opened: Vec<SystemName>,
    closed: Vec<SystemName>,
    outbox: Vec<OutboxChange>,
    refers: EncodedRefers,
}

struct EncodedDecision {
    key: Key,
    uid: String,
    content_hash: u64,
    replaces: bool,
    at: i64,
    record: Option<Entry>,
    kind: DecisionKind,
    keeping: Keeping,
    system: String,
    entity_type: EntityType,
    /// None: only the marker is kept.
    body: Option<String>,
}

struct EncodedDead {
    id: String,
    body: String,
    marks: Option<(Key, u64)>,
    /// Whether its update waited.
    woken: bool,
}

/// A dead letter that goes, and the marker it leaves or takes with it.
struct EncodedSettled {
    id: String,
    body: String,
    frees: Option<Key>,
    leaves: Option<(Key, u64)>,
}

/// Writes a batch down. Runs beside the writer, on the caller's thread.
pub(super) fn encode(hasher: &Hasher, batch: &Batch) -> Result<Encoded, PortError> {
    let plans = batch.plans.iter().map(|plan| encode_plan(hasher, plan, batch.logging)).collect::<Result<_, _>>();
    Ok(Encoded {
        order: batch.rows_in_order(),
        plans: plans.map_err(|error| unreadable(COMMIT, "row", error))?,
        making_way: batch.making_way().map(|id| hasher.record(id)).collect(),
        facts: batch.facts.clone(),
    })
}

fn encode_plan(hasher: &Hasher, plan: &Plan, logging: Logging) -> Result<EncodedPlan, serde_json::Error> {
    let dead = |letter: &DeadLetter| -> Result<EncodedDead, serde_json::Error> {
        let marks = letter.marks.as_ref().map(|(update, content_hash)| (hasher.update(update), *content_hash));
        let woken = letter.marks.as_ref().is_some_and(|(update, _)| plan.awake.contains(update));
        Ok(EncodedDead { id: letter.id.clone(), body: serde_json::to_string(letter)?, marks, woken })
    };
    Ok(EncodedPlan {
        record: plan.record.as_ref().map(|write| encode_record(hasher, write)).transpose()?,
        checks: plan.checks.iter().map(|(id, revision)| (*id.as_bytes(), signed(*revision))).collect(),
        decisions: plan.decisions.iter().map(|row| encode_decision(hasher, row, logging)).collect::<Result<_, _>>()?,
        waiting: plan.waiting.iter().map(|waiting| parked::encode(hasher, waiting)).collect::<Result<_, _>>()?,
        awake: plan.awake.iter().map(ToString::to_string).collect(),
        dead: plan.dead_letters.iter().map(dead).collect::<Result<_, _>>()?,
        settled: plan.settled.iter().map(|settled| encode_settled(hasher, settled)).collect::<Result<_, _>>()?,
        tasks: plan.tasks.iter().map(tasks::encode_task).collect::<Result<_, _>>()?,
    })
}

fn encode_settled(hasher: &Hasher, SettledLetter { letter, end }: &SettledLetter) -> Result<EncodedSettled, serde_json::Error> {
    let (frees, leaves) = match end {
        LetterEnd::Requeued(update) => (update.as_ref().map(|update| hasher.update(update)), None),
        LetterEnd::Discarded(mark) => (None, mark.as_ref().map(|(update, content_hash)| (hasher.update(update), *content_hash))),
    };
    Ok(EncodedSettled { id: letter.id.clone(), body: serde_json::to_string(letter)?, frees, leaves })
}

fn encode_record(hasher: &Hasher, write: &RecordWrite) -> Result<EncodedRecord, serde_json::Error> {
    let record = &write.record;
    let keys = |links: &[_], claims: &[_]| {
        let links = links.iter().map(|key| (Kind::Link, hasher.native(key)));
        links.chain(claims.iter().map(|claim| (Kind::Claim, hasher.claim(&record.entity_type, claim)))).collect()
    };
    Ok(EncodedRecord {
        id: *record.id.as_bytes(),
        entity_type: record.entity_type.clone(),
        expected: write.expected.map(signed),
        body: (!write.removes).then(|| serde_json::to_string(&**record)).transpose()?,
        deleted_at: record.tombstone.as_ref().map(|tombstone| tombstone.at.as_micros()),
        added: keys(&write.links_added, &write.claims_added),
        removed: keys(&write.links_removed, &write.claims_released),
        opened: write.creates_opened.clone(),
        closed: write.creates_closed.clone(),
        outbox: write.outbox.clone(),
        refers: tasks::encode_refers(write),
    })
}

fn encode_decision(hasher: &Hasher, row: &DecisionWrite, logging: Logging) -> Result<EncodedDecision, serde_json::Error> {
    let decision = &row.decision;
    Ok(EncodedDecision {
        key: hasher.update(&decision.update),
        uid: decision.update.to_string(),
        content_hash: row.content_hash,
        replaces: row.replaces,
        at: decision.timestamp.as_micros(),
        record: decision.canonical_id.map(|id| *id.as_bytes()),
        kind: decision.decision,
        keeping: decision.keeping(),
        system: decision.source_system.to_string(),
        entity_type: decision.entity_type.clone(),
        body: logging.keeps(decision).then(|| decision_body(decision)).transpose()?,
    })
}

/// A record's row and its history, while a plan is applied.
struct Head {
    id: Entry,
    n: i64,
    revision: i64,
    newest: Option<i64>,
    /// Whether there is a row.
    stored: bool,
    /// Whether `newest` is not stored yet.
    moved: bool,
}

/// Applies a batch inside the writer's transaction. On a conflict the caller's savepoint undoes what was done.
pub(super) fn apply(session: &mut Session<'_>, batch: &Encoded) -> Result<(), PortError> {
    let error = failed(COMMIT);
    // Against what was stored before this batch, since a plan of the batch itself may move a checked record on.
    let mut conflicts = Vec::new();
    for (index, plan) in batch.plans.iter().enumerate() {
        if !are_current(session, &plan.checks).map_err(error)? {
            conflicts.push(index);
        }
    }
    for write in batch.plans.iter().filter_map(|plan| plan.record.as_ref()) {
        release(session, write).map_err(error)?;
    }
    for (index, plan) in batch.plans.iter().enumerate() {
        for settled in &plan.settled {
            if !settle(session, settled).map_err(error)? && !conflicts.contains(&index) {
                conflicts.push(index);
            }
        }
    }
    let numbers = number(session, batch).map_err(error)?;
    for (index, plan) in batch.plans.iter().enumerate() {
        if !apply_plan(session, plan, &numbers[index])? && !conflicts.contains(&index) {
            conflicts.push(index);
        }
    }
    if !conflicts.is_empty() {
        conflicts.sort_unstable();
        let message = format!("{} of {} plans met data that others had changed", conflicts.len(), batch.plans.len());
        return Err(PortError::new(PortErrorKind::Conflict(conflicts), COMMIT, message));
    }
    let plans = batch.plans.iter().map(|plan| (&plan.awake[..], &plan.waiting[..]));
    parked::apply(session, plans).map_err(error)?;
    batch.making_way.iter().try_for_each(|record| parked::freed(session, *record)).map_err(error)?;
    batch.facts.iter().try_for_each(|facts| note_facts(session, facts))
}

/// Whether records are still stored with these revisions.
fn are_current(session: &mut Session<'_>, checks: &[(Entry, i64)]) -> rusqlite::Result<bool> {
    for (id, expected) in checks {
        let revision = session.sql.record_get.query_row([id], |row| row.get::<_, i64>(1)).optional()?;
        if revision != Some(*expected) || *expected == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn release(session: &mut Session<'_>, write: &EncodedRecord) -> rusqlite::Result<()> {
    for (kind, key) in &write.removed {
        if session.keys.get(*kind, *key)? == Some(write.id) {
            session.keys.change(*kind, *key, None);
            if *kind == Kind::Link {
                parked::link_changed(session, *key)?;
            }
        }
    }
    Ok(())
}

/// Applies one plan; false if it is in the way of what is stored.
fn apply_plan(session: &mut Session<'_>, plan: &EncodedPlan, numbers: &[i64]) -> Result<bool, PortError> {
    let error = failed(COMMIT);
    let mut heads: Vec<Head> = Vec::with_capacity(1);
    let mut free = true;
    if let Some(write) = &plan.record {
        let head = head(session, &mut heads, write.id).map_err(error)?;
        if (head.revision > 0).then_some(head.revision) != write.expected {
            return Ok(false);
        }
        for (kind, key) in &write.added {
            free &= add_key(session, *kind, *key, write.id).map_err(error)?;
        }
    }
    for (row, id) in plan.decisions.iter().zip(numbers) {
        free &= add_decision(session, row, *id, &mut heads).map_err(error)?;
    }
    for head in &heads {
        let write = plan.record.as_ref().filter(|write| write.id == head.id);
        write_record(session, head, write).map_err(error)?;
    }
    if let Some(write) = &plan.record {
        note_creates(session, write).map_err(error)?;
        tasks::refer(session, &write.id, &write.entity_type, &write.refers).map_err(error)?;
    }
    for task in &plan.tasks {
        tasks::change(session, task).map_err(error)?;
    }
    for (write, change) in plan.record.iter().flat_map(|write| write.outbox.iter().map(move |change| (write, change))) {
        outbox::change(session, canonical(write.id), change)?;
    }
    for letter in &plan.dead {
        free &= bury(session, letter).map_err(error)?;
    }
    Ok(free)
}

/// Notes which systems have a create of the record to answer.
fn note_creates(session: &mut Session<'_>, write: &EncodedRecord) -> rusqlite::Result<()> {
    for system in &write.opened {
        session.sql.create_open.execute((system.as_str(), write.entity_type.as_str(), write.id))?;
    }
    for system in &write.closed {
        session.sql.create_close.execute((system.as_str(), write.entity_type.as_str(), write.id))?;
    }
    Ok(())
}

/// Finds the row of a record, or gives it a number.
fn head<'h>(session: &mut Session<'_>, heads: &'h mut Vec<Head>, id: Entry) -> rusqlite::Result<&'h mut Head> {
    let index = match heads.iter().position(|head| head.id == id) {
        Some(index) => index,
        None => {
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Head { id, n: row.get(0)?, revision: row.get(1)?, newest: row.get(2)?, stored: true, moved: false })
            };
            let stored = session.sql.record_get.query_row([id], read).optional()?;
            heads.push(stored.unwrap_or_else(|| {
                session.state.record += 1;
                Head { id, n: session.state.record, revision: 0, newest: None, stored: false, moved: false }
            }));
            heads.len() - 1
        }
    };
    Ok(&mut heads[index])
}

/// Gives a link or key value to a record; false if it belongs to another one.
fn add_key(session: &mut Session<'_>, kind: Kind, key: Key, owner: Entry) -> rusqlite::Result<bool> {
    let stored = session.keys.add(kind, key, &owner)?;
    if kind == Kind::Link && stored.is_none() {
        parked::link_changed(session, key)?;
    }
    Ok(stored.is_none_or(|stored| stored == owner))
}

/// Adds a row; false if its update has one that may not be replaced.
fn add_decision(session: &mut Session<'_>, row: &EncodedDecision, id: i64, heads: &mut Vec<Head>) -> rusqlite::Result<bool> {
    let entry = marker_entry(row.content_hash, if row.kind.is_waiting() { -id } else { id });
    if !mark(session, row.key, &entry, row.replaces)? {
        return Ok(false);
    }
    let Some(body) = &row.body else {
        // It can be told when the marker may go.
        session.sql.decision_spent.execute(params![id, row.uid])?;
        return Ok(true);
    };
    let mut record = None;
    let mut previous = None;
    if let Some(canonical) = row.record {
        let head = head(session, heads, canonical)?;
        record = Some(head.n);
        previous = head.newest.replace(id);
        head.moved = true;
    }
    let (system, entity_type) = (session.name(&row.system)?, session.name(row.entity_type.as_str())?);
    let kind = kind_number(row.kind);
    let kept = (row.keeping == Keeping::Decided).then_some(KEPT);
    let rare = if is_rare(row.kind) { Some(kind) } else { kept.filter(|_| row.kind != DecisionKind::Accepted) };
    let columns = params![id, id - row.at, record, previous, kind, rare, system, entity_type, row.uid, body];
    session.sql.decision_add.execute(columns)?;
    Ok(true)
}

/// Numbers the rows of a batch, plan by plan, in the order in which they were decided.
fn number(session: &mut Session<'_>, batch: &Encoded) -> rusqlite::Result<Vec<Vec<i64>>> {
    let mut numbers: Vec<Vec<i64>> = batch.plans.iter().map(|plan| vec![0; plan.decisions.len()]).collect();
    for (plan, row) in &batch.order {
        numbers[*plan][*row] = next_decision(session, batch.plans[*plan].decisions[*row].at)?;
    }
    Ok(numbers)
}

/// The number of the next row: its time, unless that is taken or over.
fn next_decision(session: &mut Session<'_>, at: i64) -> rusqlite::Result<i64> {
    let id = at.max(session.state.decision + 1);
    session.state.decision = id;
    let late = id.saturating_sub(at);
    if late > session.state.late {
        // Doubled, so that it is seldom written.
        session.state.late = late.saturating_mul(2);
        session.sql.meta_set.execute(("late", session.state.late))?;
    }
    Ok(id)
}

/// Leaves a marker for an update; false if there is one that may not be replaced. The row it pointed at is emptied.
fn mark(session: &mut Session<'_>, key: Key, entry: &Entry, replaces: bool) -> rusqlite::Result<bool> {
    if !replaces {
        return Ok(session.keys.add(Kind::Marker, key, entry)?.is_none());
    }
    match session.keys.get(Kind::Marker, key)?.map(marker_row) {
        Some(old) if old < 0 => {
            session.sql.decision_blank.execute([-old])?;
            session.keys.change(Kind::Marker, key, Some(*entry));
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn write_record(session: &mut Session<'_>, head: &Head, write: Option<&EncodedRecord>) -> rusqlite::Result<()> {
    match write {
        Some(write) if write.body.is_none() => {
            session.sql.record_forget.execute(params![head.n, head.newest])?;
        }
        Some(write) if head.revision > 0 => {
            session.sql.record_set.execute(params![head.n, head.revision + 1, head.newest, write.body, write.deleted_at])?;
        }
        Some(write) => {
            let entity_type = session.name(write.entity_type.as_str())?;
            let statement = if head.stored { &mut session.sql.record_make } else { &mut session.sql.record_add };
            statement.execute(params![head.n, head.id, entity_type, 1, head.newest, write.body, write.deleted_at])?;
        }
        None if head.stored => {
            session.sql.head_set.execute((head.n, head.newest))?;
        }
        None => {
            session.sql.record_add.execute(params![head.n, head.id, None::<i64>, 0, head.newest, None::<&str>, None::<i64>])?;
        }
    }
    Ok(())
}

/// Keeps a dead letter, in the place of one with its id; false if its update has been decided, or waits where it should not.
fn bury(session: &mut Session<'_>, dead: &EncodedDead) -> rusqlite::Result<bool> {
    if let Some((key, content_hash)) = dead.marks
        && !mark(session, key, &marker_entry(content_hash, 0), dead.woken)?
    {
        return Ok(false);
    }
    session.sql.dead_put.execute((&dead.id, &dead.body)).map(|_| true)
}

/// Takes a dead letter away; false if it is not stored as it was read. Only a marker without a row goes with it.
fn settle(session: &mut Session<'_>, settled: &EncodedSettled) -> rusqlite::Result<bool> {
    if session.sql.dead_drop.execute((&settled.id, &settled.body))? == 0 {
        return Ok(false);
    }
    if let Some(key) = settled.frees
        && session.keys.get(Kind::Marker, key)?.is_some_and(|entry| marker_row(entry) == 0)
    {
        session.keys.change(Kind::Marker, key, None);
    }
    if let Some((key, content_hash)) = settled.leaves {
        session.keys.add(Kind::Marker, key, &marker_entry(content_hash, 0))?;
    }
    Ok(true)
}

/// Adds what became known about a system to what was.
fn note_facts(session: &mut Session<'_>, facts: &SystemFacts) -> Result<(), PortError> {
    let error = failed(COMMIT);
    let stored = session.sql.facts_get.query_row([facts.system.as_str()], |row| row.get::<_, String>(0)).optional().map_err(error)?;
    let mut known = match stored {
        Some(body) => serde_json::from_str(&body).map_err(|error| unreadable(COMMIT, "fact", error))?,
        None => SystemFacts::new(facts.system.clone()),
    };
    known.types.extend(facts.types.iter().cloned());
    known.receipts_seen |= facts.receipts_seen;
    known.base_seen |= facts.base_seen;
    let body = serde_json::to_string(&known).map_err(|error| unreadable(COMMIT, "fact", error))?;
    session.sql.facts_set.execute((facts.system.as_str(), body)).map(|_| ()).map_err(error)
}
