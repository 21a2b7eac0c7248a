//! Domain to contract: what one system is sent.

use syncline_contract::{Outbound, OutboundOp};

use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Record;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::link::{Link, SendOp, Sent};

/// `sent`, as it goes to the system of `link`. `entity` is that system's native model and `changed` names its fields that
/// changed, both in native names.
#[must_use]
pub fn message(record: &CanonicalRecord, link: &Link, sent: &Sent, epoch: u64, entity: Record, changed: Vec<String>) -> Outbound {
    Outbound {
        id: message_id(record.id, &link.system, sent.rev),
        entity_type: record.entity_type.to_string(),
        op: match sent.op {
            SendOp::Create => OutboundOp::Create,
            SendOp::Update => OutboundOp::Update,
            SendOp::Delete => OutboundOp::Delete,
        },
        native_id: link.native_id.as_ref().map(ToString::to_string),
        canonical_id: record.id.to_string(),
        rev: sent.rev,
        epoch,
        version: sent.version,
        entity,
        changed,
        traceparent: sent.trace.map(|trace| trace.to_string()),
    }
}

/// The bytes of one outbound message.
///
/// ```
/// # use syncline::wire::outbound::encode;
/// # use syncline_contract::{Outbound, OutboundOp};
/// let bytes = encode(&Outbound {
///     id: "c:oem:1".into(), entity_type: "device".into(), op: OutboundOp::Create, native_id: None, canonical_id: "c".into(),
///     rev: 1, epoch: 1, version: 1, entity: serde_json::Map::new(), changed: vec![], traceparent: None,
/// });
/// assert!(bytes.starts_with(br#"{"id":"c:oem:1","type":"device","op":"create","native_id":null,"#));
/// ```
#[must_use]
pub fn encode(message: &Outbound) -> Vec<u8> {
    // Serialising fails only for maps whose keys are not strings and for writers that fail; here is neither.
    serde_json::to_vec(message).expect("an outbound message has string keys only")
}

/// The id of a message, the same for every time it is sent: `{canonical_id}:{system}:{rev}`.
#[must_use]
pub fn message_id(canonical_id: CanonicalId, system: &SystemName, rev: u64) -> String {
    format!("{canonical_id}:{system}:{rev}")
}
