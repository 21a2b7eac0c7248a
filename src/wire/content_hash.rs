//! A hash of what a message says: tells a redelivery (same id, same content) from a reused id (same id, other content).
//!
//! It covers system, type, op, ids and content, never what a transport adds or what may differ between two deliveries of
//! one thing (`seq`, `base`, `occurred_at`, `reason`). Key order and white space do not matter; 1 and 1.0 hash differently.
//! **Hashes are stored for ever, so the byte form below never changes**; `tests/compat/v1` holds it still.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use crate::domain::change::{ChangeBody, Receipt, ReceiptStatus, Record};
use crate::domain::ids::{CanonicalId, NativeKey};

/// A name for bytes that can't be read as a message.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// The hash of a change.
#[must_use]
pub fn of_change(key: &NativeKey, body: &ChangeBody, canonical_id: Option<&CanonicalId>) -> u64 {
    let mut form = Form::new();
    form.text(key.system.as_str());
    form.text(key.entity_type.as_str());
    form.text(key.native_id.as_str());
    form.canonical_id(canonical_id);
    match body {
        ChangeBody::Upsert(record) => {
            form.tag(b'U');
            form.object(record);
        }
        ChangeBody::Patch(record) => {
            form.tag(b'P');
            form.object(record);
        }
        ChangeBody::Delete => form.tag(b'D'),
        ChangeBody::Rekey(new) => {
            form.tag(b'K');
            form.text(new.as_str());
        }
    }
    form.0.digest()
}

/// The hash of a receipt; its own `content_hash` is not looked at.
#[must_use]
pub fn of_receipt(receipt: &Receipt) -> u64 {
    let mut form = Form::new();
    form.text(receipt.system().as_str());
    form.text(receipt.entity_type.as_str());
    match &receipt.native_id {
        Some(id) => form.text(id.as_str()),
        None => form.tag(b'-'),
    }
    form.canonical_id(receipt.canonical_id.as_ref());
    form.tag(b'R');
    form.number(b'u', receipt.rev.to_le_bytes());
    form.tag(match receipt.status {
        ReceiptStatus::Applied => b'A',
        ReceiptStatus::Failed => b'F',
        ReceiptStatus::Rejected => b'J',
    });
    form.object(&receipt.stored);
    form.0.digest()
}

/// The canonical byte form: every part starts with a tag, and texts and containers say their length, so that no two
/// different contents have the same bytes.
struct Form(Xxh3);

impl Form {
    fn new() -> Self {
        Self(Xxh3::new())
    }

    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn number(&mut self, tag: u8, bytes: [u8; 8]) {
        let mut part = [tag; 9];
        part[1..].copy_from_slice(&bytes);
        self.0.update(&part);
    }

    fn text(&mut self, text: &str) {
        self.number(b's', (text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn canonical_id(&mut self, id: Option<&CanonicalId>) {
        match id {
            Some(id) => {
                self.tag(b'c');
                self.0.update(id.as_bytes());
            }
            None => self.tag(b'-'),
        }
    }

    fn object(&mut self, record: &Record) {
        self.number(b'{', (record.len() as u64).to_le_bytes());
        // The map is sorted by key, so the order in which the fields were sent does not show.
        for (name, value) in record {
            self.text(name);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(b'n'),
            Value::Bool(false) => self.tag(b'0'),
            Value::Bool(true) => self.tag(b'1'),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(unsigned), _) => self.number(b'u', unsigned.to_le_bytes()),
                (None, Some(signed)) => self.number(b'i', signed.to_le_bytes()),
                (None, None) => self.number(b'f', number.as_f64().unwrap_or_default().to_bits().to_le_bytes()),
            },
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.number(b'[', (items.len() as u64).to_le_bytes());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(map) => self.object(map),
        }
    }
}

/// The hash of any JSON object in the same byte form, for callers that compare contents of their own.
#[must_use]
pub fn of_record(record: &Map<String, Value>) -> u64 {
    let mut form = Form::new();
    form.object(record);
    form.0.digest()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::of_record;

    fn hash(value: &Value) -> u64 {
        of_record(value.as_object().expect("an object"))
    }

    #[test]
    fn different_contents_differ_and_key_order_does_not_matter() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "b":{"d":3,"c":2}, "a":1 }"#).unwrap();
        assert_eq!(hash(&a), hash(&b));
        let distinct = [
            json!({}),
            json!({ "a": null }),
            json!({ "a": false }),
            json!({ "a": true }),
            json!({ "a": 0 }),
            json!({ "a": 0.0 }),
            json!({ "a": -1 }),
            json!({ "a": u64::MAX }),
            json!({ "a": "" }),
            json!({ "a": [] }),
            json!({ "a": {} }),
            json!({ "a": [[]] }),
            json!({ "a": "b", "c": "d" }),
            json!({ "a": "bc", "d": "" }),
            json!({ "a": ["b", "c"] }),
            json!({ "a": ["bc"] }),
        ];
        let mut hashes: Vec<u64> = distinct.iter().map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), distinct.len());
    }
}
