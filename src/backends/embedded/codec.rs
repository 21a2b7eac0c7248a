//! How rows are written: JSON that a person can read with `sqlite3`, and the hashes that find them.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::error::unreadable;
use crate::domain::change::Op;
use crate::domain::decision::{ChangeSet, Conflict, Decision, DecisionKind};
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::provenance::DecidedBy;
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};
use crate::ports::error::PortError;
use crate::ports::store::Marker;

/// The hash of a text of the outside: the number of its row, and what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub h: i64,
    pub c: i64,
}

/// Makes [`Key`]s, with the secret of the file: without it nobody can make two texts share one.
#[derive(Clone)]
pub(super) struct Hasher {
    secret: Vec<u8>,
    /// Tests narrow it, to see rows share a number.
    mask: u64,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    pub fn new(secret: Vec<u8>, mask: u64) -> Self {
        Self { secret, mask }
    }

    fn key(&self, text: &[u8]) -> Key {
        let hash = xxh3_128_with_secret(text, &self.secret);
        #[allow(clippy::cast_possible_truncation)]
        Key { h: (((hash >> 64) as u64) & self.mask).cast_signed(), c: (hash as u64).cast_signed() }
    }

    pub fn update(&self, update: &UpdateId) -> Key {
        let mut text = Vec::with_capacity(96);
        parts(&mut text, &[update.system.as_str()], update.id.as_str());
        self.key(&text)
    }

    pub fn native(&self, key: &NativeKey) -> Key {
        let mut text = Vec::with_capacity(96);
        parts(&mut text, &[key.system.as_str(), key.entity_type.as_str()], key.native_id.as_str());
        self.key(&text)
    }

    /// A canonical record. No system has an empty name, so no native record shares it.
    pub fn record(&self, id: CanonicalId) -> Key {
        let mut text = Vec::with_capacity(32);
        parts(&mut text, &[""], "");
        text.extend_from_slice(id.as_bytes());
        self.key(&text)
    }

    pub fn claim(&self, entity_type: &EntityType, claim: &Claim) -> Key {
        let mut text = Vec::with_capacity(96);
        parts(&mut text, &[entity_type.as_str(), &claim.key], &claim.value);
        self.key(&text)
    }

    pub fn typed_claim(&self, claim: &TypedClaim) -> Key {
        self.claim(&claim.entity_type, &claim.claim)
    }
}

/// Joins texts so that different ones never give the same bytes.
fn parts(out: &mut Vec<u8>, heads: &[&str], tail: &str) {
    for head in heads {
        out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(head.as_bytes());
    }
    out.extend_from_slice(tail.as_bytes());
}

/// What is stored under a key.
pub(super) type Entry = [u8; 16];

/// A marker: the content hash, and the row; negative while it waits, 0 for a dead letter.
pub(super) fn marker_entry(content_hash: u64, row: i64) -> Entry {
    let mut entry = [0; 16];
    entry[..8].copy_from_slice(&content_hash.to_be_bytes());
    entry[8..].copy_from_slice(&row.to_be_bytes());
    entry
}

/// The row a marker points at; negative while it waits, 0 for a dead letter.
pub(super) fn marker_row(entry: Entry) -> i64 {
    let [_, _, _, _, _, _, _, _, row @ ..] = entry;
    i64::from_be_bytes(row)
}

/// The marker as the port tells it.
pub(super) fn marker(entry: Entry) -> Marker {
    let [content_hash @ .., _, _, _, _, _, _, _, _] = entry;
    let row = marker_row(entry);
    Marker { content_hash: u64::from_be_bytes(content_hash), waiting: row < 0, of_letter: row == 0 }
}

/// The canonical id in an entry or a column.
pub(super) fn canonical(bytes: [u8; 16]) -> CanonicalId {
    CanonicalId(uuid::Uuid::from_bytes(bytes))
}

/// A number of ours as SQLite keeps it. Revisions and counters never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as it was before [`signed`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The number of a kind in its column.
pub(super) const fn kind_number(kind: DecisionKind) -> i64 {
    match kind {
        DecisionKind::Accepted => 0,
        DecisionKind::PartiallyAccepted => 1,
        DecisionKind::Dropped => 2,
        DecisionKind::Unchanged => 3,
        DecisionKind::Echo => 4,
        DecisionKind::Superseded => 5,
        DecisionKind::Deferred => 6,
        DecisionKind::Parked => 7,
    }
}

/// Stands where a rare kind would, in rows that are kept as one that decided something though their kind is not.
pub(super) const KEPT: i64 = 8;

/// Whether rows of this kind have an index: looked for often, written seldom.
pub(super) const fn is_rare(kind: DecisionKind) -> bool {
    !matches!(kind, DecisionKind::Accepted | DecisionKind::Unchanged | DecisionKind::Echo)
}

/// The body of a decision row: everything that is not in a column, and nothing twice.
#[derive(Serialize)]
struct BodyRef<'a> {
    decision: DecisionKind,
    #[serde(rename = "type")]
    entity_type: &'a EntityType,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical_id: Option<&'a CanonicalId>,
    source_system: &'a SystemName,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_id: Option<&'a NativeId>,
    op: Op,
    reason: &'a str,
    decided_by: &'a DecidedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposed: Option<&'a Leaves>,
    /// The accepted snapshot is the proposed one.
    #[serde(skip_serializing_if = "is_false")]
    as_proposed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<&'a Leaves>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changed: &'a [FieldPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    modified: &'a [FieldPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_applied: &'a [FieldPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflicts: &'a [Conflict],
    versions: (u64, u64),
    attempts: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notified: &'a [SystemName],
    /// Received at, and for how long it was worked on; in microseconds.
    times: (i64, u64),
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_set: Option<&'a ChangeSet>,
    config: &'a str,
}

#[derive(Deserialize)]
struct Body {
    decision: DecisionKind,
    #[serde(rename = "type")]
    entity_type: EntityType,
    #[serde(default)]
    canonical_id: Option<CanonicalId>,
    source_system: SystemName,
    #[serde(default)]
    native_id: Option<NativeId>,
    op: Op,
    reason: String,
    decided_by: DecidedBy,
    #[serde(default)]
    proposed: Option<Leaves>,
    #[serde(default)]
    as_proposed: bool,
    #[serde(default)]
    accepted: Option<Leaves>,
    #[serde(default)]
    changed: Vec<FieldPath>,
    #[serde(default)]
    modified: Vec<FieldPath>,
    #[serde(default)]
    not_applied: Vec<FieldPath>,
    #[serde(default)]
    conflicts: Vec<Conflict>,
    versions: (u64, u64),
    attempts: u32,
    #[serde(default)]
    notified: Vec<SystemName>,
    times: (i64, u64),
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    change_set: Option<Box<ChangeSet>>,
    config: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Writes the body of a decision row.
pub(super) fn decision_body(decision: &Decision) -> Result<String, serde_json::Error> {
    // Named one by one, so that a field added to the row is not forgotten here.
    #[rustfmt::skip]
    let Decision {
        update: _, timestamp: _, entity_type, canonical_id, source_system, native_id, op, decision: kind, reason, decided_by,
        proposed_snapshot, accepted_snapshot, changed, modified_fields, not_applied, conflicts, version_before, version_after, attempts,
        notified, received_at, duration_us, trace_id, change_set, config,
    } = decision;
    let as_proposed = accepted_snapshot.is_some() && accepted_snapshot == proposed_snapshot;
    serde_json::to_string(&BodyRef {
        decision: *kind,
        entity_type,
        canonical_id: canonical_id.as_ref(),
        source_system,
        native_id: native_id.as_ref(),
        op: *op,
        reason,
        decided_by,
        proposed: proposed_snapshot.as_ref(),
        as_proposed,
        accepted: accepted_snapshot.as_ref().filter(|_| !as_proposed),
        changed,
        modified: modified_fields,
        not_applied,
        conflicts,
        versions: (*version_before, *version_after),
        attempts: *attempts,
        notified,
        times: (received_at.as_micros(), *duration_us),
        trace_id: trace_id.as_deref(),
        change_set: change_set.as_deref(),
        config,
    })
}

/// Reads a decision row.
pub(super) fn decision(operation: &'static str, update: &str, at: i64, body: &str) -> Result<Decision, PortError> {
    let body: Body = serde_json::from_str(body).map_err(|error| unreadable(operation, "decision", error))?;
    let update = UpdateId::try_from(update.to_owned()).map_err(|error| unreadable(operation, "decision", error))?;
    Ok(Decision {
        update,
        timestamp: Timestamp::from_micros(at),
        entity_type: body.entity_type,
        canonical_id: body.canonical_id,
        source_system: body.source_system,
        native_id: body.native_id,
        op: body.op,
        decision: body.decision,
        reason: body.reason,
        decided_by: body.decided_by,
        accepted_snapshot: if body.as_proposed { body.proposed.clone() } else { body.accepted },
        proposed_snapshot: body.proposed,
        changed: body.changed,
        modified_fields: body.modified,
        not_applied: body.not_applied,
        conflicts: body.conflicts,
        version_before: body.versions.0,
        version_after: body.versions.1,
        attempts: body.attempts,
        notified: body.notified,
        received_at: Timestamp::from_micros(body.times.0),
        duration_us: body.times.1,
        trace_id: body.trace_id,
        change_set: body.change_set,
        config: body.config,
    })
}
