//! What systems say, as scenes write it.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::time::Timestamp;

/// One message on its way in.
#[derive(Clone, Debug)]
pub struct Message(Value);

/// A whole record.
pub fn whole(system: &str, entity_type: &str, native_id: &str, entity: Value) -> Message {
    Message(json!({"system": system, "type": entity_type, "native_id": native_id, "entity": entity}))
}

/// Only the changed fields.
pub fn patch(system: &str, entity_type: &str, native_id: &str, entity: Value) -> Message {
    whole(system, entity_type, native_id, entity).with("op", "patch")
}

/// The record is gone there.
pub fn delete(system: &str, entity_type: &str, native_id: &str) -> Message {
    Message(json!({"system": system, "type": entity_type, "native_id": native_id, "op": "delete"}))
}

/// The record has another id there.
pub fn rekey(system: &str, entity_type: &str, native_id: &str, new: &str) -> Message {
    Message(json!({"system": system, "type": entity_type, "native_id": native_id, "op": "rekey", "new_native_id": new}))
}

impl Message {
    /// An envelope.
    pub const fn of(body: Value) -> Self {
        Self(body)
    }
    /// The envelope.
    pub fn body(self) -> Value {
        self.0
    }
    /// Any part of the envelope.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }
    /// The envelope without a part of it.
    pub fn without(mut self, name: &str) -> Self {
        self.0.as_object_mut().and_then(|envelope| envelope.remove(name));
        self
    }
    pub fn id(self, id: &str) -> Self {
        self.with("id", id)
    }
    pub fn base(self, rev: u64) -> Self {
        self.with("base", rev)
    }
    pub fn seq(self, seq: u64) -> Self {
        self.with("seq", seq)
    }
    /// Happened so many seconds after the scene began.
    pub fn at(self, seconds: u64) -> Self {
        let time = Timestamp::from_micros(BEGIN).plus(Duration::from_secs(seconds));
        self.with("occurred_at", time.to_string())
    }
}

/// When every scene begins, in microseconds.
pub const BEGIN: i64 = 1_767_225_600_000_000;
