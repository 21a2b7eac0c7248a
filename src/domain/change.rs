//! What arrives: one native change, one receipt, or a change set, already checked against every limit.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{CanonicalId, EntityType, MessageId, NativeId, NativeKey, SystemName, UpdateId};
use super::time::Timestamp;
use super::trace::TraceParent;

/// A record as JSON: field name to value. Used where no Rust type describes it.
pub type Record = Map<String, Value>;

/// What an update does, as written in decisions and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The whole native record.
    Upsert,
    /// Only the changed fields.
    Patch,
    /// The native record is gone.
    Delete,
    /// The native record has a new id.
    Rekey,
    /// The answer to a message we sent.
    Receipt,
    /// Two records became one. Never sent by an adapter.
    Merge,
    /// One record became two again. Never sent by an adapter.
    Split,
    /// A system is not corrected any more in a field. Never sent by an adapter.
    Freeze,
    /// An accepted change was taken back, since a system refused it. Never sent by an adapter.
    Compensate,
    /// References to a deleted record were taken out. Never sent by an adapter.
    Clear,
    /// The values of a record were erased. Never sent by an adapter.
    Erase,
}

impl Op {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Rekey => "rekey",
            Self::Receipt => "receipt",
            Self::Merge => "merge",
            Self::Split => "split",
            Self::Freeze => "freeze",
            Self::Compensate => "compensate",
            Self::Clear => "clear",
            Self::Erase => "erase",
        }
    }
}

/// One inbound message, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Inbound {
    /// A change of one native record.
    Change(Arc<NativeChange>),
    /// The answer to something we sent.
    Receipt(Receipt),
    /// Several updates that are decided all or none.
    ChangeSet {
        /// The id of the set.
        id: MessageId,
        /// Its updates, in order.
        updates: Vec<Inbound>,
    },
}

/// What a change carries.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeBody {
    /// The whole native record, in native names.
    Upsert(Record),
    /// Only the changed fields, in native names.
    Patch(Record),
    /// The record is gone.
    Delete,
    /// The record is now known under this id.
    Rekey(NativeId),
}

/// The position of an update in its native record's own history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seq {
    /// Changes when the adapter starts counting anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Grows per native record.
    pub number: u64,
}

/// One change of one native record.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeChange {
    /// Which update this is; the idempotency key.
    pub update: UpdateId,
    /// Which native record it is about.
    pub key: NativeKey,
    /// What it says.
    pub body: ChangeBody,
    /// The last `rev` the adapter had applied when it read the record.
    pub base: Option<u64>,
    /// Position in the native record's history.
    pub seq: Option<Seq>,
    /// When it happened in the source, if it says so.
    pub occurred_at: Option<Timestamp>,
    /// The canonical id, for adapters that keep it.
    pub canonical_id: Option<CanonicalId>,
    /// The trace it belongs to.
    pub trace: Option<TraceParent>,
    /// Hash of the content (system, type, op, ids, entity; not transport fields): tells a redelivery from a reused id.
    pub content_hash: u64,
}

impl NativeChange {
    /// The operation, without its content.
    #[must_use]
    pub const fn op(&self) -> Op {
        match self.body {
            ChangeBody::Upsert(_) => Op::Upsert,
            ChangeBody::Patch(_) => Op::Patch,
            ChangeBody::Delete => Op::Delete,
            ChangeBody::Rekey(_) => Op::Rekey,
        }
    }
}

impl Inbound {
    /// The trace it names; of a set, that of its first update.
    #[must_use]
    pub fn trace(&self) -> Option<TraceParent> {
        match self {
            Self::Change(change) => change.trace,
            Self::Receipt(receipt) => receipt.trace,
            Self::ChangeSet { updates, .. } => updates.first().and_then(Self::trace),
        }
    }
}

/// What became of a message we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// The system now holds it.
    Applied,
    /// Not now; it will be sent again.
    Failed,
    /// Never in this form.
    Rejected,
}

/// An adapter's answer to a message we sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The id of the receipt itself.
    pub update: UpdateId,
    /// The type of the record.
    pub entity_type: EntityType,
    /// The native id; `None` only where a create did not succeed.
    pub native_id: Option<NativeId>,
    /// The canonical id; required in the answer to a create.
    pub canonical_id: Option<CanonicalId>,
    /// Which message it answers.
    pub rev: u64,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Fields (native names) the system keeps in another form than sent.
    pub stored: Record,
    /// Why, if it was not applied.
    pub reason: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<TraceParent>,
    /// As in [`NativeChange::content_hash`].
    pub content_hash: u64,
}

impl Receipt {
    /// The system that answers.
    #[must_use]
    pub const fn system(&self) -> &SystemName {
        &self.update.system
    }
}

/// Why a message cannot be processed. The code is stable and public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// The bytes are not JSON.
    NotJson,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The message is larger than the limit.
    TooLarge,
    /// Nested deeper than the limit.
    TooDeep,
    /// More fields than the limit.
    TooManyFields,
    /// An empty, overlong or NUL-containing field name.
    BadFieldName,
    /// The same key twice in one object.
    DuplicateKey,
    /// A number no 64-bit integer or finite double can hold.
    NumberOutOfRange,
    /// A required envelope field is missing or has the wrong type.
    BadEnvelope,
    /// `op` is not one we know.
    UnknownOp,
    /// Neither the body nor the transport gives an id.
    NoId,
    /// An id or name breaks its rule.
    BadId,
    /// `id_field` inside the entity differs from `native_id`.
    IdMismatch,
    /// The system is not configured.
    UnknownSystem,
    /// The system does not send this type (its direction is `out`).
    NotTaken,
    /// The transport says the message comes from another system.
    NotYourSystem,
    /// The same id came before with other content.
    IdReuse,
    /// The same `seq` came before with other content.
    SeqConflict,
    /// A receipt for something that was never sent, or for a record nobody knows.
    UnknownReceipt,
    /// A reference field holds something that cannot be an id.
    BadReference,
    /// A key value is longer than the limit.
    KeyTooLong,
    /// The merge handler failed on every attempt.
    HandlerFailed,
    /// An earlier version could not do it yet. Not given any more; letters of then may still have it.
    NotSupported,
    /// A change set of which something can't be decided now.
    ChangeSet,
    /// Deciding it ended the process again and again, or the broker gave up on it (delivery limit).
    Poison,
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A message that cannot be processed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The stable code.
    pub reason: DeadReason,
    /// One sentence: what is wrong and what to do.
    pub detail: String,
    /// The field it is about (a JSON pointer or an envelope field), if it is about one.
    pub field: Option<String>,
}

impl Rejection {
    /// A rejection about the message as a whole.
    pub fn new(reason: DeadReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), field: None }
    }

    /// Names the field it is about.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
