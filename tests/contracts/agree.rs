//! Schema and decoder agree about every field with every kind of value in every form of message.

use serde_json::{Value, json};
use syncline::schema::{Contract, Form};
use syncline::wire::{Limits, Transport, decode};

use crate::support::{form, schema};

const OURS: [&str; 20] = [
    "traceparent",
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
    "x-own",
    "change_set",
    "nobody",
];
const ATTRIBUTES: [&str; 24] = [
    "traceparent",
    "id",
    "source",
    "type",
    "op",
    "subject",
    "newnativeid",
    "data",
    "base",
    "seq",
    "seqepoch",
    "time",
    "canonicalid",
    "rev",
    "status",
    "stored",
    "reason",
    "specversion",
    "datacontenttype",
    "data_base64",
    "new_native_id",
    "canonical_id",
    "nobody",
    "change_set",
];
/// What the decoder does not look at in a receipt; the schema wants it to be what it is elsewhere.
const IDLE: [&str; 6] = ["base", "seq", "seq_epoch", "seqepoch", "occurred_at", "time"];

fn values() -> Vec<Value> {
    let mut values =
        vec![json!(null), json!(true), json!(false), json!(0), json!(3), json!(-1), json!(1.5), json!(u64::MAX), json!(i64::MIN)];
    values.extend([json!(""), json!("x"), json!("BMS"), json!("a\u{0}b"), json!("x".repeat(181)), json!("x".repeat(201)), json!("1.0")]);
    values.extend([
        json!("2026-01-31T09:30:00Z"),
        json!("0192f0c4-7c1e-7aaa-8000-0000000000aa"),
        json!("application/json"),
        json!("text/plain"),
    ]);
    values.extend([
        json!("applied"),
        json!("failed"),
        json!("upsert"),
        json!("delete"),
        json!([]),
        json!([1]),
        json!({}),
        json!({ "a": 1 }),
    ]);
    values
}

fn messages() -> Vec<Value> {
    let ours = json!({ "id": "u-1", "system": "bms", "type": "device", "native_id": "bmsD1" });
    let with = |more: Value| {
        let mut message = ours.clone();
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let event = json!({ "specversion": "1.0", "id": "ce-1", "source": "bms", "type": "device" });
    let event_with = |more: Value| {
        let mut message = event.clone();
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let canonical_id = "0192f0c4-7c1e-7aaa-8000-0000000000aa";
    vec![
        with(json!({ "entity": { "a": 1 } })),
        with(json!({ "op": "patch", "entity": { "a": 1 }, "seq": 1, "seq_epoch": "a" })),
        with(json!({ "op": "delete" })),
        with(json!({ "op": "rekey", "new_native_id": "bmsD2" })),
        with(json!({ "op": "receipt", "rev": 1, "status": "applied", "canonical_id": canonical_id })),
        with(json!({ "op": "receipt", "rev": 1, "status": "rejected", "native_id": null, "canonical_id": canonical_id })),
        event_with(json!({ "subject": "bmsD1", "data": { "a": 1 } })),
        event_with(json!({ "op": "rekey", "subject": "bmsD1", "newnativeid": "bmsD2", "seq": 1, "seqepoch": "a" })),
        event_with(json!({ "op": "receipt", "subject": "bmsD1", "rev": 1, "status": "failed", "canonicalid": canonical_id })),
    ]
}

#[test]
fn about_every_field_with_every_kind_of_value() {
    let inbound = schema(Contract::Inbound);
    let forms: Vec<_> = Form::ALL.iter().map(|form| schema(Contract::Sent(*form))).collect();
    let transport = Transport { message_id: Some("m-1".to_owned()), ..Transport::default() };
    let (mut taken, mut refused, mut disagreed) = (0, 0, Vec::new());
    let mut compare = |message: &Value, changed: &str| {
        let decoded = decode(message.to_string().as_bytes(), &transport, &Limits::default());
        let valid = inbound.is_valid(message);
        // A message has one form.
        assert_eq!(forms.iter().filter(|form| form.is_valid(message)).count(), usize::from(valid), "{message}");
        if decoded.is_ok() {
            taken += 1;
        } else {
            refused += 1;
        }
        let idle = message["op"] == "receipt" && IDLE.contains(&changed);
        // CloudEvents has no such names; the decoder is generous there.
        let underscore = message.get("specversion").is_some() && ["new_native_id", "canonical_id"].contains(&changed);
        if valid != decoded.is_ok() && (valid || !(idle || underscore)) {
            disagreed.push(format!("schema {valid}, decoder {:?}: {message}", decoded.err().map(|problem| problem.to_string())));
        }
    };
    for message in messages() {
        let fields: &[&str] = if message.get("specversion").is_some() { &ATTRIBUTES } else { &OURS };
        compare(&message, "");
        for field in fields {
            let mut without = message.clone();
            without.as_object_mut().unwrap().remove(*field);
            compare(&without, field);
            for value in values() {
                let mut changed = message.clone();
                changed[*field] = value;
                compare(&changed, field);
                for op in ["patch", "delete", "rekey", "receipt"] {
                    changed["op"] = op.into();
                    compare(&changed, field);
                }
            }
        }
    }
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
    disagreed.truncate(20);
    assert!(disagreed.is_empty(), "{}", disagreed.join("\n"));
}

#[test]
fn about_which_form_a_message_has() {
    let inbound = schema(Contract::Inbound);
    for message in messages() {
        assert!(inbound.is_valid(&message) && schema(form(&message)).is_valid(&message), "{message}");
    }
}
