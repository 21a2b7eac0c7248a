//! Inbound messages as envelopes, to be kept or shown, and read again.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::domain::change::{ChangeBody, DeadReason, Inbound, NativeChange, Op, Receipt, Rejection};
use crate::domain::waiting::Waiting;
use crate::wire::inbound::{Transport, decode_value};
use crate::wire::limits::Limits;

/// The change of a waiting update, read again from its message.
pub fn change_of(waiting: &Waiting) -> Result<Arc<NativeChange>, Rejection> {
    match decode_value(waiting.message.clone(), &Transport::default(), &Limits::LARGEST) {
        Ok(Inbound::Change(change)) => Ok(change),
        Ok(Inbound::Receipt(_) | Inbound::ChangeSet { .. }) => {
            Err(Rejection::new(DeadReason::BadEnvelope, format!("the stored message of {} is not a change", waiting.update)))
        }
        Err(undecodable) => Err(undecodable.rejection),
    }
}

/// A change as an envelope, to be kept or shown.
#[must_use]
pub fn message_of(change: &NativeChange) -> Value {
    let mut message = Map::new();
    message.insert("id".into(), json!(change.update.id.as_str()));
    message.insert("system".into(), json!(change.key.system.as_str()));
    message.insert("type".into(), json!(change.key.entity_type.as_str()));
    message.insert("native_id".into(), json!(change.key.native_id.as_str()));
    message.insert("op".into(), json!(change.op().as_str()));
    match &change.body {
        ChangeBody::Upsert(entity) | ChangeBody::Patch(entity) => {
            message.insert("entity".into(), Value::Object(entity.clone()));
        }
        ChangeBody::Delete => {}
        ChangeBody::Rekey(id) => {
            message.insert("new_native_id".into(), json!(id.as_str()));
        }
    }
    if let Some(base) = change.base {
        message.insert("base".into(), json!(base));
    }
    if let Some(seq) = &change.seq {
        message.insert("seq".into(), json!(seq.number));
        if let Some(epoch) = &seq.epoch {
            message.insert("seq_epoch".into(), json!(epoch));
        }
    }
    if let Some(occurred_at) = change.occurred_at {
        message.insert("occurred_at".into(), json!(occurred_at.to_string()));
    }
    if let Some(id) = change.canonical_id {
        message.insert("canonical_id".into(), json!(id.to_string()));
    }
    if let Some(trace) = change.trace {
        message.insert("traceparent".into(), json!(trace));
    }
    Value::Object(message)
}

/// A receipt as an envelope, to be kept or shown.
#[must_use]
pub fn receipt_message(receipt: &Receipt) -> Value {
    json!({
        "id": receipt.update.id.as_str(), "system": receipt.system().as_str(), "type": receipt.entity_type.as_str(), "op": Op::Receipt.as_str(),
        "native_id": receipt.native_id.as_ref().map(crate::domain::ids::NativeId::as_str),
        "canonical_id": receipt.canonical_id.map(|id| id.to_string()), "rev": receipt.rev, "status": receipt.status,
        "stored": receipt.stored, "reason": receipt.reason, "traceparent": receipt.trace,
    })
}

/// Any inbound message as an envelope.
#[must_use]
pub fn inbound_message(message: &Inbound) -> Value {
    match message {
        Inbound::Change(change) => message_of(change),
        Inbound::Receipt(receipt) => receipt_message(receipt),
        Inbound::ChangeSet { id, updates } => {
            json!({"id": id.as_str(), "change_set": true, "updates": updates.iter().map(inbound_message).collect::<Vec<_>>()})
        }
    }
}
