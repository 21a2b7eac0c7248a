//! The same input again: by the same seed, in the same run, in the same store. And input that is not what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::expected::{Canonical, Data, text};
use crate::real_data::{PUSH, RULES};
use crate::support::{Scene, batch, ok};

const ALL: [&str; 4] = ["geonames-city.jsonl", "iso-subdivision.jsonl", "iso-country.jsonl", "geonames-country.jsonl"];

fn config(scene: &Scene, more: &str) -> String {
    scene.write("syncline.toml", &format!("{RULES}{more}"))
}

fn inputs(data: &Data) -> [String; 4] {
    ALL.map(|file| data.input(file))
}

/// Every file of a folder but the store's, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() {
            found.insert(name, fs::read(path).unwrap());
        } else if name != "store" {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        }
    }
    found
}

#[test]
fn real_records_and_a_seed_give_the_same_bytes() {
    let data = Data::new();
    let scene = Scene::new();
    let (config, inputs) = (config(&scene, PUSH), inputs(&data));
    let inputs = inputs.each_ref().map(String::as_str);
    for mode in [&[][..], &["--apply"], &["--relay", "live"], &["--relay", "live", "--apply"]] {
        for out in ["one", "two"] {
            batch(&scene, &config, out, &inputs, &[&["--seed", "7"], mode].concat());
        }
        let (one, two) = (files(&scene.path("one")), files(&scene.path("two")));
        let sent = ["outbound/geonames.jsonl", "outbound/iso.jsonl"].map(|name| one[name].len());
        assert!(one.len() == 7 && sent.iter().all(|bytes| *bytes > 100), "{sent:?}");
        for (name, bytes) in &one {
            assert!(two.get(name) == Some(bytes), "{name} differs, {mode:?}");
        }
    }
    batch(&scene, &config, "two", &inputs, &["--seed", "8", "--relay", "live", "--apply"]);
    assert!(files(&scene.path("one"))["canonical.jsonl"] != files(&scene.path("two"))["canonical.jsonl"]);
}

#[test]
fn the_same_files_twice_in_one_run_bring_nothing_new() {
    let data = Data::new();
    let scene = Scene::new();
    let (config, inputs) = (config(&scene, PUSH), inputs(&data));
    let once = inputs.each_ref().map(String::as_str);
    batch(&scene, &config, "once", &once, &["--seed", "1"]);
    batch(&scene, &config, "twice", &[once, once].concat(), &["--seed", "1"]);
    let (one, two) = (Canonical::of(&scene, "once"), Canonical::of(&scene, "twice"));
    let by_key = |canonical: &Canonical| -> BTreeSet<String> {
        let native = |row: &Value| row["links"].as_array().unwrap().iter().map(|link| link["native_id"].to_string()).collect::<String>();
        canonical.rows.iter().map(|row| format!("{} {} {}", row["type"], native(row), row["version"])).collect()
    };
    assert_eq!(by_key(&one), by_key(&two));
    let again = |row: &Value| ["i5", "i6", "i7", "i8"].iter().any(|input| text(&row["update"]).contains(&format!("r1-{input}-")));
    let rows: Vec<Value> = scene.rows("twice/decisions.jsonl").into_iter().filter(again).collect();
    assert_eq!(rows.len(), scene.rows("once/decisions.jsonl").len());
    assert!(rows.iter().all(|row| row["decision"] == "unchanged" || row["decision"] == "echo"));
    for system in ["iso", "geonames"] {
        let models = |out: &str| {
            let of = |row: &Value| (text(&row["type"]), row["native_id"].clone(), row["rev"].clone(), row["entity"]["name"].clone());
            let mut models: Vec<_> =
                scene.rows(&format!("{out}/outbound/{system}.jsonl")).iter().map(of).map(|of| format!("{of:?}")).collect();
            models.sort();
            models
        };
        assert_eq!(models("once"), models("twice"));
    }
}

#[test]
fn a_second_run_over_the_same_store_brings_nothing_new() {
    let data = Data::new();
    for more in ["", PUSH] {
        let scene = Scene::new();
        let (config, inputs, store) = (config(&scene, more), inputs(&data), scene.text("store"));
        let inputs = inputs.each_ref().map(String::as_str);
        for out in ["first", "second"] {
            // By the seed's time the second run is a day after the first one.
            batch(&scene, &config, out, &inputs, &["--store", &store, "--seed", "1"]);
        }
        assert_eq!(Canonical::of(&scene, "first").facts(), Canonical::of(&scene, "second").facts());
        let second = |row: &Value| text(&row["update"]).contains(":r2-");
        let (again, before): (Vec<Value>, Vec<Value>) = scene.rows("second/decisions.jsonl").into_iter().partition(second);
        assert_eq!((again.len(), &before), (before.len(), &scene.rows("first/decisions.jsonl")));
        // However long ago the correction was written to its file: the name from before it is old news.
        assert!(again.iter().all(|row| row["decision"] == "unchanged" || row["decision"] == "echo"));
        assert!(scene.rows("second/parked.jsonl").is_empty());
        if !more.is_empty() {
            // Only geonames is told again, what it still says otherwise.
            let names = |out: &str| -> BTreeSet<String> {
                scene.rows(&format!("{out}/outbound/geonames.jsonl")).iter().map(|row| row["entity"]["name"].to_string()).collect()
            };
            let corrected: BTreeSet<String> = data.renamed().iter().map(|code| data.union()[code]["name"].to_string()).collect();
            assert!(names("second").is_subset(&names("first")) && names("second") == corrected);
            assert!(scene.rows("second/outbound/iso.jsonl").is_empty());
        }
        ok(&["verify", "--config", &config, "--store", &store]);
    }
}

#[test]
fn broken_lines_are_set_aside_by_file_and_line_and_the_rest_runs() {
    let data = Data::new();
    let scene = Scene::new();
    let broken: [(&[u8], &str); 6] = [
        (b"{\"id\":\"AW\",\"alpha_2\":", "not_json"),
        (b"[1, 2]", "bad_envelope"),
        (b"{\"alpha_2\":\"ZZ\",\"name\":\"no id\"}", "bad_id"),
        (b"{\"id\":\"ZZ\",\"name\":\"\xff\xfe\"}", "not_utf8"),
        (b"{\"id\":\"ZZ\",\"name\":\"a\",\"name\":\"b\"}", "duplicate_key"),
        (b"{\"id\":\"ZZ\",\"name\":1e999}", "number_out_of_range"),
    ];
    let lines = data.text("iso-country.jsonl");
    let mut bytes = Vec::new();
    let mut places: Vec<(usize, &[u8], &str)> = Vec::new();
    let mut number = 0;
    for (index, line) in lines.lines().enumerate() {
        number += 1;
        bytes.extend_from_slice(line.as_bytes());
        // Blank lines and both kinds of line ends count, and are not broken.
        bytes.extend_from_slice(if index % 3 == 0 { b"\r\n\n" } else { b"\n" });
        number += usize::from(index % 3 == 0);
        if index % 5 == 4
            && let Some((text, reason)) = broken.get(index / 5)
        {
            number += 1;
            bytes.extend_from_slice(text);
            bytes.push(b'\n');
            places.push((number, *text, *reason));
        }
    }
    assert_eq!(places.len(), broken.len());
    fs::write(scene.path("countries.jsonl"), bytes).unwrap();
    let file = scene.text("countries.jsonl");
    let said = batch(&scene, &config(&scene, ""), "out", &[&format!("iso:country:{file}")], &[]);
    let letters = scene.rows("out/dead_letters.jsonl");
    assert_eq!(letters.len(), places.len());
    for (letter, (line, text, reason)) in letters.iter().zip(&places) {
        let detail = letter["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{file} line {line}: ")), "{detail} is not line {line}");
        assert_eq!((&letter["reason"], &letter["system"], &letter["type"]), (&json!(reason), &json!("iso"), &json!("country")), "{detail}");
        if let Ok(text) = std::str::from_utf8(text) {
            assert_eq!(letter["body"], text);
        }
    }
    assert!(said.contains(&format!("{file} line {}: ", places[0].0)), "{said}");
    let canonical = Canonical::of(&scene, "out");
    canonical.holds(&data, "iso-country.jsonl", &[], &BTreeSet::new());
    assert_eq!(canonical.count("country"), lines.lines().count());
}

#[test]
fn records_in_envelopes_come_to_the_same_as_plain_ones() {
    let data = Data::new();
    let scene = Scene::new();
    let broken = "{\"id\":\"u1\",\"system\":\"iso\",\"type\":\"country\"}";
    let mut files = Vec::new();
    for file in ALL {
        let (system, of_type) = file.trim_end_matches(".jsonl").split_once('-').unwrap();
        let envelope = |row: &Value| {
            let id = format!("{of_type}-{}", text(&row["id"]));
            json!({"id": id, "system": system, "type": of_type, "native_id": row["id"], "entity": row}).to_string()
        };
        let mut lines: Vec<String> = data.rows(file).iter().map(envelope).collect();
        lines.extend((file == ALL[3]).then(|| broken.to_owned()));
        files.push((scene.write(file, &lines.join("\n")), lines.len()));
    }
    let enveloped: Vec<String> = files.iter().map(|(file, _)| format!("envelopes:{file}")).collect();
    let enveloped: Vec<&str> = enveloped.iter().map(String::as_str).collect();
    batch(&scene, &config(&scene, PUSH), "enveloped", &enveloped, &["--seed", "3"]);
    let inputs = inputs(&data);
    batch(&scene, &config(&scene, PUSH), "plain", &inputs.each_ref().map(String::as_str), &["--seed", "3"]);
    let (enveloped, plain) = (Canonical::of(&scene, "enveloped"), Canonical::of(&scene, "plain"));
    assert_eq!(enveloped.facts(), plain.facts());
    let letters = scene.rows("enveloped/dead_letters.jsonl");
    assert_eq!(letters.len(), 1);
    let (file, last) = &files[3];
    assert!(text(&letters[0]["detail"]).starts_with(&format!("{file} line {last}: ")));
    assert_eq!(letters[0]["body"], broken);
}
