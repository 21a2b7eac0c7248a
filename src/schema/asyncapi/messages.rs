//! The messages of the document, each with an example.

use serde_json::{Value, json};

use super::model::{Example, Message, Named, Reference};
use crate::schema::{Contract, Form};

/// Where the document keeps schemas.
pub(super) const SCHEMAS: &str = "#/components/schemas/";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CANONICAL: &str = "0192f0c4-7c1e-7aaa-8000-0000000000aa";

/// An example of what an adapter sends.
fn sent(form: Form) -> Value {
    match form {
        Form::Upsert => json!({
            "id": "0192f0c4-7c1e-7aaa-8000-000000000001", "system": "bms", "type": "device", "op": "upsert", "native_id": "bmsD1",
            "entity": { "serial": "SN-001", "name": "Air handler", "parent_id": "bmsP1" },
            "base": 3, "seq": 1042, "occurred_at": "2026-01-31T09:30:00Z",
        }),
        Form::Patch => {
            json!({ "id": "u-3", "system": "bms", "type": "device", "op": "patch", "native_id": "bmsD1", "entity": { "name": null } })
        }
        Form::Delete => json!({ "id": "u-4", "system": "bms", "type": "device", "op": "delete", "native_id": "bmsD1" }),
        Form::Rekey => {
            json!({ "id": "u-5", "system": "bms", "type": "device", "op": "rekey", "native_id": "bmsD1", "new_native_id": "bmsD2" })
        }
        Form::Receipt => json!({
            "id": "r-1", "system": "oem", "type": "device", "op": "receipt", "native_id": "oemD9", "canonical_id": CANONICAL,
            "rev": 1, "status": "applied", "stored": { "name": "Air handl" },
        }),
        Form::ChangeSet => json!({
            "id": "set-17", "change_set": true, "updates": [
                { "id": "set-17-1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": { "serial": "SN-001" } },
                { "id": "set-17-2", "system": "bms", "type": "sensor", "op": "delete", "native_id": "bmsS1" },
            ],
        }),
        Form::CloudEvent => json!({
            "specversion": "1.0", "id": "ce-1", "source": "bms", "type": "device", "subject": "bmsD1", "time": "2026-01-31T09:30:00Z",
            "datacontenttype": "application/json", "data": { "serial": "SN-001", "name": "Air handler" },
        }),
    }
}

/// An example of what a system is sent.
fn received(op: &str) -> Value {
    let (native_id, rev, version, entity, changed) = match op {
        "create" => (Value::Null, 1, 1, json!({ "serial_no": "SN-001", "name": "Air handler" }), json!(["name", "serial_no"])),
        "update" => (json!("oemD1"), 4, 12, json!({ "id": "oemD1", "serial_no": "SN-001", "name": "Air handler 1" }), json!(["name"])),
        _ => (json!("oemD1"), 5, 13, json!({}), json!([])),
    };
    json!({
        "id": format!("{CANONICAL}:oem:{rev}"), "type": "device", "op": op, "native_id": native_id, "canonical_id": CANONICAL,
        "rev": rev, "epoch": 1, "version": version, "entity": entity, "changed": changed,
    })
}

fn inbound(form: Form) -> Message {
    let contract = Contract::Sent(form);
    Message {
        name: form.name().to_owned(),
        title: contract.title().to_owned(),
        description: contract.description().to_owned(),
        content_type: if form == Form::CloudEvent { "application/cloudevents+json" } else { "application/json" },
        headers: Some(json!({
            "type": "object",
            "properties": { "traceparent": { "type": "string", "description": "The trace of a body that names none." } },
        })),
        payload: Reference::to(format!("{SCHEMAS}{}", form.name())),
        examples: vec![Example { name: form.name().to_owned(), headers: Some(json!({ "traceparent": TRACE })), payload: sent(form) }],
    }
}

fn outbound() -> Message {
    let headers = json!({
        "type": "object", "required": ["rev", "op"],
        "properties": {
            "rev": { "type": "integer", "minimum": 0, "description": "As rev in the body." },
            "op": { "enum": ["create", "update", "delete"], "description": "As op in the body." },
            "traceparent": { "type": "string", "description": "As traceparent in the body, if there is one." },
        },
    });
    let example = |op: &str| {
        let payload = received(op);
        Example { name: op.to_owned(), headers: Some(json!({ "rev": payload["rev"], "op": op })), payload }
    };
    Message {
        name: "outbound".to_owned(),
        title: Contract::Outbound.title().to_owned(),
        description: format!(
            "{} The AMQP property message_id repeats id, the property type repeats type.",
            Contract::Outbound.description()
        ),
        content_type: "application/json",
        headers: Some(headers),
        payload: Reference::to(format!("{SCHEMAS}outbound")),
        examples: vec![example("create"), example("update"), example("delete")],
    }
}

fn event() -> Message {
    Message {
        name: "event".to_owned(),
        title: "A small fact about a decision".to_owned(),
        description: "One for every decision: for caches, search and analytics. Not for adapters.".to_owned(),
        content_type: "application/json",
        headers: None,
        payload: Reference::to(format!("{SCHEMAS}event")),
        examples: Vec::new(),
    }
}

/// What `engine::facts` writes.
fn fact() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let maybe = |description: &str| json!({ "type": ["string", "null"], "description": description });
    json!({
        "type": "object",
        "title": "A small fact about a decision",
        "required": ["update", "timestamp", "type", "source_system", "op", "decision", "changed", "version"],
        "properties": {
            "update": text("Which update, as system:id."),
            "timestamp": text("When it was decided; with update it names this state of the decision."),
            "type": text("The entity type."),
            "canonical_id": maybe("The record; null while it is not known which."),
            "source_system": text("Where the update came from."),
            "native_id": maybe("The record's id there."),
            "op": text("What the update did."),
            "decision": text("What became of it."),
            "changed": { "type": "array", "items": { "type": "string" }, "description": "The fields the source changed." },
            "version": { "type": "integer", "description": "The canonical version after it." },
        },
    })
}

/// Every message, and the schemas of their bodies.
pub(super) fn all(push: bool, events: bool) -> (Named<Message>, Named<Value>) {
    let body = |contract: Contract| (contract.name().to_owned(), contract.body(SCHEMAS));
    let mut messages: Named<Message> = Form::ALL.iter().map(|form| (form.name().to_owned(), inbound(*form))).collect();
    let mut schemas: Named<Value> = Form::ALL.iter().map(|form| body(Contract::Sent(*form))).collect();
    if push {
        messages.insert("outbound".to_owned(), outbound());
        schemas.extend([body(Contract::Outbound)]);
    }
    if events {
        messages.insert("event".to_owned(), event());
        schemas.insert("event".to_owned(), fact());
    }
    (messages, schemas)
}
