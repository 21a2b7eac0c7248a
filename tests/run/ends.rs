//! An engine that can't go on says so.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use syncline::app::{RandomIds, SystemClock};
use syncline::backends::embedded::{Embedded, Options};
use syncline::config::Config;
use syncline::engine::handlers::Handlers;
use syncline::engine::settings::Settings;
use syncline::engine::supervisor::{Parts, start};
use syncline::ports::broker::{Inbox, LocalQueues};
use syncline::ports::clock::Clock;
use syncline::ports::error::PortErrorKind;

use crate::support::whole;

fn parts(embedded: &Embedded) -> Parts {
    Parts {
        store: embedded.store.clone(),
        broker: embedded.broker.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        settings: Arc::new(Settings::compile(&Config::default())),
        handlers: Arc::new(Handlers::default()),
        others: Arc::default(),
    }
}

/// A full disk ends it although no further message comes; with room again, everything that was handed in is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_engine_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
    let text = "x".repeat(2_000);
    let bodies = (0..50).map(|n| (None, whole(format!("u{n}"), "bms", n, json!({"text": text})).to_string().into_bytes())).collect();
    embedded.broker.enqueue(bodies, SystemClock.now()).await.unwrap();
    // Smaller than the file is already: nothing more can be written.
    embedded.limit_pages(1).await.unwrap();
    let mut running = start(parts(&embedded)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), running.ended()).await.expect("it says that it ended");
    assert_eq!(ended.unwrap_err().kind, PortErrorKind::Full);
    embedded.limit_pages(u32::MAX).await.unwrap();
    drop(running);
    drop(embedded);
    let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
    let running = start(parts(&embedded)).await.unwrap();
    let empty = async {
        while embedded.broker.depth().await.unwrap().0 > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), empty).await.expect("everything is decided");
    running.stop().await.unwrap();
}
