//! A slow merge handler holds up its own record and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use syncline::domain::decision::DecisionKind;
use syncline::prelude::*;
use tokio::sync::Semaphore;

use crate::support::{decided, drained, row, syncline, until, whole};

/// Thinks about records named `slow` until it is let go.
struct Gate(Arc<Semaphore>, Arc<AtomicUsize>);

#[async_trait]
impl MergeHandler<Record> for Gate {
    async fn on_update(&self, proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta) -> Result<Verdict, HandlerError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        if proposed.get("name").is_some_and(|name| name.as_str().is_some_and(|name| name.starts_with("slow"))) {
            self.0.acquire().await.map_err(|error| HandlerError::new(error.to_string()))?.forget();
        }
        Ok(Verdict::accept("thought about it"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_records_go_on_while_a_handler_thinks() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let orchestrator = syncline(folder.path(), "").on_update_with("device", Gate(gate.clone(), asked.clone())).start().await.unwrap();
    orchestrator.submit(&[whole("s1", "bms", "d0", json!({"name": "slow one"}))]).await.unwrap();
    // Of the same native record, so it has to wait its turn.
    orchestrator.submit(&[whole("s2", "bms", "d0", json!({"name": "slow two"}))]).await.unwrap();
    let others: Vec<_> = (1..=200).map(|n| whole(format!("u{n}"), "bms", format!("d{n}"), json!({"name": "quick"}))).collect();
    orchestrator.submit(&others).await.unwrap();
    for n in 1..=200 {
        assert_eq!(decided(&orchestrator, &format!("bms:u{n}")).await.decision, DecisionKind::Accepted);
    }
    assert!(row(&orchestrator, "bms:s1").await.is_none() && row(&orchestrator, "bms:s2").await.is_none());
    gate.add_permits(1);
    let first = decided(&orchestrator, "bms:s1").await;
    assert_eq!((first.version_before, first.version_after, first.reason.as_str()), (0, 1, "thought about it; a new record from bms"));
    assert!(row(&orchestrator, "bms:s2").await.is_none());
    gate.add_permits(1);
    assert_eq!(decided(&orchestrator, "bms:s2").await.version_after, 2);
    drained(&orchestrator).await;
    assert_eq!(asked.load(Ordering::SeqCst), 202, "an answer that is there is not asked for again");
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_system_meets_the_record_its_handler_still_thinks_about() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Semaphore::new(1));
    let config = "[entities.device]\nkeys = [{ fields = [\"serial\"] }]";
    let orchestrator =
        syncline(folder.path(), config).on_update_with("device", Gate(gate.clone(), Arc::new(AtomicUsize::new(0)))).start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "b1", json!({"serial": "S1", "name": "slow"}))]).await.unwrap();
    decided(&orchestrator, "bms:u1").await;
    orchestrator.submit(&[whole("u2", "bms", "b1", json!({"serial": "S1", "name": "slow too"}))]).await.unwrap();
    orchestrator.submit(&[whole("o1", "oem", "o1", json!({"serial": "S1", "phone": "555"}))]).await.unwrap();
    orchestrator.submit(&[whole("u3", "bms", "b3", json!({"serial": "S3", "name": "quick"}))]).await.unwrap();
    decided(&orchestrator, "bms:u3").await;
    assert!(row(&orchestrator, "oem:o1").await.is_none(), "it is about the record that is being thought about");
    gate.add_permits(9);
    let (second, joined) = (decided(&orchestrator, "bms:u2").await, decided(&orchestrator, "oem:o1").await);
    assert_eq!((second.version_after, joined.version_before, joined.version_after), (2, 2, 3));
    assert_eq!(second.canonical_id, joined.canonical_id);
    orchestrator.stop().await.unwrap();
}

/// A plain function that is asked about a delete, and blocks until it is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_thinks_about_a_delete_holds_up_that_record_only() {
    let folder = tempfile::tempdir().unwrap();
    let (go, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let gate = std::sync::Mutex::new(gate);
    let thinks = move |_: &Record, _: &UpdateMeta| {
        gate.lock().unwrap().recv().unwrap();
        Verdict::accept(None)
    };
    let orchestrator = syncline(folder.path(), "").on_delete::<Record, _>("device", thinks).start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"name": "one"}))]).await.unwrap();
    decided(&orchestrator, "bms:u1").await;
    let delete = json!({"id": "u2", "system": "bms", "type": "device", "native_id": "d1", "op": "delete"});
    orchestrator.submit(&[delete, whole("u3", "bms", "d2", json!({"name": "two"}))]).await.unwrap();
    assert_eq!(decided(&orchestrator, "bms:u3").await.decision, DecisionKind::Accepted);
    assert!(row(&orchestrator, "bms:u2").await.is_none());
    go.send(()).unwrap();
    assert_eq!(decided(&orchestrator, "bms:u2").await.decision, DecisionKind::Accepted);
    drained(&orchestrator).await;
    orchestrator.stop().await.unwrap();
}

/// More plain functions that block than the runtime has threads for what blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_block_leave_threads_for_everything_else() {
    const MANY: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let running = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let function = {
        let running = running.clone();
        move |_: &mut Record, _: Option<&Record>, _: &UpdateMeta| {
            let (state, opened) = &*running;
            let mut now = state.lock().unwrap();
            *now = (now.0 + 1, now.1.max(now.0 + 1));
            drop(opened.wait_while(now, |now| now.0 > 0).unwrap());
            Verdict::accept(None)
        }
    };
    let config = "[orchestration]\nhandler_timeout = { after = \"60s\" }\n[entities.site]";
    let orchestrator = syncline(folder.path(), config).on_update::<Record, _>("device", function).start().await.unwrap();
    let slow: Vec<_> = (1..=MANY).map(|n| whole(format!("s{n}"), "bms", format!("d{n}"), json!({"name": "slow"}))).collect();
    orchestrator.submit(&slow).await.unwrap();
    until("handlers at work", async || (running.0.lock().unwrap().0 > 100).then_some(())).await;
    let site = json!({"id": "u1", "system": "bms", "type": "site", "native_id": "x1", "entity": {"name": "quick"}});
    orchestrator.submit(&[site]).await.unwrap();
    decided(&orchestrator, "bms:u1").await;
    let (now, most) = *running.0.lock().unwrap();
    assert!(now == most && most < 512, "{now} at once");
    // From now on whoever comes goes on at once.
    running.0.lock().unwrap().0 = i64::MIN / 2;
    running.1.notify_all();
    for n in 1..=MANY {
        assert_eq!(decided(&orchestrator, &format!("bms:s{n}")).await.decision, DecisionKind::Accepted);
    }
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_handler_and_the_update_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let start = || syncline(folder.path(), "").on_update_with("device", Gate(gate.clone(), Arc::new(AtomicUsize::new(0)))).start();
    let orchestrator = start().await.unwrap();
    orchestrator
        .submit(&[whole("s1", "bms", "d0", json!({"name": "slow"})), whole("u1", "bms", "d1", json!({"name": "quick"}))])
        .await
        .unwrap();
    decided(&orchestrator, "bms:u1").await;
    tokio::time::timeout(Duration::from_secs(5), orchestrator.stop()).await.unwrap().unwrap();
    gate.add_permits(9);
    let orchestrator = start().await.unwrap();
    assert_eq!(decided(&orchestrator, "bms:s1").await.decision, DecisionKind::Accepted);
    drained(&orchestrator).await;
    orchestrator.stop().await.unwrap();
}
