//! Messages of version 1 of the contract stay readable and keep their meaning and content hash for ever.
//!
//! A new file in `tests/compat/v1` gets a line here; an existing line never changes: it is what stored hashes rest on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use syncline_contract::Outbound;

use super::{Limits, Transport, decode, encode};
use crate::domain::change::{ChangeBody, Inbound};

const INBOUND: [(&str, &str); 9] = [
    (
        "upsert.json",
        r#"bms:0192f0c4-7c1e-7aaa-8000-000000000001 upsert bms:device:bmsD1 {"name":"Air handler","parent_id":"bmsP1","serial":"SN-001"} base=Some(3) seq=Some((1042, "")) at=Some(2026-01-31T09:30:00Z) canonical=None hash=96f0c9fd8f800f9d"#,
    ),
    (
        "upsert-without-op.json",
        r#"crm:u-2 upsert crm:person:4711 {"$set":{"a.b":[1,1.0,null,true]},"big":18446744073709551615,"full_name":"Zoë 日本","half":0.5,"small":-9223372036854775808,"text":""} base=None seq=Some((1, "install-2")) at=None canonical=Some(0192f0c4-7c1e-7aaa-8000-0000000000aa) hash=0171e06e54b63f74"#,
    ),
    ("patch.json", r#"bms:u-3 patch bms:device:bmsD1 {"name":null} base=None seq=None at=None canonical=None hash=fcaec385bce1d05d"#),
    (
        "delete.json",
        r#"bms:u-4 delete bms:device:bmsD1  base=None seq=None at=Some(2026-01-31T09:30:00Z) canonical=None hash=7887f6601f385ba6"#,
    ),
    ("rekey.json", r#"bms:u-5 rekey bms:device:bmsD1 to bmsD2 base=None seq=None at=None canonical=None hash=19636f77a5d62789"#),
    (
        "receipt-applied.json",
        r#"oem:0192f0c4-7c1e-7aaa-8000-000000000002 receipt device Some("oemD9") rev=1 Applied stored={"name":"Air handl"} reason=None canonical=Some(0192f0c4-7c1e-7aaa-8000-0000000000aa) hash=14c2ec2995ac8e0e"#,
    ),
    (
        "receipt-rejected-create.json",
        r#"oem:r-2 receipt device None rev=2 Rejected stored={} reason=Some("no such site") canonical=Some(0192f0c4-7c1e-7aaa-8000-0000000000aa) hash=7155ed6214e9239c"#,
    ),
    (
        "change-set.json",
        r#"set set-17: bms:set-17-1 upsert bms:device:bmsD1 {"serial":"SN-001"} base=None seq=None at=None canonical=None hash=39355305584c9d3d | bms:set-17-2 delete bms:sensor:bmsS1  base=None seq=None at=None canonical=None hash=c0b64ee70a3a660c"#,
    ),
    (
        "cloudevent.json",
        r#"bms:ce-1 upsert bms:device:bmsD1 {"name":"Air handler","parent_id":"bmsP1","serial":"SN-001"} base=None seq=None at=Some(2026-01-31T09:30:00Z) canonical=None hash=96f0c9fd8f800f9d"#,
    ),
];

const OUTBOUND: [&str; 2] = ["outbound-create.json", "outbound-update.json"];

fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v1");
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let messages = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"));
    messages.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

/// What a message means, in one line.
fn described(message: &Inbound) -> String {
    match message {
        Inbound::Change(change) => {
            let body = match &change.body {
                ChangeBody::Upsert(record) | ChangeBody::Patch(record) => Value::Object(record.clone()).to_string(),
                ChangeBody::Delete => String::new(),
                ChangeBody::Rekey(new) => format!("to {new}"),
            };
            let seq = change.seq.as_ref().map(|seq| (seq.number, seq.epoch.clone().unwrap_or_default()));
            format!(
                "{} {} {} {body} base={:?} seq={seq:?} at={:?} canonical={:?} hash={:016x}",
                change.update,
                change.op().as_str(),
                change.key,
                change.base,
                change.occurred_at,
                change.canonical_id,
                change.content_hash
            )
        }
        Inbound::Receipt(receipt) => format!(
            "{} receipt {} {:?} rev={} {:?} stored={} reason={:?} canonical={:?} hash={:016x}",
            receipt.update,
            receipt.entity_type,
            receipt.native_id,
            receipt.rev,
            receipt.status,
            Value::Object(receipt.stored.clone()),
            receipt.reason,
            receipt.canonical_id,
            receipt.content_hash
        ),
        Inbound::ChangeSet { id, updates } => {
            format!("set {id}: {}", updates.iter().map(described).collect::<Vec<_>>().join(" | "))
        }
    }
}

#[test]
fn version_1_messages_keep_their_meaning() {
    let files = files();
    for (name, meaning) in INBOUND {
        let message = decode(&files[name], &Transport::default(), &Limits::default()).expect(name);
        assert_eq!(described(&message), meaning, "{name}");
    }
}

#[test]
fn version_1_outbound_messages_come_out_as_they_are() {
    let files = files();
    for name in OUTBOUND {
        let message: Outbound = serde_json::from_slice(&files[name]).expect(name);
        let (now, then): (Value, Value) =
            (serde_json::from_slice(&encode(&message)).unwrap(), serde_json::from_slice(&files[name]).unwrap());
        assert_eq!(now, then, "{name}");
    }
}

#[test]
fn every_file_is_looked_at() {
    let mut known: Vec<&str> = INBOUND.iter().map(|(name, _)| *name).chain(OUTBOUND).collect();
    known.sort_unstable();
    assert_eq!(files().keys().map(String::as_str).collect::<Vec<_>>(), known);
}
