//! Decisions as they are made, as Server-Sent Events.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{PUSH, Served, device};

/// What a browser's `EventSource` makes of it.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn of(served: &Served, query: &str, last: Option<&str>) -> Self {
        let mut request = served.http.get(format!("{}/v1/events{query}", served.url));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event: its name, its id, its data; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        let read = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
                    let (name, id, data) = (field("event:"), field("id:"), field("data:"));
                    self.text = rest.to_owned();
                    // A line that only says that somebody is there.
                    if !data.is_empty() {
                        return Some((name, id, serde_json::from_str(&data).unwrap()));
                    }
                    continue;
                }
                let chunk = self.response.chunk().await.ok()??;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("no event came")
    }

    async fn decision(&mut self) -> (String, String) {
        let (name, id, row) = self.next().await.expect("the stream has ended");
        assert_eq!(name, "decision", "{row}");
        (id, format!("{} {}", row["update"].as_str().unwrap(), row["decision"].as_str().unwrap()))
    }
}

async fn fans(served: &Served, names: &[&str]) {
    for name in names {
        served.say(&device(name, "bms", "b1", json!({"serial": "S1", "name": name}))).await;
        served.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_what_was_decided_then_each_decision_as_it_is_made() {
    let served = Served::with(PUSH).await;
    let mut empty = Events::of(&served, "?decision=dropped", None).await;
    assert_eq!(empty.next().await.unwrap().2, json!({"items": []}));
    fans(&served, &["u1", "u2"]).await;
    let mut all = Events::of(&served, "?limit=1", None).await;
    let mut oem = Events::of(&served, "?system=oem", None).await;
    let (name, _, snapshot) = all.next().await.unwrap();
    assert_eq!((name.as_str(), snapshot["items"].as_array().unwrap().len()), ("snapshot", 1));
    assert_eq!(snapshot["items"][0], served.get("/v1/decisions/bms:u2").await.1);
    assert_eq!(oem.next().await.unwrap().2, json!({"items": []}));

    fans(&served, &["u3"]).await;
    served.say(&device("o1", "oem", "o1", json!({"serial_no": "S1"}))).await;
    served.say(&device("o1", "oem", "o1", json!({"serial_no": "S1"}))).await;
    served.at_rest().await;
    fans(&served, &["u4"]).await;
    for expected in ["bms:u3 accepted", "oem:o1 unchanged", "bms:u4 accepted"] {
        assert_eq!(all.decision().await.1, expected);
    }
    assert_eq!(oem.decision().await.1, "oem:o1 unchanged");
    // Whoever listens is told that it ends.
    served.orchestrator.stop().await.unwrap();
    assert_eq!((all.next().await, oem.next().await, empty.next().await), (None, None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_is_told_what_came_since() {
    let served = Served::with(PUSH).await;
    fans(&served, &["u1"]).await;
    let mut first = Events::of(&served, "", None).await;
    let (_, seen, _) = first.next().await.unwrap();
    fans(&served, &["u2", "u3"]).await;
    let (second, said) = first.decision().await;
    assert_eq!(said, "bms:u2 accepted");
    drop(first);
    fans(&served, &["u4"]).await;
    let mut again = Events::of(&served, "", Some(&second)).await;
    assert_eq!([again.decision().await.1, again.decision().await.1], ["bms:u3 accepted", "bms:u4 accepted"]);
    let mut from_the_snapshot = Events::of(&served, "", Some(&seen)).await;
    assert_eq!(from_the_snapshot.decision().await.1, "bms:u2 accepted");
    let refused = served.http.get(format!("{}/v1/events", served.url)).header("last-event-id", "7").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(served.get("/v1/events?colour=red").await.0, StatusCode::BAD_REQUEST);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_waited_is_told_again_when_it_is_decided() {
    let references = "[entities.sensor]\nreferences = { device_id = \"device\" }\n[systems.bms.entities.sensor]\n";
    let served = Served::with(&format!("{PUSH}{references}")).await;
    let mut events = Events::of(&served, "?type=sensor", None).await;
    events.next().await.unwrap();
    served.say(&json!({"id": "s1", "system": "bms", "type": "sensor", "native_id": "t1", "entity": {"device_id": "b1"}})).await;
    assert_eq!(events.decision().await.1, "bms:s1 parked");
    fans(&served, &["u1"]).await;
    assert_eq!(events.decision().await.1, "bms:s1 accepted");
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_follows_until_the_orchestrator_ends() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let served = Served::with(PUSH).await;
    fans(&served, &["one", "two"]).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["decisions", "--follow", "--json", "--system", "bms", "--url", &served.url]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.expect("nothing is told").unwrap();
        line.map(|line| serde_json::from_str::<Value>(&line).unwrap()["update"].as_str().unwrap().to_owned())
    };
    assert_eq!([told().await, told().await], [Some("bms:one".to_owned()), Some("bms:two".to_owned())]);
    fans(&served, &["three"]).await;
    assert_eq!(told().await.as_deref(), Some("bms:three"));
    served.orchestrator.stop().await.unwrap();
    assert_eq!(told().await, None);
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(69), "{}", String::from_utf8_lossy(&ended.stderr));
}
