//! What one system is sent.

use serde::{Deserialize, Serialize};

use crate::Record;

/// One message to one system: the record as that system should hold it, in its own ids and names.
///
/// Apply it only if (`epoch`, `rev`) is higher than the last one applied for this record: a message may come twice or late.
/// Fields this version does not know are ignored, so an adapter keeps working when the contract grows.
///
/// ```
/// use syncline_contract::{Outbound, OutboundOp};
///
/// let message: Outbound = serde_json::from_str(r#"{
///     "id": "0192f0c4-7c1e-7aaa-8000-000000000001:oem:4", "type": "device", "op": "update", "native_id": "oemD1",
///     "canonical_id": "0192f0c4-7c1e-7aaa-8000-000000000001", "rev": 4, "epoch": 1, "version": 12,
///     "entity": { "id": "oemD1", "serial_no": "SN-001", "name": "Air handler 1" }, "changed": ["name"] }"#)?;
/// assert_eq!(message.op, OutboundOp::Update);
/// assert_eq!(message.entity["name"], "Air handler 1");
/// assert!(message.is_newer_than(1, 3) && !message.is_newer_than(1, 4));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outbound {
    /// `{canonical_id}:{system}:{rev}`. Also the AMQP `message_id`.
    pub id: String,
    /// The entity type: `device`, `person`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::name"))]
    pub entity_type: String,
    /// What to do with the record.
    pub op: OutboundOp,
    /// The record's id in the receiving system; null for a create.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::native_id_or_null"))]
    pub native_id: Option<String>,
    /// The canonical id; keep it if the system can, and send it with every update.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::canonical_id"))]
    pub canonical_id: String,
    /// Grows by one whenever what is to be sent to this system changes. Goes into `base` of what is read afterwards, and into the receipt.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub rev: u64,
    /// Grows when the orchestrator's store was restored from a backup; compare it before `rev`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub epoch: u64,
    /// The version of the canonical record this was made from.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::number"))]
    pub version: u64,
    /// The whole native record; empty for a delete.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::model"))]
    pub entity: Record,
    /// Names of the fields that changed since the last message about this record.
    #[serde(default)]
    pub changed: Vec<String>,
    /// The trace of the update it follows from, if that named one: the header `traceparent` of W3C Trace Context. Over AMQP it is
    /// a header, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub traceparent: Option<String>,
}

impl Outbound {
    /// Whether this message is to be applied by someone who last applied (`epoch`, `rev`).
    #[must_use]
    pub fn is_newer_than(&self, epoch: u64, rev: u64) -> bool {
        (self.epoch, self.rev) > (epoch, rev)
    }
}

/// What to do with the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutboundOp {
    /// Find the record by `canonical_id`, else by match key, else create it; answer with a receipt that names its native id.
    Create,
    /// Make the record look like `entity`.
    Update,
    /// Remove the record.
    Delete,
}

impl OutboundOp {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
