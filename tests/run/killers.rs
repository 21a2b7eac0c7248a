//! A message that ends the process whenever it is decided takes nothing else with it, and is given up in the end.

use std::process::{Command, Stdio};

use serde_json::json;
use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::change::DeadReason;
use syncline::domain::decision::DecisionKind;
use syncline::ports::broker::LocalQueues;
use syncline::ports::clock::Clock;
use syncline::ports::store::{DecisionFilter, Store};
use syncline::prelude::*;

use crate::support::{drained, syncline, whole};

const FOLDER: &str = "SYNCLINE_TEST_FOLDER";

/// The child: decides what waits. One record ends it on the spot, as running out of memory would, one after some work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let ends = |proposed: &mut Record, _: Option<&Record>, _: &UpdateMeta| {
        let serial = proposed["serial"].as_str().unwrap();
        if serial == "slow killer" {
            // Long enough that others are decided meanwhile.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if serial.ends_with("killer") {
            std::process::abort();
        }
        Verdict::accept(None)
    };
    let orchestrator = syncline(folder.as_ref(), "").on_update::<Record, _>("device", ends).start().await.unwrap();
    drained(&orchestrator).await;
    orchestrator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ends_the_process_is_given_up_and_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let embedded = Embedded::open(&data, &Options::default()).unwrap();
    let message = |n: u32| {
        let serial = match n {
            5 => "killer".to_owned(),
            7 => "slow killer".to_owned(),
            _ => format!("SN-{n}"),
        };
        (None, whole(format!("u{n}"), "bms", n, json!({"serial": serial})).to_string().into_bytes())
    };
    embedded.broker.enqueue((0..10).map(message).collect(), syncline::app::SystemClock.now()).await.unwrap();
    drop(embedded);
    let mut ended = 0;
    loop {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "killers::child"]).env(FOLDER, folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().unwrap().success() {
            break;
        }
        ended += 1;
        assert!(ended < 60, "it goes on for ever");
    }
    assert!(ended > 5, "given up after {ended} times: somebody may have killed it by hand");
    let embedded = Embedded::open(&data, &Options::default()).unwrap();
    let rows = embedded.store.decisions(&DecisionFilter::default(), None, 99).await.unwrap().items;
    assert_eq!(rows.iter().filter(|row| row.decision == DecisionKind::Accepted).count(), 8, "{rows:#?}");
    let dead = embedded.store.dead_letters(None, 9).await.unwrap().items;
    let shown: Vec<_> = dead.iter().map(|letter| (letter.id.as_str(), letter.reason)).collect();
    assert_eq!(shown, [("bms:u5", DeadReason::Poison), ("bms:u7", DeadReason::Poison)]);
    assert!(dead.iter().all(|letter| letter.body.as_ref().unwrap().contains("killer")), "{dead:?}");
}
