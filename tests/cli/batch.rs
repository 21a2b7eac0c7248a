//! `batch`: files in, files out.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{EXAMPLE_CONFIG, Scene, batch, example, fails, ok};

const FILES: [&str; 7] = [
    "canonical.jsonl",
    "decisions.jsonl",
    "outbound/bms.jsonl",
    "outbound/oem.jsonl",
    "parked.jsonl",
    "dead_letters.jsonl",
    "summary.json",
];

#[test]
fn the_example_tells_its_story() {
    let scene = Scene::new();
    let table = example(&scene, &[]);
    assert!(
        table.starts_with("updates       13\ndecisions     10 accepted, 3 partially accepted\nrecords       5 device, 5 sensor\n"),
        "{table}"
    );
    let summary = scene.json("out/summary.json");
    assert_eq!((&summary["updates"], &summary["parked"], &summary["dead_letters"]), (&json!(13), &json!(0), &json!(1)));
    assert_eq!((&summary["seconds"], &summary["updates_per_second"]), (&json!(0.0), &json!(0.0)));
    let decided: u64 = summary["decisions"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(decided as usize, scene.rows("out/decisions.jsonl").len());
    let boiler = scene.rows("out/canonical.jsonl").into_iter().find(|row| row["data"]["serial"] == "SN-003").unwrap();
    assert_eq!((&boiler["data"]["name"], &boiler["data"]["status"]), (&json!("Boiler B2"), &json!("retired")));
    assert_eq!(boiler["links"][1]["diverges"]["status"], json!({"held": "active", "sent": ["retired"]}));
    assert_eq!(boiler["links"][1]["delivery"], json!("sent"));
}

#[test]
fn a_broken_line_is_set_aside_with_its_place() {
    let scene = Scene::new();
    example(&scene, &[]);
    let letters = scene.rows("out/dead_letters.jsonl");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "not_json");
    assert!(letters[0]["detail"].as_str().unwrap().starts_with("examples/batch/oem-devices.jsonl line 4: "));
    assert_eq!(letters[0]["body"], r#"{"id":"oemD10","serial_no":"SN-004","name":"#);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (one, two, other) = (Scene::new(), Scene::new(), Scene::new());
    for mode in [&[][..], &["--apply"], &["--relay", "live", "--apply"]] {
        example(&one, mode);
        example(&two, mode);
        for file in FILES {
            let read = |scene: &Scene| std::fs::read_to_string(scene.path("out").join(file)).unwrap();
            assert_eq!(read(&one), read(&two), "{file} {mode:?}");
        }
    }
    let out = other.text("out");
    ok(&["batch", "--config", EXAMPLE_CONFIG, "--seed", "2", "--out", &out, "--input", "bms:device:examples/batch/bms-devices.jsonl"]);
    assert_ne!(one.rows("out/canonical.jsonl")[0]["id"], other.rows("out/canonical.jsonl")[0]["id"]);
}

#[test]
fn the_same_input_again_changes_nothing() {
    let scene = Scene::new();
    let devices = "bms:device:examples/batch/bms-devices.jsonl";
    ok(&["batch", "--config", EXAMPLE_CONFIG, "--out", &scene.text("out"), "--input", devices, "--input", devices]);
    let rows = scene.rows("out/decisions.jsonl");
    let (first, second): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["update"].as_str().unwrap().contains("-i1-"));
    assert!(first.len() == 4 && first.iter().all(|row| row["decision"] == "accepted"), "{first:?}");
    assert!(second.len() == 4 && second.iter().all(|row| row["decision"] == "unchanged" || row["decision"] == "echo"), "{second:?}");
}

#[test]
fn applied_messages_leave_nothing_open() {
    let scene = Scene::new();
    example(&scene, &["--apply"]);
    for row in scene.rows("out/canonical.jsonl") {
        for link in row["links"].as_array().unwrap() {
            assert!(link["native_id"].is_string() && link["state"] == "linked", "{link}");
            assert!(["idle", "applied"].contains(&link["delivery"].as_str().unwrap()) && link["diverges"] == json!({}), "{link}");
        }
    }
    let made = scene.rows("out/canonical.jsonl").iter().filter(|row| row.to_string().contains("\"oem-1\"")).count();
    assert_eq!(made, 1);
}

#[test]
fn whole_envelopes_are_taken_too() {
    let scene = Scene::new();
    let input = scene.write(
        "in.jsonl",
        concat!(
            r#"{"id":"u1","system":"crm","type":"person","native_id":"7","entity":{"name":"Ann"}}"#,
            "\n\n",
            r#"{"id":"u2","system":"crm","type":"person","op":"patch","native_id":"7","entity":{"phone":"555"}}"#,
            "\n",
            r#"{"id":"u1","system":"crm","type":"person","native_id":"7","entity":{"name":"Ann"}}"#,
            "\n",
        ),
    );
    ok(&["batch", "--out", &scene.text("out"), "--input", &format!("envelopes:{input}")]);
    let rows = scene.rows("out/canonical.jsonl");
    assert_eq!(rows[0]["data"], json!({"name": "Ann", "phone": "555"}));
    assert_eq!(scene.rows("out/decisions.jsonl").len(), 2);
}

#[test]
fn another_id_field_is_the_native_id() {
    let scene = Scene::new();
    let input = scene.write("in.jsonl", "{\"code\": 12, \"name\": \"Ann\"}\n{\"name\": \"nobody\"}\n");
    ok(&["batch", "--out", &scene.text("out"), "--id-field", "code", "--input", &format!("crm:person:{input}")]);
    let rows = scene.rows("out/canonical.jsonl");
    assert_eq!((&rows[0]["links"][0]["native_id"], &rows[0]["data"]), (&json!("12"), &json!({"name": "Ann"})));
    assert_eq!(scene.rows("out/dead_letters.jsonl")[0]["reason"], "bad_id");
}

#[test]
fn a_store_of_someone_elses_is_not_emptied() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("out/store")).unwrap();
    scene.write("out/store/thesis.doc", "ten years of work");
    let input = "bms:device:examples/batch/bms-devices.jsonl";
    let (code, _, error) = fails(&["batch", "--out", &scene.text("out"), "--input", input]);
    assert!(code == 64 && error.contains("thesis.doc"), "{code} {error}");
    assert!(scene.path("out/store/thesis.doc").exists());
}

#[test]
fn more_children_than_one_commit_heals_find_their_parent() {
    const CHILDREN: usize = 2500;
    let scene = Scene::new();
    let config = scene.write("syncline.toml", "[entities.part]\nreferences = { parent_id = \"part\" }\n");
    // All of one parent, and each of the one that comes next: a chain that can only heal from its far end.
    let wide: String = (0..CHILDREN).map(|n| format!("{{\"id\":\"p{n}\",\"parent_id\":\"top\"}}\n")).collect();
    let deep: String = (0..CHILDREN).map(|n| format!("{{\"id\":\"p{n}\",\"parent_id\":\"p{}\"}}\n", n + 1)).collect();
    let last = format!("p{CHILDREN}");
    for (text, top) in [(wide, "top"), (deep, last.as_str())] {
        let parts = format!("bms:part:{}", scene.write("parts.jsonl", &format!("{text}{{\"id\":\"{top}\"}}\n")));
        batch(&scene, &config, "out", &[&parts], &["--seed", "1"]);
        let rows = scene.rows("out/canonical.jsonl");
        let native = |row: &Value| row["links"][0]["native_id"].as_str().unwrap().to_owned();
        let ids: HashMap<String, Value> = rows.iter().map(|row| (native(row), row["id"].clone())).collect();
        assert_eq!((ids.len(), scene.rows("out/parked.jsonl").len()), (CHILDREN + 1, 0));
        for row in rows.iter().filter(|row| native(row) != top) {
            let next = native(row)[1..].parse::<usize>().unwrap() + 1;
            let parent = if top == "top" { top.to_owned() } else { format!("p{next}") };
            assert_eq!((&row["data"]["parent_id"], &row["version"]), (&ids[&parent], &json!(1)));
        }
        assert_eq!(scene.rows("out/decisions.jsonl").len(), CHILDREN + 1);
        ok(&["verify", "--config", &config, "--store", &scene.text("out")]);
    }
}
