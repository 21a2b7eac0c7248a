//! The fields of one envelope, taken out of the JSON object, and the readers that turn them into checked values.

use serde_json::{Map, Value};

use super::clues::{Clues, readable};
use super::limits::Limits;
use super::strict_json::{shortened, too_many_fields};
use super::suggest;
use crate::domain::change::{DeadReason, Record, Rejection};
use crate::domain::ids::{CanonicalId, NativeId};
use crate::domain::time::Timestamp;

/// Every name an envelope may have.
const KNOWN: [&str; 17] = [
    "id",
    "system",
    "type",
    "op",
    "native_id",
    "new_native_id",
    "entity",
    "base",
    "seq",
    "seq_epoch",
    "occurred_at",
    "canonical_id",
    "rev",
    "status",
    "stored",
    "reason",
    "traceparent",
];

/// What the fields are called in the form the message came in, for error messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub system: &'static str,
    pub native_id: &'static str,
    pub entity: &'static str,
    pub occurred_at: &'static str,
}

const OURS: Names = Names { system: "system", native_id: "native_id", entity: "entity", occurred_at: "occurred_at" };
const CLOUD_EVENTS: Names = Names { system: "source", native_id: "subject", entity: "data", occurred_at: "time" };

/// One envelope, sorted into its fields. A null counts as absent.
#[derive(Debug)]
pub(super) struct Envelope {
    pub names: Names,
    pub id: Option<Value>,
    pub system: Option<Value>,
    pub entity_type: Option<Value>,
    pub op: Option<Value>,
    pub native_id: Option<Value>,
    pub new_native_id: Option<Value>,
    pub entity: Option<Value>,
    pub base: Option<Value>,
    pub seq: Option<Value>,
    pub seq_epoch: Option<Value>,
    pub occurred_at: Option<Value>,
    pub canonical_id: Option<Value>,
    pub rev: Option<Value>,
    pub status: Option<Value>,
    pub stored: Option<Value>,
    pub reason: Option<Value>,
    pub traceparent: Option<Value>,
    /// What is wrong with the names or the form; reported once the sender is known.
    pub problem: Option<Rejection>,
}

impl Envelope {
    /// Sorts the fields of our own form, or of a CloudEvents 1.0 message if `specversion` is there.
    pub(super) fn from_map(map: Map<String, Value>) -> Self {
        if map.contains_key("specversion") { Self::from_cloud_event(map) } else { Self::from_ours(map) }
    }

    fn empty(names: Names) -> Self {
        Self {
            names,
            id: None,
            system: None,
            entity_type: None,
            op: None,
            native_id: None,
            new_native_id: None,
            entity: None,
            base: None,
            seq: None,
            seq_epoch: None,
            occurred_at: None,
            canonical_id: None,
            rev: None,
            status: None,
            stored: None,
            reason: None,
            traceparent: None,
            problem: None,
        }
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<Value>> {
        Some(match name {
            "id" => &mut self.id,
            "system" => &mut self.system,
            "type" => &mut self.entity_type,
            "op" => &mut self.op,
            "native_id" => &mut self.native_id,
            "new_native_id" => &mut self.new_native_id,
            "entity" => &mut self.entity,
            "base" => &mut self.base,
            "seq" => &mut self.seq,
            "seq_epoch" => &mut self.seq_epoch,
            "occurred_at" => &mut self.occurred_at,
            "canonical_id" => &mut self.canonical_id,
            "rev" => &mut self.rev,
            "status" => &mut self.status,
            "stored" => &mut self.stored,
            "reason" => &mut self.reason,
            "traceparent" => &mut self.traceparent,
            _ => return None,
        })
    }

    fn from_ours(map: Map<String, Value>) -> Self {
        let mut envelope = Self::empty(OURS);
        for (name, value) in map {
            match envelope.slot(&name) {
                Some(slot) => *slot = Some(value).filter(|value| !value.is_null()),
                // `change_set` is false or null here: a set never comes this way.
                None if name.starts_with("x-") || name == "change_set" => {}
                None => envelope.problem = envelope.problem.take().or_else(|| Some(unknown_field(&name))),
            }
        }
        envelope
    }

    /// CloudEvents names, and our other fields as extension attributes (whose names have no underscore). Other attributes
    /// belong to somebody else and are ignored.
    fn from_cloud_event(map: Map<String, Value>) -> Self {
        let mut envelope = Self::empty(CLOUD_EVENTS);
        for (name, value) in map {
            let ours = match name.as_str() {
                "source" => "system",
                "subject" => "native_id",
                "time" => "occurred_at",
                "data" => "entity",
                "newnativeid" => "new_native_id",
                "seqepoch" => "seq_epoch",
                "canonicalid" => "canonical_id",
                "system" | "native_id" | "occurred_at" | "entity" => continue,
                "specversion" | "datacontenttype" | "data_base64" => {
                    envelope.problem = envelope.problem.take().or_else(|| bad_cloud_event(&name, &value));
                    continue;
                }
                other => other,
            };
            if let Some(slot) = envelope.slot(ours) {
                *slot = Some(value).filter(|value| !value.is_null());
            }
        }
        envelope
    }

    /// Who sent it, as far as it can be read.
    pub(super) fn clues(&self) -> Clues {
        let text = |value: &Option<Value>| value.as_ref().and_then(readable);
        Clues { system: text(&self.system), entity_type: text(&self.entity_type), native_id: text(&self.native_id), id: text(&self.id) }
    }
}

fn unknown_field(name: &str) -> Rejection {
    if name == "updates" {
        return bad("updates", "has its place in a change set only; add \"change_set\": true");
    }
    let hint = suggest::hint(name, &KNOWN);
    let hint = if hint.is_empty() { "; leave it out, or begin its name with x-".to_owned() } else { hint };
    Rejection::new(DeadReason::BadEnvelope, format!("the envelope has no field {:?}{hint}", shortened(name))).at(shortened(name))
}

fn bad_cloud_event(name: &str, value: &Value) -> Option<Rejection> {
    match (name, value.as_str()) {
        ("specversion", Some("1.0")) => None,
        ("specversion", _) => Some(bad(name, "must be \"1.0\"; other CloudEvents versions are not understood")),
        ("datacontenttype", Some(kind)) => {
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let json = kind == "application/json" || kind == "text/json" || kind.ends_with("+json");
            (!json).then(|| bad(name, "must be application/json; send the native record as JSON in data"))
        }
        ("datacontenttype", None) if value.is_null() => None,
        ("datacontenttype", None) => Some(bad(name, "must be text such as application/json")),
        (_, _) => Some(bad(name, "is not supported; send the native record as JSON in data")),
    }
}

/// A rejection of one envelope field; the sentence begins with its name.
pub(super) fn bad(field: &str, problem: &str) -> Rejection {
    Rejection::new(DeadReason::BadEnvelope, format!("{field} {problem}")).at(field)
}

/// A required field that is not there.
pub(super) fn missing(field: &str, meaning: &str) -> Rejection {
    bad(field, &format!("is missing; send {meaning}"))
}

fn wrong_type(field: &str, wanted: &str, value: &Value) -> Rejection {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or exponent",
        Value::Number(number) if number.is_i64() && !number.is_u64() => "a negative number",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    bad(field, &format!("must be {wanted}, not {got}"))
}

/// A text field.
pub(super) fn text<'a>(value: Option<&'a Value>, field: &str) -> Result<Option<&'a str>, Rejection> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(field, "text", other)),
    }
}

/// An unsigned 64-bit integer.
pub(super) fn unsigned(value: Option<&Value>, field: &str) -> Result<Option<u64>, Rejection> {
    value.map(|value| value.as_u64().ok_or_else(|| wrong_type(field, "an integer of 0 or more", value))).transpose()
}

/// A native id; an integer becomes its decimal text.
pub(super) fn native_id(value: Option<&Value>, field: &str, limits: &Limits) -> Result<Option<NativeId>, Rejection> {
    let id = match value {
        None => return Ok(None),
        Some(Value::String(text)) => within(text, field, limits.native_id_bytes).and_then(|()| checked(NativeId::new(text), field)),
        Some(Value::Number(number)) if !number.is_f64() => checked(NativeId::new(number.to_string()), field),
        Some(other) => Err(wrong_type(field, "text or an integer", other)),
    };
    id.map(Some)
}

/// A canonical id.
pub(super) fn canonical_id(value: Option<&Value>) -> Result<Option<CanonicalId>, Rejection> {
    let id = text(value, "canonical_id")?;
    id.map(|id| checked(CanonicalId::parse(id), "canonical_id")).transpose()
}

/// A point in time.
pub(super) fn time(value: Option<&Value>, field: &str) -> Result<Option<Timestamp>, Rejection> {
    let time = text(value, field)?;
    time.map(|time| Timestamp::parse(time).map_err(|problem| bad(field, &format!("cannot be read: {problem}")))).transpose()
}

/// A record, within the limit of fields.
pub(super) fn record(value: Option<Value>, field: &str, limits: &Limits) -> Result<Option<Record>, Rejection> {
    match value {
        None => Ok(None),
        Some(Value::Object(record)) if leaves(&record) > limits.fields => {
            Err(Rejection::new(DeadReason::TooManyFields, format!("{field}: {}", too_many_fields(limits.fields))).at(field))
        }
        Some(Value::Object(record)) => Ok(Some(record)),
        Some(other) => Err(wrong_type(field, "an object", &other)),
    }
}

/// How many fields a record has when nested objects are spelt out as paths; arrays and empty objects count as one.
fn leaves(record: &Record) -> usize {
    let inside = |value: &Value| match value {
        Value::Object(nested) => leaves(nested).max(1),
        _ => 1,
    };
    record.values().map(inside).sum()
}

/// An id that keeps to its own rule, or a rejection that names the field.
pub(super) fn checked<T>(id: Result<T, crate::domain::ids::InvalidId>, field: &str) -> Result<T, Rejection> {
    id.map_err(|invalid| Rejection::new(DeadReason::BadId, format!("{field}: {:?} {}", invalid.value, invalid.rule)).at(field))
}

/// Checks a configured length limit, which may be tighter than the id's own rule.
pub(super) fn within(text: &str, field: &str, max: usize) -> Result<(), Rejection> {
    if text.len() <= max {
        return Ok(());
    }
    let detail = format!("{field} has {} bytes, the limit is {max}: {:?}", text.len(), shortened(text));
    Err(Rejection::new(DeadReason::BadId, detail).at(field))
}
