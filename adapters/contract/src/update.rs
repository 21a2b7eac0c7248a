//! What an adapter sends: one update, one receipt, or a change set.

use serde::{Deserialize, Serialize};

use crate::{Outbound, Record};

/// The inbound envelope: one change of one native record, or the receipt for one message.
///
/// Make it with a constructor and add what the adapter knows. Fields that are `None` are left out of the JSON.
///
/// ```
/// use serde_json::json;
/// use syncline_contract::Update;
///
/// let entity = json!({ "serial": "SN-001", "name": "Air handler" });
/// let update = Update {
///     base: Some(3),
///     seq: Some(1042),
///     ..Update::upsert("u-1", "bms", "device", "bmsD1", entity.as_object().cloned().unwrap_or_default())
/// };
/// assert_eq!(
///     serde_json::to_value(&update)?,
///     json!({ "id": "u-1", "system": "bms", "type": "device", "op": "upsert", "native_id": "bmsD1",
///             "entity": { "serial": "SN-001", "name": "Air handler" }, "base": 3, "seq": 1042 })
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Update {
    /// With `system` the idempotency key, 1–200 bytes: the same id is never applied twice. Left out only where the
    /// transport carries it (AMQP `message_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::id"))]
    pub id: Option<String>,
    /// The sending system: 1–32 characters of `a-z 0-9 _ -`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::name"))]
    pub system: String,
    /// The entity type: 1–32 characters of `a-z 0-9 _ -`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::name"))]
    pub entity_type: String,
    /// What the update says.
    #[serde(default)]
    pub op: Op,
    /// The record's id in the sending system, 1–180 bytes. Left out only in the receipt of a create that did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::native_id_in"))]
    pub native_id: Option<String>,
    /// The record's new id; only for op `rekey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::native_id_in"))]
    pub new_native_id: Option<String>,
    /// The native record, references as native ids; only for op `upsert` and `patch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::record"))]
    pub entity: Option<Record>,
    /// The last `rev` of this record the adapter had applied **when it read the entity**, not when it publishes.
    /// Leave it out when unknown; never send 0 for "unknown".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub base: Option<u64>,
    /// Grows per native record; an update at or below the last one seen is taken for an old copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub seq: Option<u64>,
    /// Another text than before makes `seq` start again (a reinstalled adapter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::seq_epoch"))]
    pub seq_epoch: Option<String>,
    /// When it happened in the source, RFC 3339: `2026-01-31T09:30:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::time"))]
    pub occurred_at: Option<String>,
    /// The canonical id, from adapters that can keep it; required in the receipt of a create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::canonical_id"))]
    pub canonical_id: Option<String>,
    /// Receipts: the `rev` of the message they answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub rev: Option<u64>,
    /// Receipts: what became of that message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "ReceiptStatus"))]
    pub status: Option<ReceiptStatus>,
    /// Receipts: the fields (native names) the system keeps in another form than sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::record"))]
    pub stored: Option<Record>,
    /// Receipts: why it was not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub reason: Option<String>,
    /// The trace it belongs to, as in the header `traceparent` of W3C Trace Context: decisions name it, and what is sent because of
    /// it goes on with it. Over AMQP and HTTP a header of that name says it, too. Text that can't be read as one counts as none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub traceparent: Option<String>,
}

impl Update {
    fn about(op: Op, id: impl Into<String>, system: impl Into<String>, entity_type: impl Into<String>) -> Self {
        Self { id: Some(id.into()), system: system.into(), entity_type: entity_type.into(), op, ..Self::default() }
    }

    /// The whole native record as it is now.
    pub fn upsert(
        id: impl Into<String>,
        system: impl Into<String>,
        entity_type: impl Into<String>,
        native_id: impl Into<String>,
        entity: Record,
    ) -> Self {
        Self { native_id: Some(native_id.into()), entity: Some(entity), ..Self::about(Op::Upsert, id, system, entity_type) }
    }

    /// Only the fields that changed.
    pub fn patch(
        id: impl Into<String>,
        system: impl Into<String>,
        entity_type: impl Into<String>,
        native_id: impl Into<String>,
        changed: Record,
    ) -> Self {
        Self { native_id: Some(native_id.into()), entity: Some(changed), ..Self::about(Op::Patch, id, system, entity_type) }
    }

    /// The native record is gone.
    pub fn delete(id: impl Into<String>, system: impl Into<String>, entity_type: impl Into<String>, native_id: impl Into<String>) -> Self {
        Self { native_id: Some(native_id.into()), ..Self::about(Op::Delete, id, system, entity_type) }
    }

    /// The native record `native_id` is now known as `new_native_id`.
    pub fn rekey(
        id: impl Into<String>,
        system: impl Into<String>,
        entity_type: impl Into<String>,
        native_id: impl Into<String>,
        new_native_id: impl Into<String>,
    ) -> Self {
        Self {
            native_id: Some(native_id.into()),
            new_native_id: Some(new_native_id.into()),
            ..Self::about(Op::Rekey, id, system, entity_type)
        }
    }

    /// The receipt for a message the system now holds, under `native_id` (for a create: the new id).
    ///
    /// Send it in the same stream as the record's updates, before anything that was read after applying.
    pub fn applied(id: impl Into<String>, system: impl Into<String>, message: &Outbound, native_id: impl Into<String>) -> Self {
        Self { native_id: Some(native_id.into()), ..Self::receipt(id, system, message, ReceiptStatus::Applied) }
    }

    /// The receipt for a message that could not be applied now; it will be sent again.
    pub fn failed(id: impl Into<String>, system: impl Into<String>, message: &Outbound, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::receipt(id, system, message, ReceiptStatus::Failed) }
    }

    /// The receipt for a message the system will never take in this form.
    pub fn rejected(id: impl Into<String>, system: impl Into<String>, message: &Outbound, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::receipt(id, system, message, ReceiptStatus::Rejected) }
    }

    fn receipt(id: impl Into<String>, system: impl Into<String>, message: &Outbound, status: ReceiptStatus) -> Self {
        Self {
            native_id: message.native_id.clone(),
            canonical_id: Some(message.canonical_id.clone()),
            rev: Some(message.rev),
            status: Some(status),
            ..Self::about(Op::Receipt, id, system, message.entity_type.as_str())
        }
    }
}

/// What an update says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The whole native record. What a message without `op` means.
    #[default]
    Upsert,
    /// Only the changed fields.
    Patch,
    /// The native record is gone.
    Delete,
    /// The native record has a new id.
    Rekey,
    /// The answer to a message that was sent to this system.
    Receipt,
}

/// What became of a message that was sent to a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// The system now holds it.
    Applied,
    /// Not now; it will be sent again.
    Failed,
    /// Never in this form.
    Rejected,
}

/// Several updates that are decided all or none.
///
/// ```
/// use syncline_contract::{ChangeSet, Update};
///
/// let gone = ["bmsD1", "bmsD2"].map(|device| Update::delete(format!("gone-{device}"), "bms", "device", device));
/// let set = ChangeSet::new("set-17", gone.to_vec());
/// assert!(serde_json::to_string(&set)?.starts_with(r#"{"id":"set-17","change_set":true,"updates":[{"id":"gone-bmsD1""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeSet {
    /// The id of the set, 1–200 bytes.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::id"))]
    pub id: String,
    /// Always `true`: what tells a set from an update on the wire.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::yes"))]
    pub change_set: bool,
    /// Its updates, in order; each with an id of its own. No sets.
    pub updates: Vec<Update>,
    /// The trace of its updates that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub traceparent: Option<String>,
}

impl ChangeSet {
    /// A set of these updates.
    pub fn new(id: impl Into<String>, updates: Vec<Update>) -> Self {
        Self { id: id.into(), change_set: true, updates, traceparent: None }
    }
}
