//! The commands that look into a store or a configuration.

use serde_json::Value;

use crate::support::{EXAMPLE_CONFIG, Scene, example, fails, ok, syncline};

#[test]
fn why_says_it_in_sentences() {
    let scene = Scene::new();
    example(&scene, &[]);
    let store = scene.text("out");
    insta::assert_snapshot!(ok(&["why", "--store", &store, "device", "bms:bmsD1", "name"]), @"name is 'Air handler AX-500'. oem said so on 2026-02-16T13:21:05.002Z, in update oem:r1-i3-l0000001 (version 2), decided by rule longest. bms holds 'Air handler' instead; rev 1 with 'Air handler AX-500' was sent 2026-02-16T13:21:05.004Z, not confirmed yet.");
}

#[test]
fn a_decision_is_shown_field_by_field() {
    let scene = Scene::new();
    example(&scene, &[]);
    let text = ok(&["decision", "--store", &scene.text("out"), "oem:r1-i3-l0000003"]);
    assert!(text.contains("status          first contact  \"retired\"  \"active\"      \"retired\"\n"), "{text}");
    assert!(text.contains("Conflict on status: bms's 'retired' stayed, oem said 'active' (source_priority).\n"), "{text}");
}

#[test]
fn records_and_their_history_are_found_by_either_id() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    let store = scene.text("out");
    let record: Value = serde_json::from_str(&ok(&["entity", "--json", "--store", &store, "device", "oem:oemD9"])).unwrap();
    let by_id: Value =
        serde_json::from_str(&ok(&["entity", "--json", "--store", &store, "device", record["id"].as_str().unwrap()])).unwrap();
    assert_eq!(record, by_id);
    let history: Value = serde_json::from_str(&ok(&["history", "--json", "--store", &store, "device", "oem:oemD9"])).unwrap();
    let versions: Vec<u64> = history.as_array().unwrap().iter().map(|row| row["version_after"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 2, 2]);
}

#[test]
fn the_log_is_filtered() {
    let scene = Scene::new();
    example(&scene, &[]);
    let store = scene.text("out");
    let rows: Value =
        serde_json::from_str(&ok(&["decisions", "--json", "--store", &store, "--system", "oem", "--decision", "partially_accepted"]))
            .unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(ok(&["decisions", "--store", &store, "--limit", "2"]).lines().count(), 2);
    let (code, _, error) = fails(&["decisions", "--store", &store, "--decision", "maybe"]);
    assert!(code == 64 && error.contains("partially_accepted"), "{error}");
}

#[test]
fn what_is_not_there_is_said_so() {
    let scene = Scene::new();
    example(&scene, &[]);
    let store = scene.text("out");
    assert_eq!(fails(&["entity", "--store", &store, "device", "bms:nobody"]).0, 1);
    assert_eq!(fails(&["decision", "--store", &store, "bms:nothing"]).0, 1);
    assert_eq!(fails(&["why", "--store", &store, "device", "bms:bmsD1", "colour"]).0, 1);
    assert_eq!(fails(&["entity", "--store", &scene.text("nowhere"), "device", "bms:bmsD1"]).0, 1);
    assert_eq!(fails(&["entity", "--store", &store, "device", "what"]).0, 64);
    assert_eq!(fails(&["fly"]).0, 64);
    assert_eq!(fails(&["batch", "--out", &store, "--input", "bms:device:missing.jsonl"]).0, 74);
}

#[test]
fn every_invariant_holds_after_every_kind_of_run() {
    for mode in [&[][..], &["--apply"], &["--relay", "live"], &["--relay", "live", "--apply"]] {
        let scene = Scene::new();
        example(&scene, mode);
        let said = ok(&["verify", "--store", &scene.text("out"), "--config", EXAMPLE_CONFIG]);
        assert!(said.starts_with("ok: 10 records, "), "{said}");
    }
}

#[test]
fn every_problem_of_a_configuration_is_named() {
    let scene = Scene::new();
    assert_eq!(ok(&["check", "--config", EXAMPLE_CONFIG]), "ok: examples/batch/syncline.toml\n");
    let bad = scene.write("bad.toml", "[orchestration]\npush_update = true\nbatch_size = 0\n");
    let (code, said, _) = fails(&["check", "--config", &bad]);
    assert!(code == 78 && said.contains(":2: ") && said.contains(":3: ") && said.contains("push_updates"), "{said}");
    let input = "bms:device:examples/batch/bms-devices.jsonl";
    assert_eq!(fails(&["batch", "--config", &bad, "--out", &scene.text("out"), "--input", input]).0, 78);
    assert!(!scene.path("out").exists());
}

#[test]
fn contracts_and_help_are_printed() {
    for contract in ["inbound", "outbound", "canonical", "decision"] {
        let schema: Value = serde_json::from_str(&ok(&["schema", contract])).unwrap();
        assert_eq!(schema["$id"], format!("urn:syncline:v1:{contract}"));
    }
    for command in [
        "batch",
        "check",
        "topology",
        "schema",
        "openapi",
        "completions",
        "asyncapi",
        "decisions",
        "decision",
        "entity",
        "why",
        "history",
        "recover",
        "verify",
    ] {
        let help = String::from_utf8(syncline(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains("Example:") && !help.contains('\u{1b}'), "{help}");
    }
    let openapi: Value = serde_json::from_str(&ok(&["openapi"])).unwrap();
    assert!(openapi["paths"]["/v1/decisions"]["get"]["responses"]["200"].is_object());
    assert!(ok(&["completions", "bash"]).contains("dead-letters"));
}

#[test]
fn a_record_that_is_not_there_yet_says_what_its_update_waits_for() {
    let scene = Scene::new();
    let input = "bms:sensor:examples/batch/bms-sensors.jsonl";
    ok(&["batch", "--config", EXAMPLE_CONFIG, "--seed", "1", "--out", &scene.text("out"), "--input", input]);
    let store = scene.text("out");
    let parked = scene.rows("out/parked.jsonl");
    let sensor = format!("bms:{}", parked[0]["message"]["native_id"].as_str().unwrap());
    let (code, _, error) = fails(&["entity", "--store", &store, "sensor", &sensor]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(error.trim_end(), @"syncline: bms's sensor bmsS1 is no record yet: update bms:r1-i1-l0000001 is kept back, waiting for bms's device bmsD1 (device_id), not known yet");
    let text = ok(&["decision", "--store", &store, parked[0]["update"].as_str().unwrap()]);
    insta::assert_snapshot!(text.lines().take(3).collect::<Vec<_>>().join(" "), @"bms sent sensor bmsS1 (upsert). It waits. Why: waiting for bms's device bmsD1 (device_id), not known yet.");
}

#[test]
fn each_systems_side_of_a_record_is_a_sentence() {
    let scene = Scene::new();
    example(&scene, &[]);
    let text = ok(&["entity", "--store", &scene.text("out"), "device", "bms:bmsD1"]);
    let sides: Vec<&str> = text.lines().rev().take(2).map(str::trim_start).collect();
    let [oem, bms] = sides[..] else { panic!("{text}") };
    insta::assert_snapshot!(bms, @"bms bmsD1: rev 1 was sent, not confirmed yet; there it still differs in name and warranty_until");
    insta::assert_snapshot!(oem, @"oem oemD7: rev 1 was sent, not confirmed yet; there it still differs in floor and serial");
}
