//! From the durable inbound queue to the systems' queues, across stops.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use syncline::domain::decision::DecisionKind;
use syncline::domain::ids::SystemName;
use syncline::domain::time::Timestamp;
use syncline::prelude::*;

use crate::support::{decided, drained, row, syncline, until, whole};

const PUSH: &str = r#"
[orchestration]
push_updates = true
[entities.device]
keys = [{ fields = ["serial"] }]
[systems.bms.entities.device]
[systems.oem.entities.device]
"#;

/// Everything that waits for a system, by serial.
async fn waiting_for(orchestrator: &Orchestrator, system: &str) -> BTreeMap<String, Value> {
    let system = SystemName::new(system).unwrap();
    let leased = orchestrator.queues().unwrap().lease(&system, 10_000, Duration::ZERO, Timestamp::from_micros(0)).await.unwrap();
    let bodies = leased.messages.iter().map(|message| serde_json::from_slice::<Value>(&message.body).unwrap());
    bodies.map(|body| (body["entity"]["serial"].as_str().unwrap().to_owned(), body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_system_says_waits_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), PUSH).start().await.unwrap();
    let first: Vec<_> = (0..500).map(|n| whole(format!("a{n}"), "bms", n, json!({"serial": format!("S{n}"), "name": "first"}))).collect();
    orchestrator.submit(&first).await.unwrap();
    let second: Vec<_> = (0..500).map(|n| whole(format!("b{n}"), "bms", n, json!({"serial": format!("S{n}"), "name": "second"}))).collect();
    orchestrator.submit(&second).await.unwrap();
    drained(&orchestrator).await;
    let sent = until("every record in its newest state", async || {
        let sent = waiting_for(&orchestrator, "oem").await;
        (sent.len() == 500 && sent.values().all(|body| body["entity"]["name"] == "second")).then_some(sent)
    })
    .await;
    for body in sent.values() {
        assert_eq!((&body["op"], &body["native_id"]), (&json!("create"), &Value::Null));
    }
    assert!(waiting_for(&orchestrator, "bms").await.is_empty(), "nothing goes back to where it came from");
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_is_kept_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), "").start().await.unwrap();
    let bad = b"{\"id\": \"u1\", \"system\": \"bms\"".to_vec();
    orchestrator.queues().unwrap().enqueue(vec![(None, bad.clone()), (None, bad)], Timestamp::from_micros(0)).await.unwrap();
    orchestrator.submit(&[whole("u2", "bms", "d1", json!({"name": "fine"}))]).await.unwrap();
    decided(&orchestrator, "bms:u2").await;
    drained(&orchestrator).await;
    let letters = orchestrator.store().dead_letters(None, 10).await.unwrap().items;
    assert_eq!(letters.len(), 1, "the same bytes are kept once: {letters:?}");
    assert_eq!(letters[0].body.as_deref(), Some("{\"id\": \"u1\", \"system\": \"bms\""));
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_update_comes_back_when_its_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), "")
        .on_update("device", |_: &mut Record, _: Option<&Record>, meta: &UpdateMeta| {
            if meta.attempt() == 1 { Verdict::defer("not yet", Duration::from_millis(30)) } else { Verdict::accept("now") }
        })
        .start()
        .await
        .unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"name": "x"}))]).await.unwrap();
    let decision = decided(&orchestrator, "bms:u1").await;
    assert_eq!((decision.decision, decision.attempts, decision.reason.as_str()), (DecisionKind::Accepted, 2, "now; a new record from bms"));
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_under_load_lose_nothing_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (updates, records) = (3000, 250);
    let mut handed_in = 0;
    while handed_in < updates {
        let orchestrator = syncline(folder.path(), PUSH).start().await.unwrap();
        let some: Vec<_> = (handed_in..handed_in + 600)
            .map(|n| whole(format!("u{n}"), "bms", n % records, json!({"serial": format!("S{}", n % records), "count": n})))
            .collect();
        orchestrator.submit(&some).await.unwrap();
        handed_in += 600;
        // Stopped as soon as anything of it is decided: the rest comes again after the next start.
        until("a first decision", async || row(&orchestrator, &format!("bms:u{}", handed_in - 600)).await).await;
        orchestrator.stop().await.unwrap();
    }
    let orchestrator = syncline(folder.path(), PUSH).start().await.unwrap();
    drained(&orchestrator).await;
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..updates {
        let decision = decided(&orchestrator, &format!("bms:u{n}")).await;
        let version = versions.entry(decision.canonical_id.unwrap().to_string()).or_default();
        assert_eq!((decision.decision, decision.version_before), (DecisionKind::Accepted, *version));
        *version = decision.version_after;
    }
    assert_eq!(versions.len(), records);
    assert!(versions.values().all(|version| *version == (updates / records) as u64));
    until("the newest state of every record for oem", async || {
        let sent = waiting_for(&orchestrator, "oem").await;
        (sent.len() == records && sent.values().all(|body| body["version"] == updates / records)).then_some(())
    })
    .await;
    orchestrator.stop().await.unwrap();
}
