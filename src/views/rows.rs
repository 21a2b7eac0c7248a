//! Stored things as the rows people and programs get to see (§1.2, §2.6).

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use crate::domain::link::{Link, LinkState};
use crate::domain::provenance::{Provenance, Source};
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::Owed;

/// Outbox rows by record and system.
pub type OwedRows = HashMap<(CanonicalId, SystemName), Owed>;

/// A canonical record.
#[derive(Debug, Serialize)]
pub struct CanonicalRow<'a> {
    id: CanonicalId,
    #[serde(rename = "type")]
    entity_type: &'a EntityType,
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    data: &'a Leaves,
    #[serde(serialize_with = "by_field")]
    provenance: &'a Provenance,
    links: Vec<LinkRow<'a>>,
    tombstone: Option<()>,
    merged_into: Option<()>,
}

/// One system's side of it.
#[derive(Debug, Serialize)]
pub struct LinkRow<'a> {
    system: &'a SystemName,
    native_id: &'a Option<NativeId>,
    state: LinkState,
    rev: u64,
    delivery: &'static str,
    diverges: BTreeMap<&'a FieldPath, Diverging<'a>>,
}

/// What a system holds instead of the canonical value, and what it was sent that it has not confirmed.
#[derive(Debug, Default, Serialize)]
pub struct Diverging<'a> {
    held: Option<&'a Value>,
    sent: Vec<Option<&'a Value>>,
}

fn by_field<S: Serializer>(provenance: &&Provenance, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(provenance.iter().map(|(path, source): (&FieldPath, &Source)| (path.as_str(), source)))
}

impl<'a> CanonicalRow<'a> {
    /// The row of a record; `owed` holds its outbox rows.
    pub fn new(record: &'a CanonicalRecord, owed: &OwedRows) -> Self {
        let link = |link: &'a Link| LinkRow {
            system: &link.system,
            native_id: &link.native_id,
            state: link.state,
            rev: link.rev,
            delivery: delivery(link, owed.get(&(record.id, link.system.clone()))),
            diverges: diverges(record, link),
        };
        Self {
            id: record.id,
            entity_type: &record.entity_type,
            version: record.version,
            created_at: record.created_at,
            updated_at: record.updated_at,
            data: &record.data,
            provenance: &record.provenance,
            links: record.links.iter().map(link).collect(),
            tombstone: None,
            merged_into: None,
        }
    }
}

/// How far the newest message to a system has come.
pub fn delivery(link: &Link, owed: Option<&Owed>) -> &'static str {
    match owed {
        Some(row) if row.attempts > 0 => "failing",
        Some(row) if row.published >= row.rev => "sent",
        Some(_) => "pending",
        None if link.rejected.is_some() => "rejected",
        None if link.rev == 0 => "idle",
        None if link.shadow.sends.iter().any(|sent| sent.rev > link.shadow.answered_rev) => "sent",
        None => "applied",
    }
}

fn diverges<'a>(record: &'a CanonicalRecord, link: &'a Link) -> BTreeMap<&'a FieldPath, Diverging<'a>> {
    let mut rows: BTreeMap<&FieldPath, Diverging<'a>> =
        link.shadow.held.differences().map(|(path, held)| (path, Diverging { held, sent: Vec::new() })).collect();
    for sent in &link.shadow.sends {
        for (path, _) in sent.values.differences() {
            rows.entry(path).or_insert_with(|| Diverging { held: link.shadow.held.get(&record.data, path), sent: Vec::new() });
        }
    }
    for (path, row) in &mut rows {
        let writes = link.shadow.sends.iter().filter(|sent| sent.fields.contains(*path) || sent.whole && !sent.unsaid.contains(*path));
        row.sent = writes.map(|sent| sent.values.get(&record.data, path)).collect();
    }
    rows
}

/// An update that waits.
#[derive(Debug, Serialize)]
pub struct ParkedRow<'a> {
    update: &'a UpdateId,
    decision: &'static str,
    waiting_for: &'a WaitingFor,
    since: Timestamp,
    retry_at: Option<Timestamp>,
    attempts: u32,
    message: &'a Value,
}

impl<'a> From<&'a Waiting> for ParkedRow<'a> {
    fn from(waiting: &'a Waiting) -> Self {
        Self {
            update: &waiting.update,
            decision: if waiting.waiting_for.is_deferral() { "deferred" } else { "parked" },
            waiting_for: &waiting.waiting_for,
            since: waiting.since,
            retry_at: waiting.retry_at,
            attempts: waiting.attempts,
            message: &waiting.message,
        }
    }
}
