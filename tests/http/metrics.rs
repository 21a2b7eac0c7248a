//! What is measured, as a monitoring system reads it.

use serde_json::json;

use crate::support::{PUSH, Served, device};

/// The number at the end of the line that starts so.
fn number(text: &str, start: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn metrics(served: &Served) -> String {
    let response = served.http.get(format!("{}/metrics", served.url)).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (reqwest::StatusCode::OK, &"text/plain; version=0.0.4".parse().unwrap())
    );
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_happens_is_counted() {
    let served = Served::with(PUSH).await;
    let update = device("u1", "bms", "b1", json!({"serial": "S1", "name": "Fan"}));
    served.say(&update).await;
    served.say(&update).await;
    served.say(&json!({"id": "p1", "system": "bms", "type": "device", "native_id": "b9", "op": "patch", "entity": {"name": "?"}})).await;
    served.at_rest().await;
    let text = metrics(&served).await;
    assert_eq!(number(&text, "syncline_updates_total{system=\"bms\",type=\"device\",decision=\"accepted\"}"), 1.0);
    assert_eq!(number(&text, "syncline_updates_total{system=\"bms\",type=\"device\",decision=\"parked\"}"), 1.0);
    assert_eq!(number(&text, "syncline_duplicates_total"), 1.0);
    assert_eq!(number(&text, "syncline_decision_seconds_count"), 2.0);
    assert_eq!(number(&text, "syncline_outbound_seconds_count"), 1.0);
    assert_eq!(number(&text, "syncline_parked{reason=\"no_base\"}"), 1.0);
    assert_eq!(number(&text, "syncline_drift{system=\"oem\",type=\"device\"}"), 1.0, "it has not answered yet");
    assert_eq!(number(&text, "syncline_inbound_messages"), 0.0);
    assert!(number(&text, "process_resident_memory_bytes") > 1e6);

    let create = served.lease("oem", json!({"max": 1})).await.remove(0);
    let receipt = json!({
        "id": "r1", "system": "oem", "type": "device", "op": "receipt", "native_id": "o1", "canonical_id": create["canonical_id"],
        "rev": create["rev"], "status": "applied",
    });
    served.say(&receipt).await;
    served.at_rest().await;
    let text = metrics(&served).await;
    assert_eq!(number(&text, "syncline_drift{system=\"oem\",type=\"device\"}"), 0.0);
    assert_eq!(number(&text, "syncline_pending{system=\"oem\"}"), 0.0);
    served.orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_changes_nothing() {
    let served = Served::with(PUSH).await;
    let url = format!("{}/v1/systems/oem/pause", served.url);
    for (header, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        let answer = served.http.post(&url).header(header, value).body(r#"{"direction":"both"}"#).send().await.unwrap();
        assert_eq!(answer.status(), reqwest::StatusCode::FORBIDDEN);
    }
    assert_eq!(served.get("/v1/brakes").await.1["items"], json!([]));
    served.orchestrator.stop().await.unwrap();
}
