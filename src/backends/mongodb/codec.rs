//! How things are written: documents a person can query by hand, and beside them, as text, what only the engine needs.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::unreadable;
use super::keys;
use super::values::{from_bson, from_document, to_bson, to_document, whole};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decision::{Conflict, Decision};
use crate::domain::delete::Tombstone;
use crate::domain::identity::Claim;
use crate::domain::ids::{CanonicalId, SystemName, UpdateId};
use crate::domain::link::Link;
use crate::domain::merge::Undo;
use crate::domain::provenance::Provenance;
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, DecisionWrite, Marker, Owed, RecordWrite, Versioned};

/// What is wrong with a document.
type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// A number of ours as BSON keeps it. None of them ever comes near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A point in time as people and other programs read it; BSON knows no more than milliseconds.
pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_micros().div_euclid(1000))
}

/// What only the engine needs of a record: shadows, provenance, exact times.
#[derive(Serialize)]
struct EngineRef<'a> {
    created_at: Timestamp,
    updated_at: Timestamp,
    provenance: &'a Provenance,
    links: &'a [Link],
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    claims: &'a BTreeSet<Claim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tombstone: &'a Option<Box<Tombstone>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    absorbed: &'a BTreeSet<CanonicalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: &'a Option<Box<Undo>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    apart: &'a BTreeSet<CanonicalId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revs: &'a BTreeMap<SystemName, u64>,
}

#[derive(Deserialize)]
struct Engine {
    created_at: Timestamp,
    updated_at: Timestamp,
    provenance: Provenance,
    links: Vec<Link>,
    #[serde(default)]
    claims: BTreeSet<Claim>,
    #[serde(default)]
    tombstone: Option<Box<Tombstone>>,
    #[serde(default)]
    absorbed: BTreeSet<CanonicalId>,
    #[serde(default)]
    undo: Option<Box<Undo>>,
    #[serde(default)]
    apart: BTreeSet<CanonicalId>,
    #[serde(default)]
    revs: BTreeMap<SystemName, u64>,
}

/// Writes a record. `stamp` tells this very write from any other.
pub(super) fn record(write: &RecordWrite, revision: u64, stamp: i64) -> Result<Document, serde_json::Error> {
    // Named one by one, so that a field added to the record is not forgotten here.
    let CanonicalRecord {
        id,
        entity_type,
        version,
        created_at,
        updated_at,
        data,
        provenance,
        links,
        claims,
        tombstone,
        merged_into,
        absorbed,
        undo,
        apart,
        revs,
    } = &*write.record;
    let (created_at, updated_at) = (*created_at, *updated_at);
    let engine = EngineRef { created_at, updated_at, provenance, links, claims, tombstone, absorbed, undo, apart, revs };
    let mut shown = Vec::with_capacity(links.len());
    for link in links {
        let native_id = link.native_id.as_ref().map(|id| id.as_str());
        let state = serde_json::to_value(link.state)?;
        shown.push(doc! {"system": link.system.as_str(), "native_id": native_id, "state": to_bson(&state), "rev": whole(link.rev)});
    }
    let mut document = doc! {
        "_id": id.to_string(),
        "type": entity_type.as_str(),
        "version": whole(*version),
        "revision": signed(revision),
        "created_at": date(created_at),
        "updated_at": date(updated_at),
        "data": to_document(&data.close()),
        "links": shown,
        "stamp": stamp,
        "engine": serde_json::to_string(&engine)?,
    };
    if !write.refers_to.is_empty() {
        document.insert("refers_to", write.refers_to.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if let Some(tombstone) = tombstone {
        document.insert("deleted_at", date(tombstone.at));
    }
    if let Some(id) = merged_into {
        document.insert("merged_into", id.to_string());
    }
    Ok(document)
}

/// Reads a record.
pub(super) fn versioned(operation: &'static str, mut document: Document) -> Result<Versioned, PortError> {
    read_record(&mut document).map_err(|error| unreadable(operation, "record", error))
}

fn read_record(document: &mut Document) -> Result<Versioned, Wrong> {
    let engine: Engine = serde_json::from_str(document.get_str("engine")?)?;
    let data = match document.remove("data") {
        Some(Bson::Document(data)) => from_document(data)?,
        _ => return Err("it has no data".into()),
    };
    let record = CanonicalRecord {
        id: CanonicalId::parse(document.get_str("_id")?)?,
        entity_type: document.get_str("type")?.to_owned().try_into()?,
        version: number(document, "version")?,
        created_at: engine.created_at,
        updated_at: engine.updated_at,
        data: Leaves::open(data),
        provenance: engine.provenance,
        links: engine.links,
        claims: engine.claims,
        tombstone: engine.tombstone,
        merged_into: document.get_str("merged_into").ok().map(CanonicalId::parse).transpose()?,
        absorbed: engine.absorbed,
        undo: engine.undo,
        apart: engine.apart,
        revs: engine.revs,
    };
    Ok(Versioned { record: std::sync::Arc::new(record), revision: number(document, "revision")? })
}

/// A whole number that is not negative, of any type.
pub(super) fn number(document: &Document, name: &str) -> Result<u64, Wrong> {
    Ok(u64::try_from(integer(document, name)?)?)
}

/// A whole number of any type.
pub(super) fn integer(document: &Document, name: &str) -> Result<i64, Wrong> {
    match document.get(name) {
        Some(Bson::Int32(number)) => Ok(i64::from(*number)),
        Some(Bson::Int64(number)) => Ok(*number),
        _ => Err(format!("{name} is no whole number").into()),
    }
}

/// A text that is a name or an id.
pub(super) fn text<T: TryFrom<String>>(document: &Document, name: &str) -> Result<T, Wrong>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    Ok(document.get_str(name)?.to_owned().try_into()?)
}

/// Reads one of our own enumerations and small structures.
fn parsed<T: serde::de::DeserializeOwned>(document: &mut Document, name: &str) -> Result<T, Wrong> {
    let value = document.remove(name).map_or(Ok(Value::Null), from_bson)?;
    Ok(serde_json::from_value(value)?)
}

fn plain<T: Serialize>(value: &T) -> Result<Bson, serde_json::Error> {
    serde_json::to_value(value).map(|value| to_bson(&value))
}

fn paths(paths: &[FieldPath]) -> Vec<&str> {
    paths.iter().map(FieldPath::as_str).collect()
}

/// The fields of a decision row that may be missing.
pub(super) const OPTIONAL: [&str; 7] =
    ["accepted_snapshot", "proposed_snapshot", "as_proposed", "modified_fields", "conflicts", "trace_id", "change_set"];

/// Writes a decision row with its place in lists.
pub(super) fn decision(row: &DecisionWrite, place: i64) -> Result<Document, serde_json::Error> {
    #[rustfmt::skip]
    let Decision {
        update, timestamp, entity_type, canonical_id, source_system, native_id, op, decision, reason, decided_by,
        proposed_snapshot, accepted_snapshot, changed, modified_fields, conflicts, version_before, version_after, attempts, notified,
        received_at, duration_us, trace_id, change_set, config,
    } = &row.decision;
    let mut document = doc! {
        "_id": update.to_string(),
        "timestamp": date(*timestamp),
        "type": entity_type.as_str(),
        "canonical_id": canonical_id.map(|id| id.to_string()),
        "source_system": source_system.as_str(),
        "native_id": native_id.as_ref().map(|id| id.as_str()),
        "op": plain(op)?,
        "decision": decision.as_str(),
        "reason": reason,
        "decided_by": plain(decided_by)?,
        "changed": paths(changed),
        "version_before": whole(*version_before),
        "version_after": whole(*version_after),
        "attempts": whole(u64::from(*attempts)),
        "notified": notified.iter().map(SystemName::as_str).collect::<Vec<_>>(),
        "received_at": date(*received_at),
        "duration_us": whole(*duration_us),
        "config": config,
        "place": place,
        "at": timestamp.as_micros(),
        "received": received_at.as_micros(),
        "content_hash": row.content_hash.cast_signed(),
    };
    if let Some(accepted) = accepted_snapshot {
        document.insert("accepted_snapshot", to_document(&accepted.close()));
    }
    // What was proposed is mostly what was accepted, and is kept once.
    match proposed_snapshot {
        Some(proposed) if accepted_snapshot.as_ref() == Some(proposed) => document.insert("as_proposed", true),
        Some(proposed) => document.insert("proposed_snapshot", to_document(&proposed.close())),
        None => None,
    };
    if !modified_fields.is_empty() {
        document.insert("modified_fields", paths(modified_fields));
    }
    if !conflicts.is_empty() {
        document.insert("conflicts", plain(conflicts)?);
    }
    if let Some(trace_id) = trace_id {
        document.insert("trace_id", trace_id);
    }
    if let Some(set) = change_set {
        document.insert("change_set", plain(set)?);
    }
    if decision.is_waiting() {
        document.insert("waiting", true);
    }
    Ok(document)
}

/// What is left of an update without a decision row: enough to know it again.
pub(super) fn mark(update: &UpdateId, content_hash: u64) -> Document {
    doc! {"_id": update.to_string(), "content_hash": content_hash.cast_signed()}
}

/// The same, of an update that was decided at `place` and has no row (any more).
pub(super) fn spent(update: &str, content_hash: i64, place: i64) -> Document {
    doc! {"_id": update, "content_hash": content_hash, "decided": place}
}

/// What makes a redelivery harmless, of a row or a mark.
pub(super) fn marker(operation: &'static str, document: &Document) -> Result<(UpdateId, Marker), PortError> {
    let read = || -> Result<_, Wrong> {
        let content_hash = integer(document, "content_hash")?.cast_unsigned();
        let of_letter = !document.contains_key("place") && !document.contains_key("decided");
        Ok((text(document, "_id")?, Marker { content_hash, waiting: document.get_bool("waiting").unwrap_or(false), of_letter }))
    };
    read().map_err(|error| unreadable(operation, "decision", error))
}

/// Reads a decision row; `None` if it is only a mark.
pub(super) fn read_decision(operation: &'static str, mut document: Document) -> Result<Option<Decision>, PortError> {
    if !document.contains_key("decision") {
        return Ok(None);
    }
    let row = read_row(&mut document).map_err(|error| unreadable(operation, "decision", error))?;
    Ok(Some(row))
}

fn read_row(document: &mut Document) -> Result<Decision, Wrong> {
    let accepted_snapshot = snapshot(document, "accepted_snapshot")?;
    let as_proposed = document.get_bool("as_proposed").unwrap_or(false);
    let proposed_snapshot = if as_proposed { accepted_snapshot.clone() } else { snapshot(document, "proposed_snapshot")? };
    let conflicts: Option<Vec<Conflict>> = parsed(document, "conflicts")?;
    Ok(Decision {
        update: text(document, "_id")?,
        timestamp: Timestamp::from_micros(integer(document, "at")?),
        entity_type: text(document, "type")?,
        canonical_id: optional(document, "canonical_id").map(CanonicalId::parse).transpose()?,
        source_system: text(document, "source_system")?,
        native_id: optional(document, "native_id").map(|id| id.to_owned().try_into()).transpose()?,
        op: parsed(document, "op")?,
        decision: parsed(document, "decision")?,
        reason: document.get_str("reason")?.to_owned(),
        decided_by: parsed(document, "decided_by")?,
        proposed_snapshot,
        accepted_snapshot,
        changed: texts(document, "changed").map(FieldPath::escaped).collect(),
        modified_fields: texts(document, "modified_fields").map(FieldPath::escaped).collect(),
        conflicts: conflicts.unwrap_or_default(),
        version_before: number(document, "version_before")?,
        version_after: number(document, "version_after")?,
        attempts: u32::try_from(number(document, "attempts")?)?,
        notified: texts(document, "notified").map(SystemName::new).collect::<Result<_, _>>()?,
        received_at: Timestamp::from_micros(integer(document, "received")?),
        duration_us: number(document, "duration_us")?,
        trace_id: optional(document, "trace_id").map(str::to_owned),
        change_set: parsed(document, "change_set")?,
        config: document.get_str("config")?.to_owned(),
    })
}

fn snapshot(document: &mut Document, name: &str) -> Result<Option<Leaves>, Wrong> {
    match document.remove(name) {
        Some(Bson::Document(fields)) => Ok(Some(Leaves::open(from_document(fields)?))),
        _ => Ok(None),
    }
}

fn optional<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.get(name).and_then(Bson::as_str)
}

fn texts<'d>(document: &'d Document, name: &str) -> impl Iterator<Item = &'d str> {
    document.get_array(name).into_iter().flatten().filter_map(Bson::as_str)
}

/// Writes a waiting update. `ready`: for those that wait for records, whether none of these is missing.
pub(super) fn waiting(waiting: &Waiting) -> Result<Document, serde_json::Error> {
    let mut document = doc! {
        "_id": waiting.update.to_string(),
        "key": keys::native(&waiting.key),
        "waiting_for": waiting.waiting_for.code(),
        "since": date(waiting.since),
        "arrival": signed(waiting.arrival),
        "body": serde_json::to_string(waiting)?,
    };
    if let Some(at) = waiting.retry_at {
        document.insert("retry_at", date(at));
        document.insert("due", at.as_micros());
    }
    if let WaitingFor::MissingReference { references, behind } = &waiting.waiting_for {
        document.insert("refs", references.iter().map(|missing| keys::native(&missing.key)).collect::<Vec<_>>());
        document.insert("behind", behind.as_ref().map(ToString::to_string));
        document.insert("ready", false);
    }
    Ok(document)
}

/// Reads a waiting update.
pub(super) fn read_waiting(operation: &'static str, document: &Document) -> Result<Waiting, PortError> {
    let read = || -> Result<_, Wrong> { Ok(serde_json::from_str(document.get_str("body")?)?) };
    read().map_err(|error| unreadable(operation, "waiting update", error))
}

/// Writes an outbox row at its position.
pub(super) fn owed(owed: &Owed, position: i64) -> Document {
    doc! {
        "_id": keys::owed(owed.record, &owed.system),
        "record": owed.record.to_string(),
        "system": owed.system.as_str(),
        "rev": signed(owed.rev),
        "published": signed(owed.published),
        "delivered": signed(owed.delivered),
        "retry_at": owed.retry_at.map(Timestamp::as_micros),
        "attempts": i64::from(owed.attempts),
        "answer_by": owed.answer_by.map(Timestamp::as_micros),
        "position": position,
    }
}

/// Reads an outbox row and its position.
pub(super) fn read_owed(operation: &'static str, document: &Document) -> Result<(i64, Owed), PortError> {
    let read = || -> Result<_, Wrong> {
        let owed = Owed {
            record: CanonicalId::parse(document.get_str("record")?)?,
            system: text(document, "system")?,
            rev: number(document, "rev")?,
            published: number(document, "published")?,
            delivered: number(document, "delivered")?,
            retry_at: document.get("retry_at").and_then(Bson::as_i64).map(Timestamp::from_micros),
            attempts: u32::try_from(number(document, "attempts")?)?,
            answer_by: document.get("answer_by").and_then(Bson::as_i64).map(Timestamp::from_micros),
        };
        Ok((integer(document, "position")?, owed))
    };
    read().map_err(|error| unreadable(operation, "outbox row", error))
}

/// Fields a dead letter may lack.
pub(super) const DEAD_OPTIONAL: [&str; 5] = ["system", "type", "native_id", "body", "encoding"];

/// Writes a dead letter, without its id and its place.
pub(super) fn dead_letter(letter: &DeadLetter) -> Result<Document, serde_json::Error> {
    let fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(letter)?)?;
    let mut document = to_document(&fields);
    document.remove("id");
    document.insert("received_at", date(letter.received_at));
    document.insert("received", letter.received_at.as_micros());
    Ok(document)
}

/// Reads a dead letter and its place.
pub(super) fn read_dead_letter(operation: &'static str, mut document: Document) -> Result<(i64, DeadLetter), PortError> {
    let mut read = || -> Result<_, Wrong> {
        let place = integer(&document, "place")?;
        let received_at = Timestamp::from_micros(integer(&document, "received")?);
        let id = document.get_str("_id")?.to_owned();
        document.insert("id", id);
        document.insert("received_at", received_at.to_string());
        for ours in ["_id", "place", "received"] {
            document.remove(ours);
        }
        Ok((place, serde_json::from_value(Value::Object(from_document(std::mem::take(&mut document))?))?))
    };
    read().map_err(|error| unreadable(operation, "dead letter", error))
}
