//! How things are written: documents a person can query by hand, and beside them, as text, what only the engine needs.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::raw::{RawArrayBuf, RawBsonRef};
use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::unreadable;
use super::keys;
use super::outbox::Row;
use super::values::{read, read_object, whole, written, written_object};
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
use crate::ports::store::{DecisionWrite, Marker, Owed, RecordWrite, Versioned};

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
pub(super) fn record(write: &RecordWrite, revision: u64, stamp: i64) -> Result<RawDocumentBuf, serde_json::Error> {
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
    let mut document = with_room(1 << 10);
    document.append(cstr!("_id"), id.to_string());
    document.append(cstr!("type"), entity_type.as_str());
    document.append(cstr!("version"), whole(*version));
    document.append(cstr!("revision"), signed(revision));
    document.append(cstr!("created_at"), date(created_at));
    document.append(cstr!("updated_at"), date(updated_at));
    document.append(cstr!("data"), written_object(&data.close()));
    document.append(cstr!("links"), shown_links(links)?);
    document.append(cstr!("stamp"), stamp);
    document.append(cstr!("engine"), serde_json::to_string(&engine)?);
    if !write.refers_to.is_empty() {
        document.append(cstr!("refers_to"), texts(write.refers_to.iter().map(ToString::to_string)));
    }
    if let Some(tombstone) = tombstone {
        document.append(cstr!("deleted_at"), date(tombstone.at));
    }
    if let Some(id) = merged_into {
        document.append(cstr!("merged_into"), id.to_string());
    }
    Ok(document)
}

/// What people see of links.
fn shown_links(links: &[Link]) -> Result<RawArrayBuf, serde_json::Error> {
    let mut shown = RawArrayBuf::new();
    for link in links {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("system"), link.system.as_str());
        document.append(cstr!("native_id"), or_null(link.native_id.as_ref().map(|id| id.as_str())));
        plain(&mut document, cstr!("state"), &link.state)?;
        document.append(cstr!("rev"), whole(link.rev));
        shown.push(document);
    }
    Ok(shown)
}

/// An empty document with room for so many bytes.
fn with_room(bytes: usize) -> RawDocumentBuf {
    const EMPTY: [u8; 5] = [5, 0, 0, 0, 0];
    let mut document = Vec::with_capacity(bytes);
    document.extend_from_slice(&EMPTY);
    RawDocumentBuf::from_bytes(document).unwrap_or_default()
}

fn or_null(text: Option<&str>) -> RawBsonRef<'_> {
    text.map_or(RawBsonRef::Null, RawBsonRef::String)
}

fn texts(texts: impl Iterator<Item = impl AsRef<str>>) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    texts.for_each(|text| array.push(text.as_ref()));
    array
}

/// Reads a record.
pub(super) fn versioned(operation: &'static str, document: &RawDocument) -> Result<Versioned, PortError> {
    read_record(document).map_err(|error| unreadable(operation, "record", error))
}

fn read_record(document: &RawDocument) -> Result<Versioned, Wrong> {
    let engine: Engine = serde_json::from_str(document.get_str("engine")?)?;
    let data = read_object(document.get_document("data")?)?;
    let mut record = CanonicalRecord {
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
    record.compact();
    Ok(Versioned { record: std::sync::Arc::new(record), revision: number(document, "revision")? })
}

/// A whole number that is not negative, of any type.
pub(super) fn number(document: &RawDocument, name: &str) -> Result<u64, Wrong> {
    Ok(u64::try_from(integer(document, name)?)?)
}

/// A whole number of any type.
pub(super) fn integer(document: &RawDocument, name: &str) -> Result<i64, Wrong> {
    match document.get(name)? {
        Some(RawBsonRef::Int32(number)) => Ok(i64::from(number)),
        Some(RawBsonRef::Int64(number)) => Ok(number),
        _ => Err(format!("{name} is no whole number").into()),
    }
}

/// Whether there is such a field.
pub(super) fn has(document: &RawDocument, name: &str) -> bool {
    document.get(name).is_ok_and(|value| value.is_some())
}

/// A text that is a name or an id.
pub(super) fn text<T: TryFrom<String>>(document: &RawDocument, name: &str) -> Result<T, Wrong>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    Ok(document.get_str(name)?.to_owned().try_into()?)
}

/// Reads one of our own enumerations and small structures.
fn parsed<T: serde::de::DeserializeOwned>(document: &RawDocument, name: &str) -> Result<T, Wrong> {
    let value = document.get(name)?.map_or(Ok(Value::Null), read)?;
    Ok(serde_json::from_value(value)?)
}

/// Writes one.
fn plain(document: &mut RawDocumentBuf, name: &mongodb::bson::raw::CStr, value: &impl Serialize) -> Result<(), serde_json::Error> {
    written(&serde_json::to_value(value)?, &mut |value| document.append(name, value));
    Ok(())
}

fn paths(paths: &[FieldPath]) -> RawArrayBuf {
    texts(paths.iter().map(FieldPath::as_str))
}

/// The fields of a decision row that may be missing.
pub(super) const OPTIONAL: [&str; 8] =
    ["accepted_snapshot", "proposed_snapshot", "as_proposed", "modified_fields", NOT_APPLIED, "conflicts", "trace_id", "change_set"];

/// The field of a decision row that names what was not applied.
pub(super) const NOT_APPLIED: &str = "not_applied";

/// Writes a decision row with its place in lists.
pub(super) fn decision(row: &DecisionWrite, place: i64) -> Result<RawDocumentBuf, serde_json::Error> {
    #[rustfmt::skip]
    let Decision {
        update, timestamp, entity_type, canonical_id, source_system, native_id, op, decision, reason, decided_by,
        proposed_snapshot, accepted_snapshot, changed, modified_fields, not_applied, conflicts, version_before, version_after, attempts,
        notified, received_at, duration_us, trace_id, change_set, config,
    } = &row.decision;
    let mut document = with_room(2 << 10);
    document.append(cstr!("_id"), update.to_string());
    document.append(cstr!("timestamp"), date(*timestamp));
    document.append(cstr!("type"), entity_type.as_str());
    document.append(cstr!("canonical_id"), or_null(canonical_id.map(|id| id.to_string()).as_deref()));
    document.append(cstr!("source_system"), source_system.as_str());
    document.append(cstr!("native_id"), or_null(native_id.as_ref().map(|id| id.as_str())));
    plain(&mut document, cstr!("op"), op)?;
    document.append(cstr!("decision"), decision.as_str());
    document.append(cstr!("reason"), reason.as_str());
    plain(&mut document, cstr!("decided_by"), decided_by)?;
    document.append(cstr!("changed"), paths(changed));
    document.append(cstr!("version_before"), whole(*version_before));
    document.append(cstr!("version_after"), whole(*version_after));
    document.append(cstr!("attempts"), whole(u64::from(*attempts)));
    document.append(cstr!("notified"), texts(notified.iter().map(SystemName::as_str)));
    document.append(cstr!("received_at"), date(*received_at));
    document.append(cstr!("duration_us"), whole(*duration_us));
    document.append(cstr!("config"), config.as_str());
    document.append(cstr!("place"), place);
    document.append(cstr!("at"), timestamp.as_micros());
    document.append(cstr!("received"), received_at.as_micros());
    document.append(cstr!("content_hash"), row.content_hash.cast_signed());
    if let Some(accepted) = accepted_snapshot {
        document.append(cstr!("accepted_snapshot"), written_object(&accepted.close()));
    }
    // What was proposed is mostly what was accepted, and is kept once.
    match proposed_snapshot {
        Some(proposed) if accepted_snapshot.as_ref() == Some(proposed) => document.append(cstr!("as_proposed"), true),
        Some(proposed) => document.append(cstr!("proposed_snapshot"), written_object(&proposed.close())),
        None => {}
    }
    if !modified_fields.is_empty() {
        document.append(cstr!("modified_fields"), paths(modified_fields));
    }
    if !not_applied.is_empty() {
        document.append(cstr!("not_applied"), paths(not_applied));
    }
    if !conflicts.is_empty() {
        plain(&mut document, cstr!("conflicts"), conflicts)?;
    }
    if let Some(trace_id) = trace_id {
        document.append(cstr!("trace_id"), trace_id.as_str());
    }
    if let Some(set) = change_set {
        plain(&mut document, cstr!("change_set"), set)?;
    }
    if decision.is_waiting() {
        document.append(cstr!("waiting"), true);
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
pub(super) fn marker(operation: &'static str, document: &RawDocument) -> Result<(UpdateId, Marker), PortError> {
    let read = || -> Result<_, Wrong> {
        let content_hash = integer(document, "content_hash")?.cast_unsigned();
        let of_letter = !has(document, "place") && !has(document, "decided");
        Ok((text(document, "_id")?, Marker { content_hash, waiting: document.get_bool("waiting").unwrap_or(false), of_letter }))
    };
    read().map_err(|error| unreadable(operation, "decision", error))
}

/// Reads a decision row; `None` if it is only a mark.
pub(super) fn read_decision(operation: &'static str, document: &RawDocument) -> Result<Option<Decision>, PortError> {
    if !has(document, "decision") {
        return Ok(None);
    }
    let row = read_row(document).map_err(|error| unreadable(operation, "decision", error))?;
    Ok(Some(row))
}

fn read_row(document: &RawDocument) -> Result<Decision, Wrong> {
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
        changed: read_texts(document, "changed").map(FieldPath::escaped).collect(),
        modified_fields: read_texts(document, "modified_fields").map(FieldPath::escaped).collect(),
        not_applied: read_texts(document, NOT_APPLIED).map(FieldPath::escaped).collect(),
        conflicts: conflicts.unwrap_or_default(),
        version_before: number(document, "version_before")?,
        version_after: number(document, "version_after")?,
        attempts: u32::try_from(number(document, "attempts")?)?,
        notified: read_texts(document, "notified").map(SystemName::new).collect::<Result<_, _>>()?,
        received_at: Timestamp::from_micros(integer(document, "received")?),
        duration_us: number(document, "duration_us")?,
        trace_id: optional(document, "trace_id").map(str::to_owned),
        change_set: parsed(document, "change_set")?,
        config: document.get_str("config")?.to_owned(),
    })
}

fn snapshot(document: &RawDocument, name: &str) -> Result<Option<Leaves>, Wrong> {
    match document.get(name)? {
        Some(RawBsonRef::Document(fields)) => Ok(Some(Leaves::open(read_object(fields)?))),
        _ => Ok(None),
    }
}

fn optional<'d>(document: &'d RawDocument, name: &str) -> Option<&'d str> {
    document.get_str(name).ok()
}

pub(super) fn read_texts<'d>(document: &'d RawDocument, name: &str) -> impl Iterator<Item = &'d str> {
    document.get_array(name).into_iter().flatten().filter_map(|item| item.ok()?.as_str())
}

/// Writes a waiting update. `ready`: for those that wait for records, whether none of these is missing.
pub(super) fn waiting(waiting: &Waiting) -> Result<RawDocumentBuf, serde_json::Error> {
    let mut document = rawdoc! {
        "_id": waiting.update.to_string(),
        "key": keys::native(&waiting.key),
        "waiting_for": waiting.waiting_for.code(),
        "since": date(waiting.since),
        "arrival": signed(waiting.arrival),
        "body": serde_json::to_string(waiting)?,
    };
    if let Some(at) = waiting.retry_at {
        document.append(cstr!("retry_at"), date(at));
        document.append(cstr!("due"), at.as_micros());
    }
    if let WaitingFor::MissingReference { references, behind } = &waiting.waiting_for {
        document.append(cstr!("refs"), texts(references.iter().map(|missing| keys::native(&missing.key))));
        document.append(cstr!("behind"), or_null(behind.as_ref().map(ToString::to_string).as_deref()));
        document.append(cstr!("ready"), false);
    }
    let records = waiting.waiting_for.in_its_way();
    if !records.is_empty() {
        document.append(cstr!("records"), texts(records.iter().map(ToString::to_string)));
    }
    Ok(document)
}

/// Reads a waiting update.
pub(super) fn read_waiting(operation: &'static str, document: &RawDocument) -> Result<Waiting, PortError> {
    let read = || -> Result<_, Wrong> { Ok(serde_json::from_str(document.get_str("body")?)?) };
    read().map_err(|error| unreadable(operation, "waiting update", error))
}

/// Writes what is owed of a record, at its place in the outbox and with its stamp. What a row lacks is 0 or nothing.
pub(super) fn owed(record: CanonicalId, rows: &[Row], (place, stamp): (i64, i64)) -> RawDocumentBuf {
    let mut written = RawArrayBuf::new();
    for (number, owed) in rows {
        let mut row = RawDocumentBuf::new();
        row.append(cstr!("number"), i32::from(*number));
        row.append(cstr!("system"), owed.system.as_str());
        row.append(cstr!("rev"), signed(owed.rev));
        row.append(cstr!("delivered"), signed(owed.delivered));
        let published = (owed.published != 0).then(|| signed(owed.published));
        let attempts = (owed.attempts != 0).then(|| i64::from(owed.attempts));
        let times = [owed.retry_at, owed.answer_by].map(|at| at.map(Timestamp::as_micros));
        let names = [cstr!("published"), cstr!("attempts"), cstr!("retry_at"), cstr!("answer_by")];
        for (name, number) in names.into_iter().zip([published, attempts, times[0], times[1]]) {
            number.into_iter().for_each(|number| row.append(name, number));
        }
        written.push(row);
    }
    rawdoc! {"_id": record.to_string(), "position": place, "stamp": stamp, "rows": written}
}

/// Reads what is owed of a record, and its place in the outbox.
pub(super) fn read_owed(operation: &'static str, document: &RawDocument) -> Result<(CanonicalId, i64, Vec<Row>), PortError> {
    let read = || -> Result<_, Wrong> {
        let record = CanonicalId::parse(document.get_str("_id")?)?;
        let row = |row: &RawDocument| Ok::<_, Wrong>((u16::try_from(integer(row, "number")?)?, read_owed_row(record, row)?));
        let rows = document.get_array("rows")?.into_iter();
        let rows = rows.map(|found| row(found?.as_document().ok_or("a row is no document")?)).collect::<Result<_, _>>()?;
        Ok((record, integer(document, "position")?, rows))
    };
    read().map_err(|error| unreadable(operation, "outbox row", error))
}

pub(super) fn read_owed_row(record: CanonicalId, row: &RawDocument) -> Result<Owed, Wrong> {
    let or_zero = |name| if has(row, name) { number(row, name) } else { Ok(0) };
    let time = |name| integer(row, name).ok().map(Timestamp::from_micros);
    Ok(Owed {
        record,
        system: text(row, "system")?,
        rev: number(row, "rev")?,
        published: or_zero("published")?,
        delivered: number(row, "delivered")?,
        retry_at: time("retry_at"),
        attempts: u32::try_from(or_zero("attempts")?)?,
        answer_by: time("answer_by"),
    })
}

/// A written document as a map of values, for what is done seldom.
pub(super) fn as_document(raw: &RawDocument) -> Result<Document, serde_json::Error> {
    Document::try_from(raw).map_err(serde::ser::Error::custom)
}
