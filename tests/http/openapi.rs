//! What is answered is what the OpenAPI document says, whatever is asked.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{PUSH, Served, device};

/// What a part of a path may be: the first is there.
const PARTS: [(&str, &[&str]); 4] = [
    ("type", &["device", "nothing", "%00", "d%2Fe", "Ünï", "a%20b"]),
    ("system", &["bms", "oem", "nobody", "%22", "..%2f..", "x%20x"]),
    ("update", &["bms:u1", "bms:never", "nonsense", ":", "%F0%9F%92%A5:1", "a:b:c"]),
    ("id", &["bms:b1", "bms:never", "bms:dead", "0192f0c4-7c1e-7aaa-8000-000000000001", "bad", "create:oem:device", "%00", "'%20or%201=1"]),
];

/// Values that nobody expects.
const NASTY: [&str; 12] =
    ["", "0", "-1", "99999999999999999999", "null", "true", "%00", "%ff", "{}", "[]", "1e400", "2026-13-45T99:99:99Z"];

fn forms(name: &str) -> Vec<String> {
    PARTS.iter().find(|(part, _)| *part == name).map(|(_, forms)| forms.iter().map(|form| (*form).to_owned()).collect()).unwrap_or_default()
}

/// Every path an operation stands for: its usual one first.
fn paths(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    for name in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
        let forms = forms(name);
        assert!(!forms.is_empty(), "nothing is known for {{{name}}}");
        all = all.iter().flat_map(|path| forms.iter().map(move |form| path.replace(&format!("{{{name}}}"), form))).collect();
    }
    all
}

struct Asked<'a> {
    served: &'a Served,
    document: Value,
}

impl Asked<'_> {
    /// Asks, and compares the answer with what is promised. Returns the status.
    async fn ask(&self, method: &Method, path: &str, operation: &Value, body: Option<(&str, Vec<u8>)>) -> StatusCode {
        let mut request = self.served.http.request(method.clone(), format!("{}{path}", self.served.url));
        if let Some((media, body)) = body {
            request = request.header("content-type", media).body(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let media = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().to_owned();
        let promised = operation["responses"].get(status.as_str()).unwrap_or(&operation["responses"]["default"]);
        let content = &promised["content"][&media];
        if media == "text/event-stream" {
            assert!(content.is_object(), "{method} {path} answers {status} with {media}");
            return status;
        }
        let text = response.text().await.unwrap();
        assert!(status.as_u16() < 500, "{method} {path}: {status} {text}");
        assert!(content.is_object(), "{method} {path} answers {status} with {media:?}: {text}");
        if media.ends_with("json") {
            let value: Value = serde_json::from_str(&text).unwrap();
            let mut schema = content["schema"].clone();
            schema["components"] = self.document["components"].clone();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let wrong: Vec<String> = validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(wrong.is_empty(), "{method} {path} {status}: {wrong:?} in {text}");
        }
        status
    }
}

async fn with_some_data() -> Served {
    let served = Served::with(PUSH).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}))).await;
    served.say(&device("u2", "oem", "o1", json!({"serial_no": "S1", "name": "Fan AX"}))).await;
    served.say(&json!({"id": "w", "system": "bms", "type": "device", "native_id": "b7", "op": "patch", "entity": {"name": "x"}})).await;
    served.say(&device("u1", "bms", "b1", json!({"serial": "another"}))).await;
    served.say(&device("dead", "bms", "b4", json!({"serial": "S4", "id": "other"}))).await;
    served.at_rest().await;
    served
}

fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| -> Vec<(Method, String, Value)> {
        let item = item.as_object().unwrap();
        item.iter().map(|(method, operation)| (method.to_uppercase().parse().unwrap(), path.clone(), operation.clone())).collect()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_is_promised() {
    let served = with_some_data().await;
    let (_, document) = served.get("/openapi.json").await;
    let asked = Asked { served: &served, document: document.clone() };
    let mut found = 0;
    for (method, path, operation) in operations(&document).into_iter().filter(|(method, ..)| *method == Method::GET) {
        for (at, path) in paths(&path).into_iter().enumerate() {
            let query = if path == "/v1/lookup" { "?system=bms&type=device&native_id=b1" } else { "" };
            let status = asked.ask(&method, &format!("{path}{query}"), &operation, None).await;
            let usual = at == 0 && !["/v1/parked/bms:u1", "/v1/dead-letters/bms:b1"].contains(&path.as_str());
            assert!(!usual || status.is_success(), "{path}: {status}");
            found += u32::from(status.is_success());
        }
        for parameter in operation["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["in"] == "query") {
            for value in NASTY {
                let path = format!("{}?{}={value}", paths(&path)[0], parameter["name"].as_str().unwrap());
                asked.ask(&method, &path, &operation, None).await;
            }
        }
    }
    assert!(found > 20, "{found} answers were looked at");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_asked_for_is_too_much() {
    let served = with_some_data().await;
    let (_, document) = served.get("/openapi.json").await;
    let asked = Asked { served: &served, document: document.clone() };
    let bodies: Vec<Vec<u8>> = [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{",
        "{\"by\":1}",
        "{\"nothing\":true}",
        "{\"dry_run\":true}",
        "{\"dry_run\":\"yes\"}",
        "{\"direction\":\"sideways\"}",
        "{\"direction\":\"both\",\"dry_run\":true}",
        "{\"type\":\"device\",\"dry_run\":true}",
        "{\"loser\":\"oem:o1\",\"dry_run\":true}",
        "{\"links\":[\"bms\"],\"dry_run\":true}",
        "{\"links\":[1]}",
        "{\"entity\":[]}",
        "{\"max\":0}",
        "{\"max\":1e9}",
        "{\"lease_ms\":0}",
        "{\"reason\":null,\"dry_run\":true}",
        "{\"message\":{}}",
        "{\"by\":\"a\\nb\"}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([vec![0xff, 0xfe], "[".repeat(200).into_bytes()])
    .collect();
    for (method, path, operation) in operations(&document).into_iter().filter(|(method, ..)| *method != Method::GET) {
        for path in paths(&path) {
            for body in &bodies {
                asked.ask(&method, &path, &operation, Some(("application/json", body.clone()))).await;
            }
        }
        asked.ask(&method, &paths(&path)[0], &operation, Some(("text/plain", b"{}".to_vec()))).await;
    }
    // It still works.
    served.say(&device("last", "bms", "b99", json!({"serial": "S99"}))).await;
    served.orchestrator.stop().await.unwrap();
}
