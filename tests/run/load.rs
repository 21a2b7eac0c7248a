//! While messages keep coming, everything else has its turn too.

use std::time::Duration;

use serde_json::json;
use syncline::domain::decision::DecisionKind;
use syncline::domain::ids::SystemName;
use syncline::domain::time::Timestamp;
use syncline::prelude::*;

use crate::support::{decided, syncline, until, whole};

/// Keeps the inbound queue from running empty while something comes to be.
async fn under_load<T>(orchestrator: &Orchestrator, comes: impl Future<Output = T>) -> T {
    let load = async {
        for n in 0.. {
            if orchestrator.queues().unwrap().depth().await.unwrap().0 > 2000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let one = |k| whole(format!("load{n}-{k}"), "bms", format!("l{n}-{k}"), json!({"serial": format!("L{n}-{k}")}));
            orchestrator.submit(&(0..500).map(one).collect::<Vec<_>>()).await.unwrap();
        }
    };
    tokio::select! {
        came = comes => came,
        () = load => unreachable!("it goes on for ever"),
    }
}

/// Defers the first time it sees a record named `later`.
fn defers_once(proposed: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Verdict {
    let later = proposed.get("name").is_some_and(|name| name == "later");
    if later && meta.attempt() == 1 { Verdict::defer("not now", Duration::from_millis(50)) } else { Verdict::accept(None) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_update_does_not_wait_for_the_queue_to_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), "").on_update("device", defers_once).start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"name": "later"}))]).await.unwrap();
    let decision = under_load(&orchestrator, decided(&orchestrator, "bms:u1")).await;
    assert_eq!(decision.decision, DecisionKind::Accepted);
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_system_could_not_apply_is_sent_again_while_more_comes() {
    let config = r#"
        [orchestration]
        push_updates = true
        create_brake = { count = 1000000, window = "1m" }
        [entities.device]
        keys = [{ fields = ["serial"] }]
        [systems.bms.entities.device]
        [systems.oem.entities.device]
    "#;
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), config).start().await.unwrap();
    let oem = SystemName::new("oem").unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"serial": "S1"}))]).await.unwrap();
    let create = until("the create for oem", async || {
        let leased = orchestrator.queues().unwrap().lease(&oem, 1, Duration::ZERO, Timestamp::from_micros(0)).await.unwrap();
        leased.messages.into_iter().next()
    })
    .await;
    let failed = json!({
        "id": "r1", "system": "oem", "type": "device", "op": "receipt", "rev": create.rev, "canonical_id": create.record.to_string(),
        "status": "failed", "reason": "the database is locked",
    });
    orchestrator.submit(&[failed]).await.unwrap();
    // A failed message leaves the queue with its receipt and comes back when it is sent again.
    let row = async || orchestrator.store().owed_of(&[(create.record, oem.clone())]).await.unwrap().into_iter().next();
    until("it has failed", async || row().await.filter(|row| row.attempts == 1)).await;
    let again = until("it is sent again", async || row().await.filter(|row| row.published == create.rev));
    under_load(&orchestrator, again).await;
    orchestrator.stop().await.unwrap();
}
