//! The AsyncAPI document, against what AsyncAPI 3.0 asks of one.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{assert_good, problems, said, validator};

fn document(config: &str) -> Value {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, config).unwrap();
    serde_json::from_str(&said(&["asyncapi", "--config", &path.display().to_string()])).unwrap()
}

const PUSHES: &str = r#"
[broker]
kind = "rabbitmq"
url = "amqps://main:hunter2@mq.example.com/flow"
prefix = "sora.flow"
require_user_id = true
[orchestration]
push_updates = true
[systems.bms]
[systems.oem]
amqp_user = "oem-adapter"
"#;

fn entries<'a>(document: &'a Value, place: &str) -> Vec<(&'a String, &'a Value)> {
    document.pointer(place).and_then(Value::as_object).unwrap_or_else(|| panic!("{place}")).iter().collect()
}

fn target<'a>(document: &'a Value, reference: &Value) -> &'a Value {
    let place = reference["$ref"].as_str().unwrap_or_else(|| panic!("no reference: {reference}"));
    let pointer = place.strip_prefix('#').unwrap_or_else(|| panic!("points outside: {place}"));
    document.pointer(pointer).unwrap_or_else(|| panic!("points nowhere: {place}"))
}

/// Every reference leads somewhere, and nothing stands beside it.
fn resolve(document: &Value, value: &Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("$ref") {
                target(document, value);
                assert_eq!(map.len(), 1, "{value}");
            }
            map.values().for_each(|value| resolve(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| resolve(document, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// That an object has these fields, and no others.
fn shaped(place: &str, value: &Value, required: &[&str], more: &[&str]) {
    let map = value.as_object().unwrap_or_else(|| panic!("{place}: {value}"));
    for name in required {
        assert!(map.contains_key(*name), "{place} has no {name}");
    }
    for name in map.keys() {
        assert!(required.contains(&name.as_str()) || more.contains(&name.as_str()) || name.starts_with("x-"), "{place}: {name}");
    }
}

fn check(document: &Value) {
    shaped("document", document, &["asyncapi", "info", "channels", "operations", "components"], &["id", "servers", "defaultContentType"]);
    assert_eq!(document["asyncapi"], "3.0.0");
    shaped(
        "info",
        &document["info"],
        &["title", "version"],
        &["description", "license", "contact", "tags", "externalDocs", "termsOfService"],
    );
    resolve(document, document);
    for (name, server) in entries(document, "/servers") {
        shaped(name, server, &["host", "protocol"], &["pathname", "protocolVersion", "description", "security", "bindings"]);
        assert!(!server["host"].as_str().unwrap().contains(['/', '@']), "{server}");
    }
    for (name, channel) in entries(document, "/channels") {
        shaped(name, channel, &["address", "messages"], &["title", "description", "parameters", "bindings", "servers", "summary"]);
        let named: Vec<&str> = channel["address"].as_str().unwrap().split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let parameters: Vec<&String> = channel.get("parameters").map_or_else(Vec::new, |map| map.as_object().unwrap().keys().collect());
        assert!(named.len() == parameters.len() && named.iter().all(|name| parameters.iter().any(|p| p == name)), "{name}: {named:?}");
        let amqp = &channel["bindings"]["amqp"];
        shaped(name, amqp, &["is", "bindingVersion"], &["exchange", "queue"]);
        match amqp["is"].as_str().unwrap() {
            "routingKey" => shaped(name, &amqp["exchange"], &["name", "type", "durable", "autoDelete", "vhost"], &[]),
            "queue" => shaped(name, &amqp["queue"], &["name", "durable", "exclusive", "autoDelete", "vhost"], &[]),
            other => panic!("{name}: {other}"),
        }
    }
    for (name, operation) in entries(document, "/operations") {
        let more = ["title", "summary", "description", "security", "bindings", "messages", "reply", "tags"];
        shaped(name, operation, &["action", "channel"], &more);
        assert!(operation["action"] == "send" || operation["action"] == "receive", "{name}");
        messages_of_channel(name, operation);
        if let Some(reply) = operation.get("reply") {
            messages_of_channel(name, reply);
        }
        shaped(name, &operation["bindings"]["amqp"], &["bindingVersion"], &["deliveryMode", "mandatory", "ack", "userId"]);
    }
    check_messages(document);
}

/// An operation takes messages from its own channel only.
fn messages_of_channel(name: &str, operation: &Value) {
    let channel = operation["channel"]["$ref"].as_str().unwrap();
    for message in operation["messages"].as_array().unwrap() {
        assert!(message["$ref"].as_str().unwrap().starts_with(&format!("{channel}/messages/")), "{name}: {message}");
    }
}

fn check_messages(document: &Value) {
    let schemas = &document["components"]["schemas"];
    for (name, message) in entries(document, "/components/messages") {
        shaped(name, message, &["name", "contentType", "payload"], &["title", "summary", "description", "headers", "examples", "bindings"]);
        // References within a body lead to components, so it needs them around it.
        let mut body = target(document, &message["payload"]).clone();
        body["components"] = json!({ "schemas": schemas });
        let body = validator(&body);
        let headers = message.get("headers").map(validator);
        for example in message.get("examples").and_then(Value::as_array).into_iter().flatten() {
            shaped(name, example, &["payload"], &["name", "summary", "headers"]);
            assert_eq!(problems(&body, &example["payload"]), [""; 0], "{name}: {example}");
            assert_good(name, &example["payload"]);
            if let Some(headers) = &headers {
                assert_eq!(problems(headers, &example["headers"]), [""; 0], "{name}: {example}");
            }
        }
    }
    for (name, scheme) in entries(document, "/components/securitySchemes") {
        shaped(name, scheme, &["type"], &["description"]);
    }
    for (name, schema) in schemas.as_object().unwrap() {
        assert!(schema.get("$schema").is_none() && schema.get("$id").is_none(), "{name}");
    }
}

#[test]
fn it_is_an_asyncapi_document_with_the_configured_names() {
    let document = document(PUSHES);
    check(&document);
    let names = |place: &str| entries(&document, place).into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names("/channels"), ["inbound", "updates_bms", "updates_oem"]);
    assert_eq!(names("/operations"), ["receive_updates_bms", "receive_updates_oem", "send_updates"]);
    assert_eq!(document["servers"]["broker"]["host"], "mq.example.com:5671");
    assert_eq!(document["servers"]["broker"]["pathname"], "/flow");
    assert_eq!(document["channels"]["inbound"]["bindings"]["amqp"]["exchange"]["name"], "sora.flow.inbound");
    assert_eq!(document["channels"]["updates_oem"]["address"], "sora.flow.updates.oem");
    assert_eq!(document["channels"]["inbound"]["parameters"]["system"]["enum"], json!(["bms", "oem"]));
    let text = document.to_string();
    assert!(!text.contains("hunter2") && text.contains("oem-adapter for oem") && text.contains("user_id must be set"), "{text}");
    assert!(document["x-topology"].as_array().is_some_and(|objects| objects.len() == 11), "{}", document["x-topology"]);
}

#[test]
fn without_push_nobody_receives() {
    let document = document("[systems.bms]");
    check(&document);
    let operations: Vec<&String> = entries(&document, "/operations").into_iter().map(|(name, _)| name).collect();
    assert_eq!(operations, ["send_updates"]);
    assert_eq!(document["servers"]["broker"]["host"], "localhost:5672");
    assert!(document["components"]["messages"].get("outbound").is_none());
}

#[test]
fn the_document_in_the_repository_is_one() {
    check(&serde_json::from_str(&crate::support::read("docs/asyncapi.json")).unwrap());
}
