//! The forms of what an adapter sends: the contract's types, narrowed to what the decoder takes of each.
//!
//! A null counts as absent, as it does there, so every field that may be left out may also be null.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use syncline_contract::{ChangeSet, Op, Update};

use super::tidy;

/// One form of what an adapter sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole native record.
    Upsert,
    /// Only the changed fields.
    Patch,
    /// The record is gone.
    Delete,
    /// The record has a new id.
    Rekey,
    /// The answer to a message.
    Receipt,
    /// Several updates, all or none.
    ChangeSet,
    /// Any of the first five as CloudEvents 1.0, structured.
    CloudEvent,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 7] = [Self::Upsert, Self::Patch, Self::Delete, Self::Rekey, Self::Receipt, Self::CloudEvent, Self::ChangeSet];
    /// Those that say one thing.
    pub const SINGLE: [Self; 6] = [Self::Upsert, Self::Patch, Self::Delete, Self::Rekey, Self::Receipt, Self::CloudEvent];

    /// Its name: of its schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Rekey => "rekey",
            Self::Receipt => "receipt",
            Self::ChangeSet => "change-set",
            Self::CloudEvent => "cloud-event",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Upsert => "A whole native record",
            Self::Patch => "The changed fields of a native record",
            Self::Delete => "A native record is gone",
            Self::Rekey => "A native record has a new id",
            Self::Receipt => "The answer to a message",
            Self::ChangeSet => "Several updates, all or none",
            Self::CloudEvent => "An update as a CloudEvent",
        }
    }

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Upsert => "The record as the system has it now. A field left out is not said, a field that is null is cleared.",
            Self::Patch => "Only the fields that changed. A field that is null is cleared.",
            Self::Delete => "The record does not exist any more in this system.",
            Self::Rekey => "The record is the same, its id in this system is another one.",
            Self::Receipt => {
                "What became of one message to this system. It goes into the same stream as the record's updates, before anything \
                 that was read after applying."
            }
            Self::ChangeSet => "Updates of one system that are decided together: all of them or none.",
            Self::CloudEvent => {
                "CloudEvents 1.0, structured JSON: source is the system, subject the native id, data the record. Our other fields \
                 are extension attributes; other attributes are ignored."
            }
        }
    }

    /// The schema; the forms it refers to are at `place`.
    pub(super) fn body(self, place: &str) -> Value {
        match self {
            Self::Upsert => envelope(self, Op::Upsert),
            Self::Patch => envelope(self, Op::Patch),
            Self::Delete => envelope(self, Op::Delete),
            Self::Rekey => envelope(self, Op::Rekey),
            Self::Receipt => envelope(self, Op::Receipt),
            Self::ChangeSet => change_set(place),
            Self::CloudEvent => cloud_event(),
        }
    }

    /// What has to be there besides system, type and op; the entry of a set also needs its id.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Upsert | Self::Patch => &["native_id", "entity"],
            Self::Delete => &["native_id"],
            Self::Rekey => &["native_id", "new_native_id"],
            Self::Receipt => &["rev", "status"],
            Self::ChangeSet | Self::CloudEvent => &[],
        }
    }

    /// Fields of other forms, which must not be there.
    const fn foreign(self) -> &'static [&'static str] {
        match self {
            Self::Upsert | Self::Patch => &["new_native_id", "rev", "status", "stored", "reason"],
            Self::Delete => &["entity", "new_native_id", "rev", "status", "stored", "reason"],
            Self::Rekey => &["entity", "rev", "status", "stored", "reason"],
            Self::Receipt => &["entity", "new_native_id"],
            Self::ChangeSet | Self::CloudEvent => &[],
        }
    }
}

/// References to forms.
pub(super) fn references(forms: &[Form], place: &str) -> Vec<Value> {
    forms.iter().map(|form| json!({ "$ref": format!("{place}{}", form.name()) })).collect()
}

/// The fields of a type as they are read.
fn fields<T: schemars::JsonSchema>() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut value);
    match value.get_mut("properties").map(Value::take) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// A null counts as absent.
fn or_null(schema: &mut Value) {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(kind) => *kind = json!([kind.take(), "null"]),
        None => {
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            *schema = json!({ "anyOf": [schema.take(), { "type": "null" }] });
            if let Some(description) = description {
                schema["description"] = description;
            }
        }
    }
}

fn envelope(form: Form, op: Op) -> Value {
    let mut fields = fields::<Update>();
    fields.retain(|name, _| !form.foreign().contains(&name.as_str()));
    let mut required = vec!["system", "type"];
    required.extend(form.required());
    fields["op"]["description"] = json!("What the update says.");
    if op == Op::Upsert {
        fields["op"] =
            json!({ "enum": ["upsert", null], "default": "upsert", "description": "What the update says; upsert where nothing is said." });
    } else {
        fields["op"] = json!({ "const": form.name(), "description": "What the update says." });
        required.push("op");
    }
    for (_, schema) in fields.iter_mut().filter(|(name, _)| *name != "op" && !required.contains(&name.as_str())) {
        or_null(schema);
    }
    let mut schema = json!({
        "type": "object", "properties": fields, "required": required, "additionalProperties": false,
        "patternProperties": {
            // Free for everyone.
            "^x-": true,
            "^change_set$": { "enum": [false, null] },
            format!("^({})$", form.foreign().join("|")): { "type": "null" },
        },
    });
    match form {
        Form::Receipt => schema["anyOf"] = either_id("native_id", "canonical_id"),
        _ => merge(&mut schema, epoch_needs_seq("seq_epoch")),
    }
    schema
}

/// A receipt names the record by one of its ids; one that says it was applied, by the native one.
fn either_id(native_id: &str, canonical_id: &str) -> Value {
    json!([
        { "required": [native_id], "properties": { native_id: { "type": ["string", "integer"] } } },
        { "required": [canonical_id], "properties": { canonical_id: { "type": "string" }, "status": { "enum": ["failed", "rejected"] } } },
    ])
}

fn epoch_needs_seq(epoch: &str) -> Value {
    json!({
        "if": { "required": [epoch], "properties": { epoch: { "type": "string" } } },
        "then": { "required": ["seq"], "properties": { "seq": { "type": "integer" } } },
    })
}

fn merge(schema: &mut Value, more: Value) {
    if let (Value::Object(schema), Value::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}

fn change_set(place: &str) -> Value {
    let mut fields = fields::<ChangeSet>();
    let described = |mut schema: Value, old: &Value| {
        schema["description"] = old["description"].clone();
        schema
    };
    or_null(&mut fields["id"]);
    or_null(&mut fields["traceparent"]);
    fields["change_set"] =
        described(json!({ "anyOf": [{ "const": true }, { "type": "string", "minLength": 1, "maxLength": 200 }] }), &fields["change_set"]);
    let of_a_set = json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
    let update = json!({ "allOf": [{ "anyOf": references(&Form::SINGLE, place) }, of_a_set] });
    fields["updates"] = described(json!({ "type": "array", "minItems": 1, "items": update }), &fields["updates"]);
    json!({
        "type": "object", "properties": fields, "required": ["change_set", "updates"], "additionalProperties": false,
        "patternProperties": { "^x-": true },
    })
}

/// What our fields are called as attributes of a CloudEvent.
fn attribute(name: &str) -> &str {
    match name {
        "system" => "source",
        "native_id" => "subject",
        "occurred_at" => "time",
        "entity" => "data",
        "new_native_id" => "newnativeid",
        "seq_epoch" => "seqepoch",
        "canonical_id" => "canonicalid",
        other => other,
    }
}

fn cloud_event() -> Value {
    let mut attributes = Map::new();
    for (name, mut schema) in fields::<Update>() {
        if !["system", "type"].contains(&name.as_str()) {
            or_null(&mut schema);
        }
        attributes.insert(attribute(&name).to_owned(), schema);
    }
    attributes.insert("specversion".to_owned(), json!({ "const": "1.0" }));
    let json_type = json!({
        "type": ["string", "null"], "pattern": "^\\s*([aA][pP][pP][lL][iI][cC][aA][tT][iI][oO][nN]/[jJ][sS][oO][nN]|[tT][eE][xX][tT]/[jJ][sS][oO][nN]|[^;]*\\+[jJ][sS][oO][nN])\\s*(;.*)?$",
        "description": "The type of data: JSON, application/json.",
    });
    attributes.insert("datacontenttype".to_owned(), json_type);
    attributes.insert("data_base64".to_owned(), json!(false));
    let mut rules: Vec<Value> =
        [Form::Upsert, Form::Patch, Form::Delete, Form::Rekey, Form::Receipt].into_iter().map(of_cloud_event).collect();
    rules.push(epoch_needs_seq("seqepoch"));
    json!({
        "type": "object", "properties": attributes, "required": ["specversion", "source", "type"], "allOf": rules,
        // Names of attributes have no underscore.
        "patternProperties": {
            "^(new_native_id|seq_epoch|canonical_id)$": { "type": "null" },
            // With it, the message is a set.
            "^change_set$": { "enum": [false, null] },
        },
    })
}

fn of_cloud_event(form: Form) -> Value {
    let condition = match form {
        Form::Upsert => json!({ "properties": { "op": { "enum": ["upsert", null] } } }),
        _ => json!({ "properties": { "op": { "const": form.name() } }, "required": ["op"] }),
    };
    let required: Vec<&str> = form.required().iter().map(|name| attribute(name)).collect();
    let there = required.iter().map(|name| ((*name).to_owned(), json!({ "not": { "type": "null" } })));
    let absent = form.foreign().iter().map(|name| (attribute(name).to_owned(), json!({ "type": "null" })));
    let properties: Map<String, Value> = there.chain(absent).collect();
    let mut then = json!({ "required": required, "properties": properties });
    if form == Form::Receipt {
        then["anyOf"] = either_id("subject", "canonicalid");
    }
    json!({ "if": condition, "then": then })
}
