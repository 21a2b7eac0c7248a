//! An engine that can't go on says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use syncline::app::{RandomIds, SystemClock};
use syncline::backends::embedded::{Embedded, Options};
use syncline::config::Config;
use syncline::engine::handlers::Handlers;
use syncline::engine::settings::Settings;
use syncline::engine::supervisor::{Parts, start};
use syncline::ports::broker::{Broker, Delivery, Inbox, LocalQueues, OutboundMessage};
use syncline::ports::clock::Clock;
use syncline::ports::error::{PortError, PortErrorKind};

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

/// A broker of which one part, and one only, panics, as only a fault in the program would.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn Broker>,
    faulty: Part,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Part {
    Publishing,
    Acknowledging,
}

#[async_trait]
impl Broker for Faulty {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        self.inner.receive(max, wait).await
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.inner.give_again().await
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        assert_ne!(self.faulty, Part::Acknowledging, "a fault in acknowledging");
        self.inner.settle(tags).await
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        assert_ne!(self.faulty, Part::Publishing, "a fault in publishing");
        self.inner.publish(messages).await
    }
}

/// What goes on without one of its parts looks well and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_of_which_a_part_has_ended_ends_as_a_whole() {
    for (faulty, operation) in [(Part::Publishing, "send messages"), (Part::Acknowledging, "acknowledge messages")] {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
        let config = "[orchestration]\npush_updates = true\n[entities.device]\nkeys = [{ fields = [\"serial\"] }]\n[systems.bms]\n\
                      [systems.oem.entities.device]";
        let settings = Arc::new(Settings::compile(&Config::from_toml(config, "test.toml").unwrap()));
        let broker = Arc::new(Faulty { inner: embedded.broker.clone(), faulty });
        let mut running = start(Parts { broker, settings, ..parts(&embedded) }).await.unwrap();
        let body = whole("u1".to_owned(), "bms", 1, json!({"serial": "S1"})).to_string().into_bytes();
        embedded.broker.enqueue(vec![(None, body)], SystemClock.now()).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), running.ended()).await.expect("it says that it ended");
        let error = ended.unwrap_err();
        assert_eq!(error.operation, operation, "{error}");
    }
}
