//! Paused systems while the engine runs.

use std::time::Duration;

use serde_json::json;
use syncline::domain::ids::SystemName;
use syncline::domain::time::Timestamp;
use syncline::ports::hold::Hold;
use syncline::views::holds;

use crate::support::{decided, drained, row, syncline, until, whole};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_paused_system_says_stays_in_the_queue_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = syncline(folder.path(), "").start().await.unwrap();
    let hold = Hold::PauseIn { system: SystemName::new("bms").unwrap() };
    let now = Timestamp::from_micros(1);
    holds::begin(orchestrator.store().as_ref(), hold.clone(), now).await.unwrap();
    // Which systems are paused is looked up before messages are awaited, a second at most.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for n in 0..3 {
        let name = json!({"name": format!("n{n}")});
        orchestrator.submit(&[whole(format!("b{n}"), "bms", "d1", name.clone())]).await.unwrap();
        orchestrator.submit(&[whole(format!("o{n}"), "oem", "d1", name)]).await.unwrap();
    }
    decided(&orchestrator, "oem:o2").await;
    assert!(row(&orchestrator, "bms:b0").await.is_none(), "it is paused");
    until("only its messages are left", async || (orchestrator.inbox().depth().await.unwrap().0 == 3).then_some(())).await;
    assert!(row(&orchestrator, "bms:b0").await.is_none(), "it is still paused");
    orchestrator.stop().await.unwrap();

    let orchestrator = syncline(folder.path(), "").start().await.unwrap();
    orchestrator.submit(&[whole("o3", "oem", "d1", json!({"name": "n3"}))]).await.unwrap();
    decided(&orchestrator, "oem:o3").await;
    assert!(row(&orchestrator, "bms:b0").await.is_none(), "a start ends no pause");
    holds::release(orchestrator.store().as_ref(), &hold.to_string(), now).await.unwrap();
    drained(&orchestrator).await;
    let (first, last) = (decided(&orchestrator, "bms:b0").await, decided(&orchestrator, "bms:b2").await);
    assert_eq!((first.version_after, last.version_after), (1, 3), "in the order in which they came");
    orchestrator.stop().await.unwrap();
}
