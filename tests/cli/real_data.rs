//! Real records: two lists of countries that are merged, and what belongs to them. See `data/README.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::expected::{Canonical, Data, ONLY, decided, said, shuffled, text, updates_of};
use crate::support::{Scene, batch, ok};

/// The rules all of them share.
pub const RULES: &str = r#"
[entities.country]
keys = [{ fields = ["alpha_2"] }]
survivorship = { name = { source_priority = ["iso", "geonames"] } }
[entities.subdivision]
references = { country_id = "country", parent_id = "subdivision" }
[entities.city]
references = { country_id = "country" }
[systems.iso]
[systems.geonames]
"#;

/// Everyone is told, geonames four fields only. A slow machine must not turn an old record into a change back.
pub const PUSH: &str = r#"
[systems.geonames.entities.country]
fields = { only = ["alpha_2", "name", "capital", "population"] }
[systems.iso.entities.city]
create = true
[orchestration]
push_updates = true
circular_update_prevention = { window_seconds = 3600 }
"#;

const COUNTRIES: [&str; 2] = ["iso-country.jsonl", "geonames-country.jsonl"];
const SUBDIVISION: [(&str, &str); 2] = [("country_id", "country"), ("parent_id", "subdivision")];
const CITY: [(&str, &str); 1] = [("country_id", "country")];

fn config(scene: &Scene, more: &str) -> String {
    scene.write("syncline.toml", &format!("{RULES}{more}"))
}

#[test]
fn two_lists_of_countries_become_their_union() {
    let data = Data::new();
    let union = data.union();
    for first in [0, 1] {
        let scene = Scene::new();
        let files = [COUNTRIES[first], COUNTRIES[1 - first]];
        batch(&scene, &config(&scene, ""), "out", &[&data.input(files[0]), &data.input(files[1])], &[]);
        let canonical = Canonical::of(&scene, "out");
        assert_eq!(canonical.count("country"), union.len());
        for (system, other) in [("iso", "geonames"), ("geonames", "iso")] {
            let others = data.countries(other);
            for (code, row) in data.countries(system) {
                let record = canonical.find(system, "country", &row["id"]).unwrap();
                assert_eq!(said(&record["data"]), union[&code]);
                assert_eq!(record["links"].as_array().unwrap().len(), 1 + usize::from(others.contains_key(&code)));
                assert!(others.get(&code).is_none_or(|row| canonical.find(other, "country", &row["id"]) == Some(record)));
            }
        }
        let counts = files.map(|file| (file.split_once('-').unwrap().0, data.rows(file).len()));
        let rows = decided(&scene, "out", &updates_of(1, &counts));
        // A name that a better source gave already is refused; a better source that comes later puts it right.
        let refused: BTreeSet<String> = rows
            .values()
            .filter(|row| row["decision"] != "accepted")
            .inspect(|row| assert_eq!((&row["decision"], &row["modified_fields"]), (&json!("partially_accepted"), &json!(["name"]))))
            .map(|row| text(&row["accepted_snapshot"]["alpha_2"]))
            .collect();
        assert_eq!(refused, if first == 0 { data.renamed() } else { BTreeSet::new() });
        assert!(!data.renamed().is_empty());
    }
}

/// What a system must be sent, by country code: its whole model, where it holds another one.
fn owed(data: &Data, system: &str, only: Option<&[&str]>) -> BTreeMap<String, (Value, crate::expected::Fields)> {
    let held = data.countries(system);
    let its = |mut fields: crate::expected::Fields| {
        fields.retain(|name, _| only.is_none_or(|only| only.contains(&name.as_str())));
        fields
    };
    let union = data.union().into_iter().map(|(code, fields)| (code, its(fields)));
    let differing = union.filter(|(code, model)| held.get(code).is_none_or(|row| its(said(row)) != *model));
    differing.map(|(code, model)| (code.clone(), (held.get(&code).map_or(Value::Null, |row| row["id"].clone()), model))).collect()
}

#[test]
fn each_system_is_sent_what_it_lacks_and_nothing_else() {
    let data = Data::new();
    let all = "[orchestration]\npush_updates = true\n";
    for (more, only, mode) in [(all, None, &[][..]), (PUSH, Some(&ONLY[..]), &[]), (PUSH, Some(&ONLY[..]), &["--relay", "live", "--apply"])]
    {
        let scene = Scene::new();
        batch(&scene, &config(&scene, more), "out", &COUNTRIES.map(|file| data.input(file)).each_ref().map(String::as_str), mode);
        let canonical = Canonical::of(&scene, "out");
        let codes: BTreeMap<String, String> = canonical.rows.iter().map(|row| (text(&row["id"]), text(&row["data"]["alpha_2"]))).collect();
        for (system, only) in [("iso", None), ("geonames", only)] {
            let mut expected = owed(&data, system, only);
            assert!(expected.len() > 2);
            for message in scene.rows(&format!("out/outbound/{system}.jsonl")) {
                let code = &codes[&text(&message["canonical_id"])];
                let (native_id, model) = expected.remove(code).unwrap_or_else(|| panic!("{system} needs no {message}"));
                assert_eq!(message["op"], if native_id.is_null() { "create" } else { "update" });
                assert_eq!((&message["native_id"], message["entity"].get("id")), (&native_id, Some(&native_id).filter(|id| !id.is_null())));
                assert_eq!(said(&message["entity"]), model);
            }
            assert!(expected.is_empty(), "{system} was not sent {:?}", expected.keys());
        }
    }
}

#[test]
fn children_that_come_first_find_their_parents_in_any_order() {
    let data = Data::new();
    for seed in 0..4 {
        let scene = Scene::new();
        let lines = data.text("iso-subdivision.jsonl");
        let children = scene.write("children.jsonl", &if seed == 0 { lines } else { shuffled(&data.text("iso-subdivision.jsonl"), seed) });
        let parents = scene.write("parents.jsonl", &shuffled(&data.text("iso-country.jsonl"), seed));
        batch(
            &scene,
            &config(&scene, ""),
            "out",
            &[&format!("iso:subdivision:{children}"), &format!("iso:country:{parents}"), &data.input("geonames-country.jsonl")],
            &[],
        );
        let canonical = Canonical::of(&scene, "out");
        canonical.holds(&data, "iso-subdivision.jsonl", &SUBDIVISION, &BTreeSet::new());
        let children = data.rows("iso-subdivision.jsonl").len();
        assert_eq!(canonical.count("subdivision"), children);
        assert!(scene.rows("out/parked.jsonl").is_empty());
        let counts =
            [("iso", children), ("iso", data.rows("iso-country.jsonl").len()), ("geonames", data.rows("geonames-country.jsonl").len())];
        let rows = decided(&scene, "out", &updates_of(1, &counts));
        assert!(rows.values().all(|row| ["accepted", "partially_accepted"].contains(&row["decision"].as_str().unwrap())));
        ok(&["verify", "--config", &config(&scene, ""), "--store", &scene.text("out")]);
    }
}

/// What each subdivision of countries that are not there waits for: (field, type, native id).
fn missing(data: &Data, left_out: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<[String; 3]>> {
    let rows = data.rows("iso-subdivision.jsonl");
    let waits: BTreeSet<String> =
        rows.iter().filter(|row| left_out.contains(&text(&row["country_id"]))).map(|row| text(&row["id"])).collect();
    let wants = |row: &Value| {
        let country = ["country_id".to_owned(), "country".to_owned(), text(&row["country_id"])];
        let parent = row["parent_id"].as_str().filter(|parent| waits.contains(*parent));
        let parent = parent.map(|parent| ["parent_id".to_owned(), "subdivision".to_owned(), parent.to_owned()]);
        (text(&row["id"]), std::iter::once(country).chain(parent).collect())
    };
    rows.iter().filter(|row| waits.contains(&text(&row["id"]))).map(wants).collect()
}

#[test]
fn children_of_missing_countries_wait_and_say_for_whom_and_heal_later() {
    let data = Data::new();
    let left_out = data.left_out();
    let expected = missing(&data, &left_out);
    let waiting: BTreeSet<String> = expected.keys().cloned().collect();
    assert!(!expected.is_empty() && expected.len() < data.rows("iso-subdivision.jsonl").len());
    for countries_first in [false, true] {
        let scene = Scene::new();
        let (there, late): (Vec<String>, Vec<String>) = data.text("iso-country.jsonl").lines().map(str::to_owned).partition(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            !left_out.contains(&text(&row["id"]))
        });
        assert_eq!(late.len(), left_out.len());
        let there = format!("iso:country:{}", scene.write("there.jsonl", &there.join("\n")));
        let late = format!("iso:country:{}", scene.write("late.jsonl", &late.join("\n")));
        let children = data.input("iso-subdivision.jsonl");
        let inputs = if countries_first { [&there[..], &children] } else { [&children[..], &there] };
        let store = scene.text("store");
        batch(&scene, &config(&scene, ""), "out", &inputs, &["--store", &store]);
        Canonical::of(&scene, "out").holds(&data, "iso-subdivision.jsonl", &SUBDIVISION, &waiting);
        let parked = scene.rows("out/parked.jsonl");
        let said: BTreeMap<String, BTreeSet<[String; 3]>> = parked
            .iter()
            .map(|row| {
                assert_eq!((&row["decision"], &row["waiting_for"]["kind"]), (&json!("parked"), &json!("missing_reference")));
                let names = |missing: &Value| ["field", "type", "native_id"].map(|name| text(&missing[name]));
                let references = row["waiting_for"]["references"].as_array().unwrap();
                assert!(references.iter().all(|missing| missing["system"] == "iso"));
                (text(&row["message"]["native_id"]), references.iter().map(names).collect())
            })
            .collect();
        assert_eq!((parked.len(), &said), (expected.len(), &expected));

        batch(&scene, &config(&scene, ""), "healed", &[&late], &["--store", &store]);
        Canonical::of(&scene, "healed").holds(&data, "iso-subdivision.jsonl", &SUBDIVISION, &BTreeSet::new());
        assert!(scene.rows("healed/parked.jsonl").is_empty());
        ok(&["verify", "--config", &config(&scene, ""), "--store", &store]);
    }
}

#[test]
fn cities_find_the_country_of_their_own_system_before_or_after_it() {
    let data = Data::new();
    let (cities, children) = (data.input("geonames-city.jsonl"), data.input("iso-subdivision.jsonl"));
    let (iso, geonames) = (data.input("iso-country.jsonl"), data.input("geonames-country.jsonl"));
    for order in [[&iso[..], &geonames, &cities, &children], [&cities[..], &children, &iso, &geonames]] {
        let scene = Scene::new();
        batch(&scene, &config(&scene, ""), "out", &order, &[]);
        let canonical = Canonical::of(&scene, "out");
        canonical.holds(&data, "geonames-city.jsonl", &CITY, &BTreeSet::new());
        canonical.holds(&data, "iso-subdivision.jsonl", &SUBDIVISION, &BTreeSet::new());
        assert_eq!(canonical.count("city"), data.rows("geonames-city.jsonl").len());
        assert_eq!(canonical.count("country"), data.union().len());
        assert!(scene.rows("out/parked.jsonl").is_empty());
    }
}
