//! How fast batches of 200 are committed to MongoDB, next to the embedded store.
//!
//! `SYNCLINE_TEST_MONGODB_URL=… cargo run --release --features testkit --example mongodb_bench -- [seconds]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use syncline::backends::embedded::{self, Embedded};
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::value::Leaves;
use syncline::ports::store::{Batch, Lookup, OutboxChange, Plan, Published, RecordWrite, Store};
use syncline::ports::testkit::sample;

const BATCH: u64 = 200;

fn record(n: u64, version: u64) -> CanonicalRecord {
    let mut record = sample::record(n, version);
    let data = json!({"serial": format!("SN-{n:012}"), "name": format!("Air handler {version}"), "floor": n % 40, "building": "north wing",
        "active": true, "temperature": 21.5});
    record.data = Leaves::open(data.as_object().cloned().unwrap());
    record
}

fn plan(n: u64, version: u64) -> Plan {
    let record = record(n, version);
    let snapshot = Some(record.data.clone());
    let decision = sample::decision(&format!("bms:u{n}-{version}"), Some(n), DecisionKind::Accepted, version);
    let decision = Decision { proposed_snapshot: snapshot.clone(), accepted_snapshot: snapshot, ..decision };
    let outbox = vec![OutboxChange::Due { system: sample::system("oem"), rev: version }];
    let mut write = RecordWrite { outbox, ..sample::write(record, (version > 1).then(|| version - 1)) };
    if version == 1 {
        write.links_added = vec![sample::native(&format!("bms:{n}"))];
        write.claims_added = vec![sample::claim(&format!("sn-{n:012}"))];
    }
    Plan { decisions: vec![sample::row(decision)], ..sample::plan(write) }
}

/// What the engine asks before it decides such a batch.
async fn look_up(store: &dyn Store, batch: u64, version: u64) {
    let numbers = batch * BATCH..(batch + 1) * BATCH;
    let lookup = Lookup {
        updates: numbers.clone().map(|n| sample::update(&format!("bms:u{n}-{version}"))).collect(),
        links: numbers.clone().map(|n| sample::native(&format!("bms:{n}"))).collect(),
        claims: numbers.clone().map(|n| sample::typed(&format!("sn-{n:012}"))).collect(),
        waiting_of: numbers.clone().map(|n| sample::native(&format!("bms:{n}"))).collect(),
        ..Lookup::default()
    };
    let found = store.look_up(&lookup).await.unwrap();
    assert!(found.markers.is_empty());
    if version > 1 {
        assert_eq!(store.records(&numbers.map(sample::id).collect::<Vec<_>>()).await.unwrap().len() as u64, BATCH);
    }
}

/// Commits for a while, as the engine does: look up, commit. Returns records per second and how many batches there were.
async fn measure(store: &dyn Store, seconds: f64, version: u64, most: u64) -> (f64, u64) {
    let start = Instant::now();
    let mut batches = 0;
    let (mut looking, mut committing) = (Duration::ZERO, Duration::ZERO);
    while batches < most && start.elapsed().as_secs_f64() < seconds {
        let batch: Batch = sample::batch((batches * BATCH..(batches + 1) * BATCH).map(|n| plan(n, version)).collect());
        let before = Instant::now();
        look_up(store, batches, version).await;
        looking += before.elapsed();
        let before = Instant::now();
        store.commit(&batch).await.unwrap();
        committing += before.elapsed();
        batches += 1;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / batches as f64;
    print!("  look up {:.1} ms, commit {:.1} ms per batch;", each(looking), each(committing));
    ((batches * BATCH) as f64 / start.elapsed().as_secs_f64(), batches)
}

async fn all(name: &str, store: Arc<dyn Store>, seconds: f64) {
    println!("{name}, batches of {BATCH}:");
    let (creates, mut batches) = measure(&*store, seconds, 1, u64::MAX).await;
    println!(" new records: {creates:.0}/s");
    for version in 2..4 {
        let (changes, changed) = measure(&*store, seconds, version, batches).await;
        println!(" changes: {changes:.0}/s");
        batches = changed;
    }
    let start = Instant::now();
    let mut noted = 0;
    for batch in 0..batches.min(50) {
        let sent = |n| Published {
            record: sample::id(n),
            system: sample::system("oem"),
            rev: 3,
            nothing: false,
            tried: (0, None),
            awaits_receipt: false,
            answer_by: None,
        };
        let messages: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(sent).collect();
        store.published(&messages).await.unwrap();
        noted += BATCH;
    }
    println!("  confirmations noted: {:.0}/s", noted as f64 / start.elapsed().as_secs_f64());
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(5.0, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(folder.path(), &embedded::Options::default()).unwrap();
    all("embedded", embedded.store, seconds).await;
    let Ok(url) = std::env::var("SYNCLINE_TEST_MONGODB_URL") else { return eprintln!("SYNCLINE_TEST_MONGODB_URL names no server") };
    let name = format!("syncline_bench_{}", uuid::Uuid::now_v7().simple());
    let store = MongoStore::open(&url, &name, Options::default()).await.unwrap();
    all("mongodb", Arc::new(store.clone()), seconds).await;
    store.drop_database().await.unwrap();
}
