//! Rows as the real binary writes them.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{contract, problems, said, schema};

fn check(folder: &Path, file: &str, name: &str) -> usize {
    let schema = schema(contract(name));
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(problems(&schema, &row), [""; 0], "{file}: {line}");
    }
    text.lines().count()
}

/// Each kind of row, and of waiting.
const ENVELOPES: &str = r#"{"id":"a1","system":"bms","type":"device","native_id":"bmsD1","entity":{"serial":"SN-1","name":"Pump","a.b":{"c":[1]},"big":18446744073709551615}}
{"id":"a2","system":"bms","type":"device","native_id":"bmsD2","entity":{"serial":"SN-2","parent_id":"bmsD99"}}
{"id":"a3","system":"bms","type":"device","op":"patch","native_id":"bmsD77","entity":{"name":"x"}}
{"id":"a4","system":"oem","type":"device","native_id":"oemD1","entity":{"serial":"SN-1","name":"Feed pump"}}
{"id":"a5","system":"bms","type":"device","native_id":"bmsD5","entity":{"serial":"SN-1"}}
{"id":"a6","system":"bms","type":"device","native_id":"bmsD1","entity":{"serial":"SN-1","name":"Pump 2"}}
{"id":"a7","system":"BMS"}
not json
"#;

const CONFIG: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
references = { parent_id = "device" }
survivorship = { name = "longest" }
[systems.bms.entities.device]
[systems.oem.entities.device]
[systems.crm.entities.device]
"#;

#[test]
fn every_row_is_one_by_its_schema() {
    let folder = TempDir::new().unwrap();
    let text = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(folder.path().join("in.jsonl"), ENVELOPES).unwrap();
    std::fs::write(folder.path().join("c.toml"), CONFIG).unwrap();
    let input = format!("envelopes:{}", text("in.jsonl"));
    said(&["batch", "--config", &text("c.toml"), "--input", &input, "--out", &text("out"), "--seed", "1", "--relay", "live"]);
    let out = folder.path().join("out");
    assert_eq!(check(&out, "canonical.jsonl", "canonical"), 1);
    assert_eq!(check(&out, "decisions.jsonl", "decision"), 6);
    assert_eq!(check(&out, "parked.jsonl", "parked"), 3);
    assert_eq!(check(&out, "dead_letters.jsonl", "dead-letter"), 2);
    assert!(check(&out.join("outbound"), "crm.jsonl", "outbound") > 0);

    let example = text("example");
    let mut args = vec!["batch", "--config", "examples/batch/syncline.toml", "--seed", "1", "--apply", "--out", &example];
    for input in ["bms:device:examples/batch/bms-devices.jsonl", "oem:device:examples/batch/oem-devices.jsonl"] {
        args.extend(["--input", input]);
    }
    said(&args);
    for (file, name) in [("canonical.jsonl", "canonical"), ("decisions.jsonl", "decision"), ("outbound/oem.jsonl", "outbound")] {
        assert!(check(&folder.path().join("example"), file, name) > 0, "{file}");
    }
}

#[test]
fn a_row_with_a_word_of_its_own_is_none() {
    let row = serde_json::json!({ "update": "bms:a", "decision": "accepted", "waiting_for": { "kind": "no_base" }, "since": "2026-01-31T09:30:00Z",
        "retry_at": null, "attempts": 1, "message": {} });
    let schema = schema(contract("parked"));
    assert!(!schema.is_valid(&row));
    let mut parked = row;
    parked["decision"] = "parked".into();
    assert_eq!(problems(&schema, &parked), [""; 0]);
    parked["waiting_for"]["kind"] = "the end".into();
    assert!(!schema.is_valid(&parked));
}
