//! Stored things as the rows people and programs get to see (§1.2, §2.6).

use std::collections::{BTreeMap, HashMap};

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::breaker;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::delete::Tombstone;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use crate::domain::link::{Link, LinkState};
use crate::domain::provenance::{Provenance, Source};
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::Owed;

/// Outbox rows.
#[derive(Debug)]
pub struct OwedRows {
    rows: HashMap<(CanonicalId, SystemName), Owed>,
    now: Option<Timestamp>,
}

impl OwedRows {
    /// Rows as they were read. Whether an answer is late shows only [`at`](Self::at) a time.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = Owed>) -> Self {
        Self { rows: rows.into_iter().map(|row| ((row.record, row.system.clone()), row)).collect(), now: None }
    }

    /// The same, as they stand at a time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { now: Some(now), ..self }
    }

    /// What a system is owed of a record.
    #[must_use]
    pub fn of(&self, record: CanonicalId, system: &SystemName) -> Option<&Owed> {
        self.rows.get(&(record, system.clone()))
    }

    /// Whether the time for an answer is over.
    #[must_use]
    pub fn is_overdue(&self, row: &Owed) -> bool {
        row.published >= row.rev && row.answer_by.is_some_and(|by| self.now.is_some_and(|now| by < now))
    }

    /// How far the newest message to a system has come.
    #[must_use]
    pub fn delivery(&self, record: CanonicalId, link: &Link) -> &'static str {
        match self.of(record, &link.system) {
            Some(row) if row.attempts > 0 => "failing",
            Some(row) if self.is_overdue(row) => "timed_out",
            Some(row) if row.published >= row.rev => "sent",
            Some(_) => "pending",
            None if link.rejected.is_some() => "rejected",
            None if link.rev == 0 => "idle",
            None if link.shadow.sends.iter().any(|sent| sent.rev > link.shadow.answered_rev) => "sent",
            None => "applied",
        }
    }
}

/// A canonical record.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct CanonicalRow<'a> {
    /// The canonical id.
    id: CanonicalId,
    /// What kind of thing it is.
    #[serde(rename = "type")]
    entity_type: &'a EntityType,
    /// Grows by one with every change of its data.
    version: u64,
    /// When the record was made.
    created_at: Timestamp,
    /// When its data last changed.
    updated_at: Timestamp,
    /// Its values, under canonical names; references are canonical ids.
    data: &'a Leaves,
    /// Where each value comes from, by path.
    #[serde(serialize_with = "by_field")]
    #[schemars(with = "BTreeMap<String, Source>")]
    provenance: &'a Provenance,
    /// What each system has of it.
    links: Vec<LinkRow<'a>>,
    /// How it was deleted, if it was.
    tombstone: Option<&'a Tombstone>,
    /// The record it became part of, if it did.
    merged_into: Option<CanonicalId>,
}

/// One system's side of it.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct LinkRow<'a> {
    /// The system.
    system: &'a SystemName,
    /// The record's id there; null as long as it is not known.
    native_id: &'a Option<NativeId>,
    /// Whether the system has the record.
    state: LinkState,
    /// The newest number of what the system is to be sent.
    rev: u64,
    /// How far the newest message to it has come.
    #[schemars(schema_with = "deliveries")]
    delivery: &'static str,
    /// The fields in which it is known to differ from the canonical record, or was sent something it has not confirmed.
    diverges: BTreeMap<&'a FieldPath, Diverging<'a>>,
    /// The fields in which it is not corrected any more, with what it has instead: it answered the same too often.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    frozen: BTreeMap<&'a FieldPath, &'a Value>,
}

/// What a system holds instead of the canonical value, and what it was sent that it has not confirmed.
#[derive(Debug, Default, Serialize, schemars::JsonSchema)]
pub struct Diverging<'a> {
    /// What it holds; null if it does not have the field.
    held: Option<&'a Value>,
    /// What it was sent since, oldest first.
    sent: Vec<Option<&'a Value>>,
}

/// What [`OwedRows::delivery`] says.
fn deliveries(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["idle", "pending", "sent", "applied", "failing", "rejected", "timed_out"] })
}

fn waits(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["deferred", "parked"] })
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
            delivery: owed.delivery(record.id, link),
            diverges: diverges(record, link),
            frozen: breaker::frozen(link).map(|(path, stored)| (path, &stored.stored)).collect(),
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
            tombstone: record.tombstone.as_deref(),
            merged_into: record.merged_into,
        }
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
        let writes = link.shadow.sends.iter().filter(|sent| sent.fields.contains(path) || sent.whole && !sent.unsaid.contains(path));
        row.sent = writes.map(|sent| sent.values.get(&record.data, path)).collect();
    }
    rows
}

/// An update that waits.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct ParkedRow<'a> {
    /// Which update.
    update: &'a UpdateId,
    /// Deferred: it is looked at again at a time. Parked: something has to come first.
    #[schemars(schema_with = "waits")]
    decision: &'static str,
    /// What it waits for.
    waiting_for: &'a WaitingFor,
    /// Since when.
    since: Timestamp,
    /// When it is looked at again by itself.
    retry_at: Option<Timestamp>,
    /// How often it was tried.
    attempts: u32,
    /// The message, as an envelope.
    message: &'a Value,
    /// Names this state of it: for `If-Match`, over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl<'a> ParkedRow<'a> {
    /// With its tag, for whoever may decide about it.
    pub fn with_tag(waiting: &'a Waiting) -> Self {
        Self { etag: Some(waiting.tag()), ..Self::from(waiting) }
    }
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
            etag: None,
        }
    }
}
