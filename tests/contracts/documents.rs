//! `docs/schemas/*.json`, `docs/openapi.json` and `docs/asyncapi.json` are what the binary prints.

use std::collections::BTreeSet;

use serde_json::Value;
use syncline::schema::Contract;

use crate::support::{read, root, said};

const RENEW: &str = "SYNCLINE_RENEW=1 cargo test --test contracts documents";

/// Compares a file with what it should hold, or renews it.
fn compare(name: &str, text: &str, stale: &mut Vec<String>) {
    let path = root().join(name);
    if std::env::var_os("SYNCLINE_RENEW").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    } else if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
        stale.push(name.to_owned());
    }
}

#[test]
fn the_documents_are_up_to_date() {
    let mut stale = Vec::new();
    for contract in Contract::ALL {
        compare(&format!("docs/schemas/{}.json", contract.name()), &said(&["schema", contract.name()]), &mut stale);
    }
    compare("docs/openapi.json", &said(&["openapi"]), &mut stale);
    compare("docs/asyncapi.json", &said(&["asyncapi", "--config", "config/rabbitmq-mongodb.toml"]), &mut stale);
    assert!(stale.is_empty(), "\n\nnot what the types say: {}; run {RENEW} to renew\n", stale.join(", "));
    let files = std::fs::read_dir(root().join("docs/schemas")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wanted: BTreeSet<String> = Contract::ALL.iter().map(|contract| format!("{}.json", contract.name())).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn all_contracts_are_also_one_document() {
    let all: Value = serde_json::from_str(&said(&["schema"])).unwrap();
    let names: BTreeSet<&str> = all["$defs"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, Contract::ALL.iter().map(|contract| contract.name()).collect());
    let mut whole = all.clone();
    whole["$ref"] = "#/$defs/inbound".into();
    assert!(crate::support::validator(&whole).is_valid(&serde_json::from_str(&read("tests/compat/v1/change-set.json")).unwrap()));
}

#[test]
fn the_limits_of_the_schemas_are_the_decoders() {
    use syncline_contract::schema::{FIELD_NAME_MAX, FIELDS_MAX, ID_MAX, NATIVE_ID_MAX};
    let limits = syncline::wire::Limits::default();
    assert_eq!(
        (ID_MAX, NATIVE_ID_MAX, FIELD_NAME_MAX, FIELDS_MAX),
        (limits.id_bytes, limits.native_id_bytes, limits.field_name_bytes, limits.fields)
    );
}

#[test]
fn descriptions_are_prose() {
    fn look(place: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(text) = map.get("description").and_then(Value::as_str)
                    && (text.contains("](")
                        || text.contains("[`")
                        || text.contains("```")
                        || text.contains("  ")
                        || text.contains("::")
                        || text.contains("None"))
                {
                    found.push(format!("{place}: {text}"));
                }
                map.iter().for_each(|(name, value)| look(&format!("{place}/{name}"), value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| look(place, item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    for contract in Contract::ALL {
        look(contract.name(), &contract.schema(), &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
