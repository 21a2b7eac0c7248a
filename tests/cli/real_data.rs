//! Real records of two systems, where they are at hand: `SYNCLINE_DATA`, or `../shared/data` beside the repository.

use std::path::{Path, PathBuf};

use crate::support::{Scene, ok};

const CONFIG: &str = r#"
[entities.country]
keys = [{ fields = ["alpha_2"] }]
survivorship = { name = { source_priority = ["iso", "geonames"] } }
[entities.subdivision]
references = { country_id = "country", parent_id = "subdivision" }
[systems.iso]
[systems.geonames]
"#;

fn data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("SYNCLINE_DATA").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[test]
fn subdivisions_before_their_countries_all_find_them() {
    let Some(data) = data() else {
        eprintln!("skipped: there is no ../shared/data; name a folder with SYNCLINE_DATA");
        return;
    };
    let scene = Scene::new();
    let config = scene.write("syncline.toml", CONFIG);
    let input = |of: &str, file: &str| format!("{of}:{}", data.join(file).display());
    let (parts, countries) = (input("iso:subdivision", "iso-subdivision.jsonl"), input("iso:country", "iso-country.jsonl"));
    let others = input("geonames:country", "geonames-country.jsonl");
    let out = scene.text("out");
    ok(&["batch", "--config", &config, "--seed", "5", "--out", &out, "--input", &parts, "--input", &countries, "--input", &others]);
    let summary = scene.json("out/summary.json");
    assert_eq!(summary["canonical"], serde_json::json!({"country": 252, "subdivision": 5127}));
    assert_eq!((summary["parked"].as_u64(), summary["dead_letters"].as_u64()), (Some(0), Some(0)));
    ok(&["verify", "--config", &config, "--store", &out]);
}
