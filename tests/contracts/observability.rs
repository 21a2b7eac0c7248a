//! The dashboard and the alert rules in `config/` name what is measured, and the pages explain them.

use std::collections::BTreeSet;

use serde_json::Value;
use syncline::telemetry::{Gauges, Metrics};

use crate::support::{read, root};

const DASHBOARD: &str = "config/grafana-dashboard.json";
const ALERTS: &str = "config/alerts.yml";
const PAGE: &str = "docs/operations.md";

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap_or_else(|error| panic!("{DASHBOARD}: {error}"))
}

/// Every text in a JSON value.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every name in a text that begins so.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    let name = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    text.match_indices(prefix).map(|(at, _)| name(at)).collect()
}

#[test]
fn dashboard_and_alerts_name_only_what_is_measured() {
    let measured = Metrics::names();
    let shown = Metrics::default().render(&Gauges::default());
    let dashboard = dashboard();
    let mut found = Vec::new();
    texts(&dashboard, &mut found);
    for (file, text) in [(DASHBOARD, found.join("\n")), (ALERTS, read(ALERTS))] {
        let ours = names(&text, "syncline_");
        let unknown: Vec<&String> = ours.difference(&measured).collect();
        assert!(!ours.is_empty() && unknown.is_empty(), "{file} names what is not measured: {unknown:?}");
        // What is told about the process depends on the operating system; on this one all of it is there.
        if cfg!(target_os = "linux") {
            let unknown: Vec<String> = names(&text, "process_").into_iter().filter(|name| !shown.contains(name.as_str())).collect();
            assert!(unknown.is_empty(), "{file} names what is not shown: {unknown:?}");
        }
    }
}

#[test]
fn what_is_listed_is_what_is_shown() {
    let listed = Metrics::names();
    let shown = names(&Metrics::default().render(&Gauges::default()), "syncline_");
    // A histogram's own name stands in its HELP and TYPE lines only.
    let unknown: Vec<&String> = shown.difference(&listed).filter(|name| !listed.contains(&format!("{name}_bucket"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(shown.contains("syncline_decision_seconds_bucket"), "no buckets, so no percentiles: {shown:?}");
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let (alerts, page) = (read(ALERTS), read(PAGE));
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(!rules.is_empty(), "{ALERTS} has no rules");
    for rule in rules {
        let name = rule.lines().next().unwrap_or_default().trim();
        for part in [" expr: ", " for: ", " severity: ", " summary: ", " description: ", " runbook: "] {
            assert!(rule.contains(part), "{name} has no{part}");
        }
        assert!(page.contains(&format!("`{name}`")), "{PAGE} does not explain {name}");
    }
}

#[test]
fn every_panel_has_a_place_and_an_explanation() {
    let (dashboard, page) = (dashboard(), read(PAGE));
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: another panel has its id");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is not on the page");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].is_string(), "{title} does not say what it shows");
        assert!(page.contains(&format!("| {title} |")), "{PAGE} does not explain the panel {title:?}");
        for query in panel["targets"].as_array().unwrap() {
            assert_eq!(query["datasource"]["uid"], "${datasource}", "{title} is bound to one Prometheus");
        }
    }
}

#[test]
fn every_file_in_config_says_what_it_is() {
    for entry in std::fs::read_dir(root().join("config")).unwrap() {
        let name = format!("config/{}", entry.unwrap().file_name().into_string().unwrap());
        let text = read(&name);
        let told = if name.ends_with(".json") {
            serde_json::from_str::<Value>(&text).unwrap()["description"].is_string()
        } else {
            text.starts_with("# ")
        };
        assert!(told, "{name} does not say what it is");
    }
}
