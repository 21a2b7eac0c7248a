//! What must come of the real records, worked out from the files alone: nothing here asks the product.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::support::{Scene, rows};

/// A record without its id, and without what it does not say: null and absent count as equal.
pub type Fields = Map<String, Value>;

/// What geonames may know of a country where the configuration says so.
pub const ONLY: [&str; 4] = ["alpha_2", "name", "capital", "population"];

/// The four files.
pub struct Data(PathBuf);

impl Data {
    /// The files beside the tests, or whole ones in the folder `SYNCLINE_DATA` names.
    pub fn new() -> Self {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/data");
        Self(std::env::var_os("SYNCLINE_DATA").map_or_else(beside, PathBuf::from))
    }

    pub fn rows(&self, file: &str) -> Vec<Value> {
        rows(&self.0.join(file))
    }

    pub fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }

    /// `iso-country.jsonl` as an argument of `--input`.
    pub fn input(&self, file: &str) -> String {
        let of = file.trim_end_matches(".jsonl").replace('-', ":");
        format!("{of}:{}", self.0.join(file).display())
    }

    /// Countries of one system by their common code.
    pub fn countries(&self, system: &str) -> BTreeMap<String, Value> {
        let rows = self.rows(&format!("{system}-country.jsonl"));
        rows.into_iter().map(|row| (row["alpha_2"].as_str().unwrap().to_owned(), row)).collect()
    }

    /// The union of both: iso names it; what else either says, they say alike.
    pub fn union(&self) -> BTreeMap<String, Fields> {
        let (iso, geonames) = (self.countries("iso"), self.countries("geonames"));
        let codes: BTreeSet<&String> = iso.keys().chain(geonames.keys()).collect();
        let merged = |code: &String| {
            let mut fields = geonames.get(code).map(said).unwrap_or_default();
            fields.extend(iso.get(code).map(said).unwrap_or_default());
            (code.clone(), fields)
        };
        codes.into_iter().map(merged).collect()
    }

    /// Countries both know by different names.
    pub fn renamed(&self) -> BTreeSet<String> {
        let geonames = self.countries("geonames");
        let differs = |(code, row): (String, Value)| (geonames.get(&code)?["name"] != row["name"]).then_some(code);
        self.countries("iso").into_iter().filter_map(differs).collect()
    }

    /// Up to twenty countries that have subdivisions, and never all of those.
    pub fn left_out(&self) -> BTreeSet<String> {
        let with: BTreeSet<String> = self.rows("iso-subdivision.jsonl").iter().map(|row| text(&row["country_id"])).collect();
        let most = 20.min(with.len() / 2);
        with.into_iter().step_by(2).take(most).collect()
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// What a native record says.
pub fn said(row: &Value) -> Fields {
    let fields = row.as_object().unwrap().iter().filter(|(name, value)| *name != "id" && !value.is_null());
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Lines in another order, the same one every time.
pub fn shuffled(text: &str, seed: u64) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut state = seed;
    for last in (1..lines.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        lines.swap(last, (state >> 33) as usize % (last + 1));
    }
    lines.join("\n") + "\n"
}

/// The canonical records a batch wrote, and which one each native record belongs to.
pub struct Canonical {
    pub rows: Vec<Value>,
    by_native: BTreeMap<(String, String, String), usize>,
}

impl Canonical {
    pub fn of(scene: &Scene, out: &str) -> Self {
        let rows = scene.rows(&format!("{out}/canonical.jsonl"));
        let mut by_native = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            for link in row["links"].as_array().unwrap().iter().filter(|link| !link["native_id"].is_null()) {
                let key = (text(&link["system"]), text(&row["type"]), text(&link["native_id"]));
                assert_eq!(by_native.insert(key, index), None, "two records have {link}");
            }
        }
        Self { rows, by_native }
    }

    pub fn find(&self, system: &str, of_type: &str, native_id: &Value) -> Option<&Value> {
        let index = self.by_native.get(&(system.to_owned(), of_type.to_owned(), text(native_id)))?;
        Some(&self.rows[*index])
    }

    pub fn count(&self, of_type: &str) -> usize {
        self.rows.iter().filter(|row| row["type"] == of_type).count()
    }

    /// Ids, versions and data, whatever else moved.
    pub fn facts(&self) -> Vec<[&Value; 3]> {
        self.rows.iter().map(|row| [&row["id"], &row["version"], &row["data"]]).collect()
    }

    /// Every record of a file that is not in `except` became one of its own, and its references are canonical.
    pub fn holds(&self, data: &Data, file: &str, references: &[(&str, &str)], except: &BTreeSet<String>) {
        let (system, of_type) = file.trim_end_matches(".jsonl").split_once('-').unwrap();
        for row in data.rows(file).iter().filter(|row| !except.contains(&text(&row["id"]))) {
            let record = self.find(system, of_type, &row["id"]).unwrap_or_else(|| panic!("{row} has no record"));
            let mut expected = said(row);
            for (field, target) in references {
                if let Some(value) = expected.get_mut(*field) {
                    *value = self.find(system, target, value).unwrap_or_else(|| panic!("{value} has no record"))["id"].clone();
                }
            }
            assert_eq!(said(&record["data"]), expected);
            assert_eq!(record["version"], 1, "{record}");
        }
    }
}

/// One decision row for each of `updates`, and no other; returns them by update.
pub fn decided(scene: &Scene, out: &str, updates: &BTreeSet<String>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for row in scene.rows(&format!("{out}/decisions.jsonl")) {
        assert_eq!(found.insert(text(&row["update"]), row), None, "two rows of one update");
    }
    assert_eq!(&found.keys().cloned().collect::<BTreeSet<_>>(), updates);
    found
}

/// The updates that the lines of files given to one run become.
pub fn updates_of(run: usize, files: &[(&str, usize)]) -> BTreeSet<String> {
    let of_file = |(index, (system, lines)): (usize, &(&str, usize))| {
        let input = index + 1;
        (1..=*lines).map(|line| format!("{system}:r{run}-i{input}-l{line:07}")).collect::<Vec<_>>()
    };
    files.iter().enumerate().flat_map(of_file).collect()
}
