//! Small values for the suites.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{DeadReason, Op};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, EntityType, MessageId, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::link::{Link, SendOp};
use crate::domain::overlay::Overlay;
use crate::domain::provenance::DecidedBy;
use crate::domain::time::Timestamp;
use crate::domain::value::Leaves;
use crate::domain::waiting::{MissingReference, Waiting, WaitingFor};
use crate::ports::broker::OutboundMessage;
use crate::ports::store::{Batch, DeadLetter, DecisionWrite, Plan, RecordWrite};

/// The n-th record; later ones sort later.
#[must_use]
pub fn id(n: u64) -> CanonicalId {
    let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2 | 1 << 63;
    CanonicalId(uuid::Uuid::from_u64_pair(0x0190_0000_0000_7000 + (n << 16), random))
}

/// A system.
///
/// # Panics
/// If the name breaks the rule.
#[must_use]
pub fn system(name: &str) -> SystemName {
    SystemName::new(name).unwrap()
}

/// A type.
///
/// # Panics
/// If the name breaks the rule.
#[must_use]
pub fn of_type(name: &str) -> EntityType {
    EntityType::new(name).unwrap()
}

/// A device of a system: `bms:7`.
///
/// # Panics
/// If it has no `:`.
#[must_use]
pub fn native(text: &str) -> NativeKey {
    let (name, native_id) = text.split_once(':').unwrap();
    NativeKey { system: system(name), entity_type: of_type("device"), native_id: NativeId::new(native_id).unwrap() }
}

/// An update: `bms:7`.
///
/// # Panics
/// If it has no `:`.
#[must_use]
pub fn update(text: &str) -> UpdateId {
    let (name, message) = text.split_once(':').unwrap();
    UpdateId::new(system(name), MessageId::new(message).unwrap())
}

/// A serial number.
#[must_use]
pub fn claim(value: &str) -> Claim {
    Claim { key: "serial".into(), value: value.to_owned() }
}

/// The same, of devices.
#[must_use]
pub fn typed(value: &str) -> TypedClaim {
    TypedClaim { entity_type: of_type("device"), claim: claim(value) }
}

/// So many seconds after a day in 2026.
#[must_use]
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_770_000_000_000_000).plus(Duration::from_secs(seconds))
}

/// A device with every kind of value.
#[must_use]
pub fn record(n: u64, version: u64) -> CanonicalRecord {
    let mut record = CanonicalRecord::new(id(n), of_type("device"), at(0));
    record.version = version;
    let data = json!({"name": format!("device {n}"), "nested": {"a.b": null, "empty": {}}, "list": [1, 2.5, "ü", {"x": true}],
        "big": u64::MAX, "small": i64::MIN, "pi": 0.1, "version": version});
    record.data = Leaves::open(data.as_object().cloned().unwrap_or_default());
    record.links.push(Link::new(system("bms"), NativeId::new(n.to_string()).ok(), Overlay::default()));
    record
}

/// Writes a record that has no links or claims yet.
#[must_use]
pub fn write(record: CanonicalRecord, expected: Option<u64>) -> RecordWrite {
    RecordWrite {
        record: Arc::new(record),
        expected,
        links_added: Vec::new(),
        links_removed: Vec::new(),
        claims_added: Vec::new(),
        makes_way: false,
        claims_released: Vec::new(),
        creates_opened: Vec::new(),
        creates_closed: Vec::new(),
        outbox: Vec::new(),
        refers_to: BTreeSet::new(),
        referred_to: BTreeSet::new(),
        removes: false,
    }
}

/// A decision about a record.
#[must_use]
pub fn decision(text: &str, record: Option<u64>, kind: DecisionKind, seconds: u64) -> Decision {
    let update = update(text);
    Decision {
        timestamp: at(seconds),
        entity_type: of_type("device"),
        canonical_id: record.map(id),
        source_system: update.system.clone(),
        native_id: NativeId::new("7").ok(),
        update,
        op: Op::Upsert,
        decision: kind,
        reason: format!("because of {text}"),
        decided_by: DecidedBy::DEFAULT,
        proposed_snapshot: record.map(|n| self::record(n, 1).data),
        accepted_snapshot: record.map(|n| self::record(n, 1).data),
        changed: vec!["name".into()],
        modified_fields: Vec::new(),
        not_applied: Vec::new(),
        conflicts: Vec::new(),
        version_before: 0,
        version_after: 1,
        attempts: 1,
        notified: Vec::new(),
        received_at: at(seconds),
        duration_us: 17,
        trace_id: None,
        change_set: None,
        config: "c0ffee".to_owned(),
    }
}

/// Its row, for an update that is new.
#[must_use]
pub fn row(decision: Decision) -> DecisionWrite {
    DecisionWrite { decision, content_hash: 42, replaces: false, place: 0 }
}

/// Its row, for an update that waits.
#[must_use]
pub fn replacing(decision: Decision) -> DecisionWrite {
    DecisionWrite { replaces: true, ..row(decision) }
}

/// An update of `bms:7` that waits for other records of its system.
#[must_use]
pub fn waiting(text: &str, arrival: u64, missing: &[&str]) -> Waiting {
    let references = missing.iter().map(|text| MissingReference { field: "parent_id".into(), key: native(text) }).collect();
    Waiting {
        update: update(text),
        key: native("bms:7"),
        waiting_for: WaitingFor::MissingReference { references, behind: None },
        since: at(0),
        retry_at: None,
        attempts: 1,
        received_at: at(0),
        arrival,
        message: json!({"id": text}),
        change: None,
        word: None,
    }
}

/// A dead letter without an update.
#[must_use]
pub fn letter(id: &str, body: &str) -> DeadLetter {
    DeadLetter {
        id: id.to_owned(),
        reason: DeadReason::NotJson,
        detail: "it is not JSON".to_owned(),
        received_at: at(0),
        system: None,
        entity_type: None,
        native_id: None,
        body: Some(body.to_owned()),
        encoding: None,
        marks: None,
    }
}

/// A batch of plans.
#[must_use]
pub fn batch(plans: Vec<Plan>) -> Batch {
    Batch { plans, ..Batch::default() }
}

/// A plan that writes a record.
#[must_use]
pub fn plan(write: RecordWrite) -> Plan {
    Plan { record: Some(write), ..Plan::default() }
}

/// A message that shows a record to a system.
#[must_use]
pub fn message(name: &str, record: u64, rev: u64) -> OutboundMessage {
    OutboundMessage {
        id: format!("{}:{name}:{rev}", id(record)),
        system: system(name),
        record: id(record),
        entity_type: of_type("device"),
        op: if rev == 1 { SendOp::Create } else { SendOp::Update },
        rev,
        body: format!("body {record} {rev}").into_bytes(),
        trace: None,
    }
}
