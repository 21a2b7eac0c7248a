//! What a collector of traces is told.

use std::io::Read;
use std::net::TcpListener as StdListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{until, whole};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector: answers everything with 200 and hands on what it was told.
async fn collector() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, from) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    let mut some = [0; 4096];
                    let count = stream.read(&mut some).await.unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    bytes.extend_from_slice(&some[..count]);
                    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                    assert!(head.starts_with("post /v1/traces "), "{head}");
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
                    if bytes.len() >= end + 4 + length {
                        let body: Vec<u8> = bytes.drain(..end + 4 + length).skip(end + 4).collect();
                        to.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (url, from)
}

struct Orchestrator(Child);

impl Drop for Orchestrator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spans(told: &Value) -> Vec<Value> {
    let scopes = told["resourceSpans"].as_array().into_iter().flatten().flat_map(|resource| resource["scopeSpans"].as_array());
    scopes.flatten().flat_map(|scope| scope["spans"].as_array()).flatten().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_update_is_followed_from_its_adapter_to_the_message_that_follows() {
    let (collector, mut told) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.path().join("syncline.toml");
    let text = format!(
        "[orchestration]\npush_updates = true\n[store]\npath = {:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [entities.device]\nkeys = [{{ fields = [\"serial\"] }}]\n[systems.bms.entities.device]\n[systems.oem.entities.device]\n",
        folder.path().join("data")
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.arg("run").arg("--config").arg(&config).stderr(Stdio::piped());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    let mut orchestrator = Orchestrator(command.spawn().unwrap());
    let http = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{port}");
    until("an orchestrator", async || http.get(format!("{url}/readyz")).send().await.ok().filter(|answer| answer.status().is_success()))
        .await;

    let header = format!("00-{TRACE}-{PARENT}-01");
    let update = whole("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}));
    let answer = http.post(format!("{url}/v1/updates")).header("traceparent", header).json(&update).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    // What names no trace, or one that nobody records, is not told.
    http.post(format!("{url}/v1/updates")).json(&whole("u2", "bms", "b2", json!({"serial": "S2"}))).send().await.unwrap();
    let unrecorded = format!("00-{TRACE}-{PARENT}-00");
    let third = whole("u3", "bms", "b3", json!({"serial": "S3"}));
    http.post(format!("{url}/v1/updates")).header("traceparent", unrecorded).json(&third).send().await.unwrap();

    let mut seen: Vec<Value> = Vec::new();
    while seen.len() < 2 {
        let some = tokio::time::timeout(Duration::from_secs(30), told.recv()).await.expect("it is told in time").unwrap();
        let name = some["resourceSpans"][0]["resource"]["attributes"].as_array().unwrap();
        assert!(
            name.iter().any(|attribute| attribute["key"] == "service.name" && attribute["value"]["stringValue"] == "syncline"),
            "{some}"
        );
        seen.extend(spans(&some));
    }
    let of = |name: &str| seen.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name}: {seen:?}"));
    let (decide, send) = (of("decide"), of("send"));
    assert_eq!((&decide["traceId"], &decide["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!((&send["traceId"], &send["parentSpanId"]), (&json!(TRACE), &decide["spanId"]));
    let attribute = |span: &Value, key: &str| {
        let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key).cloned();
        found.map(|attribute| attribute["value"]["stringValue"].as_str().unwrap().to_owned())
    };
    assert_eq!(attribute(decide, "syncline.update").as_deref(), Some("bms:u1"));
    assert_eq!(attribute(decide, "syncline.decision").as_deref(), Some("accepted"));
    assert_eq!(attribute(send, "syncline.system").as_deref(), Some("oem"));
    // The adapter goes on under the decision.
    let lease = http.post(format!("{url}/v1/systems/oem/lease")).json(&json!({"max": 10, "wait_ms": 10_000}));
    let given: Value = lease.send().await.unwrap().json().await.unwrap();
    let message = given["updates"].as_array().unwrap().iter().find(|message| message["entity"]["serial"] == "S1").unwrap().clone();
    let expected = format!("00-{TRACE}-{}-01", decide["spanId"].as_str().unwrap());
    assert_eq!(message["traceparent"], expected);

    orchestrator.0.kill().unwrap();
    let mut log = String::new();
    orchestrator.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains("collector"), "{log}");
    assert_eq!(seen.len(), 2, "{seen:?}");
}
