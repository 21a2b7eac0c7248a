//! What good messages become.

use serde_json::{Value, json};
use syncline_contract as contract;

use super::{Limits, Transport, decode, encode};
use crate::domain::change::{ChangeBody, Inbound, NativeChange, Op, Receipt, ReceiptStatus, Seq};
use crate::domain::time::Timestamp;

const CANONICAL: &str = "0192f0c4-7c1e-7aaa-8000-000000000001";

fn decoded(value: &Value) -> Inbound {
    decode(value.to_string().as_bytes(), &Transport::default(), &Limits::default()).unwrap()
}

fn change(value: &Value) -> NativeChange {
    match decoded(value) {
        Inbound::Change(change) => NativeChange::clone(&change),
        other @ (Inbound::Receipt(_) | Inbound::ChangeSet { .. }) => panic!("not a change: {other:?}"),
    }
}

fn receipt(value: &Value) -> Receipt {
    match decoded(value) {
        Inbound::Receipt(receipt) => receipt,
        other @ (Inbound::Change(_) | Inbound::ChangeSet { .. }) => panic!("not a receipt: {other:?}"),
    }
}

fn upsert() -> Value {
    json!({ "id": "u-1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": { "serial": "SN-001", "n": null } })
}

#[test]
fn an_upsert_with_everything() {
    let mut message = upsert();
    message["op"] = json!("upsert");
    message["base"] = json!(0);
    message["seq"] = json!(1042);
    message["seq_epoch"] = json!("second install");
    message["occurred_at"] = json!("2026-01-31T10:30:00.1234567+01:00");
    message["canonical_id"] = json!(CANONICAL);
    message["x-note"] = json!({ "ignored": true });
    message["change_set"] = json!(false);
    let change = change(&message);
    assert_eq!(change.update.to_string(), "bms:u-1");
    assert_eq!(change.key.to_string(), "bms:device:bmsD1");
    assert_eq!(change.base, Some(0));
    assert_eq!(change.seq, Some(Seq { epoch: Some("second install".into()), number: 1042 }));
    assert_eq!(change.occurred_at, Timestamp::parse("2026-01-31T09:30:00.123456Z").ok());
    assert_eq!(change.canonical_id.map(|id| id.to_string()).as_deref(), Some(CANONICAL));
    let ChangeBody::Upsert(record) = change.body else { panic!("an upsert") };
    assert_eq!(Value::Object(record), message["entity"]);
}

#[test]
fn the_other_ops() {
    let mut message = upsert();
    message["op"] = json!("patch");
    assert!(matches!(change(&message).body, ChangeBody::Patch(record) if record.len() == 2));
    message["entity"] = json!(null);
    message["op"] = json!("delete");
    assert_eq!(change(&message).op(), Op::Delete);
    message["op"] = json!("rekey");
    message["new_native_id"] = json!(18_446_744_073_709_551_615_u64);
    assert!(matches!(change(&message).body, ChangeBody::Rekey(new) if new.as_str() == "18446744073709551615"));
}

#[test]
fn integer_native_ids_become_text_and_hash_alike() {
    let (mut number, mut text) = (upsert(), upsert());
    number["native_id"] = json!(-17);
    text["native_id"] = json!("-17");
    assert_eq!(change(&number), change(&text));
}

#[test]
fn the_transport_gives_the_id_where_the_body_has_none() {
    let mut message = upsert();
    let transport = Transport { message_id: Some("m-9".into()), ..Transport::default() };
    let id = |message: &Value, transport: &Transport| match decode(message.to_string().as_bytes(), transport, &Limits::default()) {
        Ok(Inbound::Change(change)) => change.update.id.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(id(&message, &transport), "u-1", "the body's own id goes first");
    message["id"] = json!(null);
    assert_eq!(id(&message, &transport), "m-9");
    message["op"] = json!("oops");
    let problem = decode(message.to_string().as_bytes(), &transport, &Limits::default()).unwrap_err();
    assert_eq!(problem.id.as_deref(), Some("m-9"));
    let none = Transport { message_id: Some(String::new()), ..Transport::default() };
    assert!(decode(upsert_without_id().as_bytes(), &none, &Limits::default()).is_err());
}

fn upsert_without_id() -> String {
    let mut message = upsert();
    message["id"] = json!(null);
    message.to_string()
}

#[test]
fn a_receipt_with_everything() {
    let message = json!({ "id": "r-1", "system": "oem", "type": "device", "op": "receipt", "native_id": "oemD9", "canonical_id": CANONICAL,
        "rev": 1, "status": "applied", "stored": { "name": "Air handl" }, "reason": null });
    let receipt = receipt(&message);
    assert_eq!((receipt.rev, receipt.status, receipt.reason), (1, ReceiptStatus::Applied, None));
    assert_eq!(receipt.update.system.as_str(), "oem");
    assert_eq!(receipt.stored["name"], "Air handl");
}

#[test]
fn a_change_set_in_both_spellings() {
    let mut second = upsert();
    second["id"] = json!("u-2");
    for set in [
        json!({ "id": "set-17", "change_set": true, "updates": [upsert(), second] }),
        json!({ "change_set": "set-17", "updates": [upsert(), second], "x-by": "importer" }),
    ] {
        let Inbound::ChangeSet { id, updates } = decoded(&set) else { panic!("a change set") };
        assert_eq!((id.as_str(), updates.len()), ("set-17", 2));
        assert_eq!(updates[0], decoded(&upsert()));
    }
}

#[test]
fn the_trace_a_message_belongs_to() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-11111111111111111111111111111111-b7ad6b7169203331-00";
    let transport = Transport { trace: OTHER.parse().ok(), ..Transport::default() };
    let traced = |message: &Value| {
        let message = decode(message.to_string().as_bytes(), &transport, &Limits::default()).expect("a message");
        message.trace().map(|trace| trace.to_string())
    };
    let with = |mut message: Value, trace: &str| {
        message["traceparent"] = json!(trace);
        message
    };
    assert_eq!(traced(&with(upsert(), TRACE)).as_deref(), Some(TRACE));
    let event = json!({ "specversion": "1.0", "id": "u-1", "source": "bms", "type": "device", "subject": "bmsD1", "data": {} });
    assert_eq!(traced(&with(event, TRACE)).as_deref(), Some(TRACE));
    // What the message says itself counts; what can't be read counts as nothing.
    assert_eq!(traced(&upsert()).as_deref(), Some(OTHER));
    assert_eq!(traced(&with(upsert(), "00-…")).as_deref(), Some(OTHER));
    let set = json!({ "id": "set-17", "change_set": true, "updates": [upsert()] });
    assert_eq!(traced(&with(set, TRACE)).as_deref(), Some(TRACE));
    // It is no part of what makes one update differ from another.
    let hash = |message: &Value| change(message).content_hash;
    assert_eq!(hash(&with(upsert(), TRACE)), hash(&upsert()));
}

#[test]
fn a_cloud_event_means_the_same_as_the_envelope() {
    let event = json!({ "specversion": "1.0", "id": "u-1", "source": "bms", "type": "device", "subject": "bmsD1", "time": "2026-01-31T09:30:00Z",
        "datacontenttype": "application/json; charset=utf-8", "dataschema": "https://example.org/x", "traceparent": "00-…", "seq": 5,
        "seqepoch": "b", "data": { "serial": "SN-001", "n": null } });
    let mut ours = upsert();
    ours["occurred_at"] = json!("2026-01-31T09:30:00Z");
    ours["seq"] = json!(5);
    ours["seq_epoch"] = json!("b");
    assert_eq!(change(&event), change(&ours));

    let delete = json!({ "specversion": "1.0", "id": "u-2", "source": "bms", "type": "device", "subject": "bmsD1", "op": "delete" });
    assert_eq!(change(&delete).op(), Op::Delete);

    for (name, value, field) in [
        ("subject", json!(null), "subject"),
        ("source", json!("/not/a/system"), "source"),
        ("data", json!("text"), "data"),
        ("time", json!("noon"), "time"),
        ("datacontenttype", json!("application/xml"), "datacontenttype"),
        ("data_base64", json!("AAAA"), "data_base64"),
        ("specversion", json!(1), "specversion"),
    ] {
        let mut bad = event.clone();
        bad[name] = value;
        let problem = decode(bad.to_string().as_bytes(), &Transport::default(), &Limits::default()).unwrap_err();
        assert_eq!(problem.rejection.field.as_deref(), Some(field), "{}", problem.rejection);
    }
}

#[test]
fn the_content_hash_is_about_content_only() {
    let hash = |message: &Value| change(message).content_hash;
    let base = hash(&upsert());
    for (field, value) in [
        ("id", json!("other")),
        ("base", json!(3)),
        ("seq", json!(9)),
        ("occurred_at", json!("2026-01-31T09:30:00Z")),
        ("op", json!("upsert")),
        ("x-trace", json!("t")),
    ] {
        let mut message = upsert();
        message[field] = value;
        assert_eq!(hash(&message), base, "{field} is not content");
    }
    for (field, value) in [
        ("system", json!("oem")),
        ("type", json!("sensor")),
        ("native_id", json!("bmsD2")),
        ("op", json!("patch")),
        ("entity", json!({ "serial": "SN-001" })),
        ("canonical_id", json!(CANONICAL)),
    ] {
        let mut message = upsert();
        message[field] = value;
        assert_ne!(hash(&message), base, "{field} is content");
    }
    let reordered = br#"{"entity":{"n":null,  "serial":"SN-001"},"native_id":"bmsD1","type":"device","system":"bms","id":"u-1"}"#;
    let again = decode(reordered, &Transport::default(), &Limits::default()).unwrap();
    assert_eq!(again, decoded(&upsert()));
}

#[test]
fn what_the_contract_crate_writes_is_understood() {
    let entity = upsert()["entity"].as_object().cloned().unwrap();
    let outbound: contract::Outbound =
        serde_json::from_value(json!({ "id": "c:oem:1", "type": "device", "op": "create", "native_id": null,
        "canonical_id": CANONICAL, "rev": 1, "epoch": 1, "version": 1, "entity": {}, "changed": [] }))
        .unwrap();
    let updates = vec![
        contract::Update::upsert("u-1", "bms", "device", "bmsD1", entity.clone()),
        contract::Update::patch("u-2", "bms", "device", "bmsD1", entity),
        contract::Update::delete("u-3", "bms", "device", "bmsD1"),
        contract::Update::rekey("u-4", "bms", "device", "bmsD1", "bmsD2"),
        contract::Update::applied("r-1", "oem", &outbound, "oemD9"),
        contract::Update::failed("r-2", "oem", &outbound, "locked"),
        contract::Update::rejected("r-3", "oem", &outbound, "no such site"),
    ];
    for update in &updates {
        let text = serde_json::to_vec(update).unwrap();
        assert!(decode(&text, &Transport::default(), &Limits::default()).is_ok(), "{update:?}");
        assert_eq!(serde_json::from_slice::<contract::Update>(&text).unwrap(), *update);
    }
    let set = serde_json::to_vec(&contract::ChangeSet::new("set-1", updates)).unwrap();
    let Ok(Inbound::ChangeSet { updates, .. }) = decode(&set, &Transport::default(), &Limits::default()) else { panic!("a set") };
    assert_eq!(updates.len(), 7);
    assert_eq!(serde_json::from_slice::<contract::Outbound>(&encode(&outbound)).unwrap(), outbound);
}
