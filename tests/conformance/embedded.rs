//! The embedded backend.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::decision::DecisionKind;
use syncline::ports::broker::{Broker, LocalQueues};
use syncline::ports::error::PortErrorKind;
use syncline::ports::store::{Lookup, Plan, RecordWrite, Store};
use syncline::ports::testkit::{
    BrokerKit, QueueKit, StoreKit, agrees_with_reference, broker_conformance, local_queues_conformance, sample, store_conformance,
};
use tempfile::TempDir;

/// Opens folder after folder.
struct Kit {
    options: Options,
    folder: Mutex<TempDir>,
    open: Mutex<Option<Embedded>>,
}

impl Kit {
    fn new(options: Options) -> Self {
        Self { options, folder: Mutex::new(TempDir::new().unwrap()), open: Mutex::new(None) }
    }

    fn fresh(&self) -> Embedded {
        *self.open.lock().unwrap() = None;
        *self.folder.lock().unwrap() = TempDir::new().unwrap();
        self.open()
    }

    fn open(&self) -> Embedded {
        *self.open.lock().unwrap() = None;
        let embedded = Embedded::open(self.folder.lock().unwrap().path(), &self.options).unwrap();
        *self.open.lock().unwrap() = Some(embedded.clone());
        embedded
    }
}

#[async_trait]
impl StoreKit for Kit {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.fresh().store
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        self.open().store
    }
}

#[async_trait]
impl QueueKit for Kit {
    async fn fresh(&self) -> Arc<dyn LocalQueues> {
        self.fresh().broker
    }

    async fn reopen(&self, queues: Arc<dyn LocalQueues>) -> Arc<dyn LocalQueues> {
        drop(queues);
        self.open().broker
    }
}

#[async_trait]
impl BrokerKit for Kit {
    async fn fresh(&self) -> Arc<dyn Broker> {
        self.fresh().broker
    }

    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        drop(broker);
        self.open().broker
    }

    async fn send(&self, body: &[u8]) {
        let broker = self.open.lock().unwrap().clone().unwrap().broker;
        broker.enqueue(vec![(None, body.to_vec())], sample::at(0)).await.unwrap();
    }

    async fn take(&self, system: &str, _: usize) -> Vec<Vec<u8>> {
        let broker = self.open.lock().unwrap().clone().unwrap().broker;
        let lease = std::time::Duration::from_secs(9);
        let leased = broker.lease(&sample::system(system), 99, lease, sample::at(0)).await.unwrap();
        leased.messages.into_iter().map(|message| message.body).collect()
    }
}

#[tokio::test]
async fn the_store_keeps_its_promises() {
    store_conformance(&Kit::new(Options::default())).await;
}

#[tokio::test]
async fn the_store_keeps_its_promises_where_hashes_clash() {
    // Three bits for the numbers of rows: nearly every key shares one.
    let kit = Kit::new(Options { key_mask: 7, recent_keys: 0, ..Options::default() });
    store_conformance(&kit).await;
    for seed in 10..60 {
        agrees_with_reference(&kit, seed, 60).await;
    }
}

#[tokio::test]
async fn the_store_keeps_its_promises_while_keys_move_into_their_tables() {
    for recent_keys in [0, 7, 40] {
        let kit = Kit::new(Options { recent_keys, key_mask: 63, ..Options::default() });
        store_conformance(&kit).await;
        for seed in 20..26 {
            agrees_with_reference(&kit, seed, 60).await;
        }
    }
}

#[tokio::test]
async fn the_queues_keep_their_promises() {
    let kit = Kit::new(Options { inbound_max: 10, ..Options::default() });
    broker_conformance(&kit).await;
    local_queues_conformance(&kit).await;
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let folder = TempDir::new().unwrap();
    let first = Embedded::open(folder.path(), &Options::default()).unwrap();
    let second = Embedded::open(folder.path(), &Options::default()).unwrap_err();
    assert_eq!(second.kind, PortErrorKind::Unavailable);
    assert!(second.message.contains("in use by another process"), "{second}");
    drop(first);
    Embedded::open(folder.path(), &Options::default()).unwrap();
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(Embedded::open(folder.path(), &Options::default()).unwrap());
    let file = folder.path().join("syncline.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let before = std::fs::read(&file).unwrap();
    let refused = Embedded::open(folder.path(), &Options::default()).unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Invalid);
    assert!(refused.message.contains("newer Syncline (version 99"), "{refused}");
    assert!(std::fs::read(&file).unwrap() == before);
}

#[tokio::test]
async fn a_foreign_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("syncline.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.execute_batch("CREATE TABLE theirs(x); PRAGMA application_id = 7").unwrap();
    drop(conn);
    assert_eq!(Embedded::open(folder.path(), &Options::default()).unwrap_err().kind, PortErrorKind::Invalid);
    std::fs::write(&file, vec![b'x'; 9000]).unwrap();
    let refused = Embedded::open(folder.path(), &Options::default()).unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Invalid, "{refused}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_overcome() {
    let folder = TempDir::new().unwrap();
    let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
    // As good as a full disk: the file may not grow.
    embedded.limit_pages(60).await.unwrap();
    let mut written = 0;
    let refused = loop {
        let plans = (0..20).map(|n| sample::plan(sample::write(sample::record(written * 20 + n, 1), None))).collect();
        match embedded.store.commit(&sample::batch(plans)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind, PortErrorKind::Full);
    assert!(written > 0 && refused.message.contains("disk is full"), "{refused}");
    let count = async || embedded.store.list_records(None, None, 9_999).await.unwrap().len() as u64;
    assert_eq!(count().await, written * 20, "nothing of the refused batch is there");
    embedded.limit_pages(1_000_000).await.unwrap();
    embedded.store.commit(&sample::batch(vec![sample::plan(sample::write(sample::record(999_999, 1), None))])).await.unwrap();
    assert_eq!(count().await, written * 20 + 1);
}

/// SQLite ends the whole transaction when the disk is full. What batches behind the one that met it write then must not be durable
/// statement by statement.
#[tokio::test]
async fn batches_that_share_a_transaction_on_a_full_disk_leave_nothing_half_written() {
    for pages in [60, 66, 73, 81] {
        let folder = TempDir::new().unwrap();
        let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
        embedded.limit_pages(pages).await.unwrap();
        let batch = |n: u64| {
            let size = if n.is_multiple_of(4) { 9_000 } else { 10 };
            let mut record = sample::record(n, 1);
            record.data.set("text".into(), serde_json::Value::String("x".repeat(size)));
            let decided = sample::row(sample::decision(&format!("bms:u{n}"), Some(n), DecisionKind::Accepted, n));
            let write = RecordWrite { links_added: vec![sample::native(&format!("bms:b{n}"))], ..sample::write(record, None) };
            sample::batch(vec![Plan { decisions: vec![decided], ..sample::plan(write) }])
        };
        let mut done: BTreeSet<u64> = BTreeSet::new();
        for _ in 0..2 {
            let left: Vec<u64> = (1..300).filter(|n| !done.contains(n)).collect();
            let commit = |n: u64| {
                let (store, batch) = (Arc::clone(&embedded.store), batch(n));
                tokio::spawn(async move { (n, store.commit(&batch).await) })
            };
            let tasks: Vec<_> = left.into_iter().map(commit).collect();
            for task in tasks {
                let (n, committed) = task.await.unwrap();
                match committed {
                    Ok(()) => assert!(done.insert(n)),
                    Err(error) => assert_eq!(error.kind, PortErrorKind::Full, "{n}: {error}"),
                }
            }
            for n in 1..300 {
                let lookup = Lookup {
                    updates: vec![sample::update(&format!("bms:u{n}"))],
                    links: vec![sample::native(&format!("bms:b{n}"))],
                    ..Lookup::default()
                };
                let found = embedded.store.look_up(&lookup).await.unwrap();
                let there = (embedded.store.records(&[sample::id(n)]).await.unwrap().len(), found.markers.len(), found.links.len());
                let all = usize::from(done.contains(&n));
                assert_eq!(there, (all, all, all), "{pages} pages, batch {n}");
            }
            embedded.limit_pages(1_000_000).await.unwrap();
        }
        assert_eq!(done.len(), 299, "all of it once there is room");
    }
}

#[tokio::test]
async fn batches_that_share_a_transaction_fail_alone() {
    let folder = TempDir::new().unwrap();
    let store = Embedded::open(folder.path(), &Options::default()).unwrap().store;
    store.commit(&sample::batch(vec![sample::plan(sample::write(sample::record(0, 1), None))])).await.unwrap();
    let tasks: Vec<_> = (1..200)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let clash = (n % 3 == 0).then(|| sample::plan(sample::write(sample::record(0, 2), None)));
                let plans = clash.into_iter().chain([sample::plan(sample::write(sample::record(n, 1), None))]).collect();
                store.commit(&sample::batch(plans)).await.map_err(|error| error.kind)
            })
        })
        .collect();
    for (n, task) in (1..).zip(tasks) {
        let expected = if n % 3 == 0 { Err(PortErrorKind::Conflict(vec![0])) } else { Ok(()) };
        assert_eq!(task.await.unwrap(), expected);
        assert_eq!(store.records(&[sample::id(n)]).await.unwrap().len(), usize::from(n % 3 != 0));
    }
}
