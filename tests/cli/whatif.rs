//! `whatif`: what other rules would have made of what is recorded.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{EXAMPLE_CONFIG, Scene, example, fails, ok};

const LONG_AGO: &str = "2000-01-01T00:00:00Z";

fn whatif(scene: &Scene, config: &str) -> Value {
    let text = ok(&["whatif", "--json", "--config", config, "--store", &scene.text("out"), "--since", LONG_AGO, "--limit", "1000"]);
    serde_json::from_str(&text).unwrap()
}

/// The shipped example by other rules about the names and states of devices.
fn other_rules(scene: &Scene) -> String {
    let text = std::fs::read_to_string(EXAMPLE_CONFIG).unwrap();
    let rules = r#"survivorship = { name = "longest", status = { source_priority = ["bms", "oem"] } }"#;
    assert!(text.contains(rules), "the example has other rules by now");
    scene
        .write("other.toml", &text.replace(rules, r#"survivorship = { name = "shortest", status = { source_priority = ["oem", "bms"] } }"#))
}

#[test]
fn by_the_same_rules_everything_is_as_it_was() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    let told = whatif(&scene, EXAMPLE_CONFIG);
    assert_eq!((&told["differing"], &told["fields"]), (&Value::from(0), &Value::from(0)), "{told:#}");
    assert!(told["updates"].as_u64().unwrap() > 10, "{told:#}");
}

#[test]
fn by_other_rules_it_is_what_those_make_of_the_same_input() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    let other = other_rules(&scene);
    let told = whatif(&scene, &other);
    let would_be: BTreeMap<(String, String), Value> = told["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["fields"].as_array().unwrap().iter().map(move |field| (row, field)))
        .map(|(row, field)| ((row["canonical_id"].to_string(), field["field"].as_str().unwrap().to_owned()), field["would_be"].clone()))
        .collect();
    assert!(would_be.len() >= 4, "{told:#}");
    assert_eq!(told["fields"], would_be.len(), "{told:#}");

    // The same input by the other rules.
    let before = canonical(&scene.rows("out/canonical.jsonl"));
    let out = scene.text("again");
    let mut args = vec!["batch", "--config", &other, "--seed", "1", "--out", &out, "--apply"];
    args.extend(crate::support::EXAMPLE);
    ok(&args);
    let after = canonical(&scene.rows("again/canonical.jsonl"));
    let really: BTreeMap<_, _> =
        after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(would_be, really);
}

fn canonical(rows: &[Value]) -> BTreeMap<(String, String), Value> {
    let fields = |row: &Value| {
        let data = row["data"].as_object().unwrap().clone();
        let id = row["id"].to_string();
        data.into_iter().map(move |(field, value)| ((id.clone(), field), value)).collect::<Vec<_>>()
    };
    rows.iter().flat_map(fields).collect()
}

#[test]
fn it_is_told_in_sentences() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    let other = other_rules(&scene);
    let text = ok(&["whatif", "--config", &other, "--store", &scene.text("out"), "--since", LONG_AGO, "--limit", "1"]);
    insta::assert_snapshot!(text, @r"
    oem:r1-i3-l0000001  device 019c669c-99e9-7000-8000-00037553c6a0
      was partially accepted, would be partially accepted: the same thing as in bms: oem joins it; taken: warranty_until; name stays 'Air handler' from bms (shortest) and serial stays 'SN-001' from bms (first_contact: fill)
      name: 'Air handler AX-500' would be 'Air handler'
    … and 2 more (--limit)
    since 2000-01-01T00:00:00Z: 13 updates of 10 records decided again, 3 would be decided otherwise; 4 fields would be others now; 0 decisions were taken as they are
    ");
}

#[test]
fn an_update_that_would_not_be_taken() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    let text = std::fs::read_to_string(EXAMPLE_CONFIG).unwrap();
    let out_only =
        scene.write("out.toml", &text.replace("[systems.oem.entities.device]\n", "[systems.oem.entities.device]\ndirection = \"out\"\n"));
    let told = whatif(&scene, &out_only);
    let rows = told["decisions"].as_array().unwrap();
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row["would_be"].is_null() && row["update"].as_str().unwrap().starts_with("oem:")),
        "{told:#}"
    );
}

#[test]
fn what_it_needs_to_be_told() {
    let scene = Scene::new();
    example(&scene, &[]);
    let (code, _, error) = fails(&["whatif", "--store", &scene.text("out"), "--since", "7d"]);
    assert!(code == 64 && error.contains("--config"), "{error}");
    let (code, _, error) = fails(&["whatif", "--config", EXAMPLE_CONFIG, "--store", &scene.text("out"), "--since", "yesterday"]);
    assert!(code == 64 && error.contains("7d"), "{error}");
}
