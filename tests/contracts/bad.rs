//! Messages that the decoder refuses, and which of them a schema refuses, too.

use serde_json::{Value, json};
use syncline::schema::Contract;
use syncline::wire::{Limits, Transport, decode};

use crate::support::{assert_good, form, schema};

fn laid_over(mut base: Value, overlay: &Value) -> Value {
    for (name, value) in overlay.as_object().unwrap() {
        if value == "absent" {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

fn upsert() -> Value {
    json!({ "id": "u-1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": { "serial": "SN-001" } })
}

fn receipt() -> Value {
    json!({ "id": "r-1", "system": "oem", "type": "device", "op": "receipt", "native_id": "oemD9", "rev": 1,
        "canonical_id": "0192f0c4-7c1e-7aaa-8000-000000000001", "status": "applied" })
}

fn cloud_event() -> Value {
    json!({ "specversion": "1.0", "id": "ce-1", "source": "bms", "type": "device", "subject": "bmsD1", "data": { "serial": "SN-001" } })
}

fn fields(count: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("f{n}"), json!(n))).collect())
}

fn decodes(message: &Value) -> bool {
    decode(message.to_string().as_bytes(), &Transport::default(), &Limits::default()).is_ok()
}

fn assert_bad(message: &Value) {
    assert!(!decodes(message), "the decoder takes it: {message}");
    assert!(!schema(Contract::Inbound).is_valid(message), "the schema of all takes it: {message}");
    if message["op"].as_str().is_none_or(|op| ["upsert", "patch", "delete", "rekey", "receipt"].contains(&op)) {
        assert!(!schema(form(message)).is_valid(message), "its own schema takes it: {message}");
    }
}

#[test]
fn updates_that_the_decoder_refuses_are_refused_by_the_schema() {
    for overlay in [
        json!({ "system": "absent" }),
        json!({ "system": null }),
        json!({ "system": "BMS" }),
        json!({ "system": "a".repeat(33) }),
        json!({ "type": true }),
        json!({ "native_id": "absent" }),
        json!({ "native_id": "" }),
        json!({ "native_id": "x".repeat(181) }),
        json!({ "native_id": 1.5 }),
        json!({ "native_id": "a\u{0}b" }),
        json!({ "native_id": { "a": 1 } }),
        json!({ "id": 5 }),
        json!({ "id": "" }),
        json!({ "id": "x".repeat(201) }),
        json!({ "id": "a\u{0}b" }),
        json!({ "op": "Upsert" }),
        json!({ "op": 1 }),
        json!({ "op": "delete" }),
        json!({ "op": "rekey", "entity": "absent" }),
        json!({ "op": "rekey", "entity": "absent", "new_native_id": "" }),
        json!({ "op": "patch", "entity": [] }),
        json!({ "entity": null }),
        json!({ "entity": "text" }),
        json!({ "entity": fields(1001) }),
        json!({ "entity": { "": 1 } }),
        json!({ "entity": { "n".repeat(257): 1 } }),
        json!({ "entity": { "a\u{0}b": 1 } }),
        json!({ "new_native_id": "x" }),
        json!({ "rev": 3 }),
        json!({ "status": "applied" }),
        json!({ "stored": {} }),
        json!({ "reason": "why" }),
        json!({ "base": -1 }),
        json!({ "base": 1.5 }),
        json!({ "base": "3" }),
        json!({ "seq": "3" }),
        json!({ "seq_epoch": "a" }),
        json!({ "seq": 1, "seq_epoch": 2 }),
        json!({ "seq": 1, "seq_epoch": "x".repeat(201) }),
        json!({ "occurred_at": "yesterday" }),
        json!({ "occurred_at": 1_700_000_000 }),
        json!({ "canonical_id": "17" }),
        json!({ "nativeId": "x" }),
        json!({ "updates": [] }),
    ] {
        assert_bad(&laid_over(upsert(), &overlay));
    }
}

#[test]
fn receipts_that_the_decoder_refuses_are_refused_by_the_schema() {
    for overlay in [
        json!({ "rev": "absent" }),
        json!({ "rev": "1" }),
        json!({ "status": "absent" }),
        json!({ "status": "ok" }),
        json!({ "native_id": "absent" }),
        json!({ "native_id": null }),
        json!({ "native_id": null, "canonical_id": null, "status": "failed" }),
        json!({ "stored": [] }),
        json!({ "reason": 5 }),
        json!({ "entity": {} }),
    ] {
        assert_bad(&laid_over(receipt(), &overlay));
    }
}

#[test]
fn sets_and_events_that_the_decoder_refuses_are_refused_by_the_schema() {
    let set = json!({ "id": "set-1", "change_set": true, "updates": [upsert()] });
    for overlay in [
        json!({ "change_set": 1 }),
        json!({ "updates": "absent" }),
        json!({ "updates": [] }),
        json!({ "updates": {} }),
        json!({ "updates": [5] }),
        json!({ "updates": [laid_over(upsert(), &json!({ "id": "absent" }))] }),
        json!({ "updates": [set] }),
        json!({ "update": 1 }),
    ] {
        assert_bad(&laid_over(set.clone(), &overlay));
    }
    for overlay in [
        json!({ "specversion": "0.3" }),
        json!({ "subject": "absent" }),
        json!({ "data": "absent" }),
        json!({ "data_base64": "AAAA" }),
        json!({ "datacontenttype": "text/plain" }),
        json!({ "op": "delete" }),
        json!({ "op": "receipt", "data": "absent", "rev": 1 }),
        json!({ "rev": 1 }),
        json!({ "seqepoch": "a" }),
    ] {
        assert_bad(&laid_over(cloud_event(), &overlay));
    }
}

#[test]
fn what_the_decoder_takes_at_the_edges_is_taken_by_the_schema() {
    for overlay in [
        json!({ "native_id": 4711 }),
        json!({ "native_id": i64::MIN }),
        json!({ "native_id": u64::MAX, "base": u64::MAX }),
        json!({ "op": null, "base": null, "seq": null, "seq_epoch": null, "occurred_at": null, "canonical_id": null }),
        json!({ "rev": null, "status": null, "stored": null, "reason": null, "new_native_id": null, "change_set": false }),
        json!({ "x-trace": { "a": 1 } }),
        json!({ "seq": 1, "seq_epoch": "" }),
        json!({ "entity": {} }),
        json!({ "entity": fields(1000) }),
        json!({ "op": "patch" }),
        json!({ "op": "delete", "entity": null }),
        json!({ "op": "rekey", "entity": null, "new_native_id": 7 }),
    ] {
        assert_good("upsert", &laid_over(upsert(), &overlay));
    }
    for overlay in [
        json!({ "native_id": null, "status": "failed", "reason": "locked" }),
        json!({ "canonical_id": null }),
        json!({ "stored": fields(1000) }),
        json!({ "seq": 3, "occurred_at": "2026-01-31T09:30:00Z" }),
    ] {
        assert_good("receipt", &laid_over(receipt(), &overlay));
    }
    for overlay in [
        json!({ "op": "delete", "data": null }),
        json!({ "op": "rekey", "data": null, "newnativeid": "bmsD2" }),
        json!({ "subject": 17, "system": 5, "dataschema": "https://example.org/x", "datacontenttype": "Application/JSON; charset=utf-8" }),
        json!({ "seq": 1, "seqepoch": "a", "canonicalid": "0192f0c4-7c1e-7aaa-8000-000000000001" }),
    ] {
        assert_good("cloud event", &laid_over(cloud_event(), &overlay));
    }
    let named = json!({ "change_set": "set-1", "updates": [upsert(), laid_over(receipt(), &json!({ "id": "r-9" })), cloud_event()] });
    assert_good("set", &named);
    // Over AMQP the id may be a property of the message.
    let without_id = laid_over(upsert(), &json!({ "id": "absent" }));
    assert!(schema(Contract::Inbound).is_valid(&without_id) && !decodes(&without_id));
}
