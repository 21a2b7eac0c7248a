//! What people do while a handler thinks, and across a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use syncline::domain::decision::DecisionKind;
use syncline::domain::ids::UpdateId;
use syncline::domain::review::{Says, Word};
use syncline::domain::time::Timestamp;
use syncline::engine::acts::{Done, Refusal, Request};
use syncline::prelude::*;
use tokio::sync::Semaphore;

use crate::support::{decided, row, syncline, until, whole};

/// Fails while it is broken; then thinks until it is let go.
struct Mended(Arc<AtomicBool>, Arc<Semaphore>);

#[async_trait]
impl MergeHandler<Record> for Mended {
    async fn on_update(&self, proposed: &mut Record, _: Option<&Record>, meta: &UpdateMeta) -> Result<Verdict, HandlerError> {
        if proposed.get("name") == Some(&json!("quick")) {
            return Ok(Verdict::accept(None));
        }
        if self.0.load(Ordering::SeqCst) {
            return Err(HandlerError::new("broken"));
        }
        if meta.approval().is_none() && proposed.contains_key("price") {
            return Ok(Verdict::review("a price"));
        }
        self.1.acquire().await.map_err(|error| HandlerError::new(error.to_string()))?.forget();
        Ok(Verdict::accept("thought about it"))
    }
}

const ONCE: &str = "[orchestration]\nretry_policy = { max_attempts = 1 }\nhandler_timeout = { after = \"60s\" }";

fn approval(by: &str) -> Option<Word> {
    Some(Word { says: Says::Approved { edited: None }, by: Some(by.to_owned()), at: Timestamp::from_micros(0), reason: None })
}

fn update(id: &str) -> UpdateId {
    UpdateId::try_from(id.to_owned()).unwrap()
}

async fn letters(orchestrator: &Orchestrator) -> Vec<String> {
    orchestrator.store().dead_letters(None, 9).await.unwrap().items.into_iter().map(|letter| letter.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_stays_until_its_handler_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(Semaphore::new(0)));
    let start = || syncline(folder.path(), ONCE).on_update_with("device", Mended(broken.clone(), gate.clone())).start();
    let orchestrator = start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"name": "slow"}))]).await.unwrap();
    until("a dead letter", async || (!letters(&orchestrator).await.is_empty()).then_some(())).await;
    broken.store(false, Ordering::SeqCst);
    let requeue = || Request::Requeue { id: "bms:u1".to_owned(), edited: None };
    let acts = orchestrator.engine().acts.clone();
    let (first, second) = (acts.clone(), acts.clone());
    let first = tokio::spawn(async move { first.run(requeue(), "anna").await });
    let second = tokio::spawn(async move { second.run(requeue(), "ben").await });
    // Everybody else goes on meanwhile.
    orchestrator.submit(&[whole("u2", "bms", "d2", json!({"name": "quick"}))]).await.unwrap();
    decided(&orchestrator, "bms:u2").await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!((letters(&orchestrator).await, row(&orchestrator, "bms:u1").await), (vec!["bms:u1".to_owned()], None));
    gate.add_permits(9);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let (done, late) = if first.is_ok() { (first, second) } else { (second, first) };
    let Ok(Done::Row(done)) = done else { panic!("{done:?}") };
    assert_eq!(done.decision, DecisionKind::Accepted);
    assert!(matches!(&late, Err(Refusal::Decided(row)) if **row == *done), "{late:?}");
    assert!(letters(&orchestrator).await.is_empty());
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_between_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(Semaphore::new(0)));
    let start = || syncline(folder.path(), ONCE).on_update_with("device", Mended(broken.clone(), gate.clone())).start();
    let orchestrator = start().await.unwrap();
    orchestrator.submit(&[whole("u1", "bms", "d1", json!({"name": "slow"}))]).await.unwrap();
    until("a dead letter", async || (!letters(&orchestrator).await.is_empty()).then_some(())).await;
    broken.store(false, Ordering::SeqCst);
    orchestrator.submit(&[whole("u2", "bms", "d2", json!({"price": 1}))]).await.unwrap();
    until("a review", async || row(&orchestrator, "bms:u2").await).await;
    let acts = orchestrator.engine().acts.clone();
    let other = acts.clone();
    let requeue = tokio::spawn(async move { other.run(Request::Requeue { id: "bms:u1".to_owned(), edited: None }, "anna").await });
    let judge = |by: &'static str| Request::Judge { update: update("bms:u2"), word: approval(by) };
    let approve = tokio::spawn(async move { acts.run(judge("anna"), "anna").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    orchestrator.stop().await.unwrap();
    assert!(matches!(requeue.await.unwrap(), Err(Refusal::Port(_))));
    assert!(matches!(approve.await.unwrap(), Err(Refusal::Port(_))));

    let orchestrator = start().await.unwrap();
    assert_eq!(letters(&orchestrator).await, ["bms:u1"]);
    assert!(row(&orchestrator, "bms:u2").await.is_some_and(|row| row.decision.is_waiting()));
    gate.add_permits(9);
    let acts = &orchestrator.engine().acts;
    let Ok(Done::Row(row)) = acts.run(judge("ben"), "ben").await else { panic!("not decided") };
    assert_eq!((row.decision, row.decided_by.name.as_deref()), (DecisionKind::Accepted, Some("ben")));
    let Ok(Done::Row(row)) = acts.run(Request::Requeue { id: "bms:u1".to_owned(), edited: None }, "ben").await else {
        panic!("not decided")
    };
    assert!(row.reason.ends_with("(requeued by ben)"), "{}", row.reason);
    orchestrator.stop().await.unwrap();
}
