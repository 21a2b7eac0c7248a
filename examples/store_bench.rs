//! How fast the embedded store commits, next to a bare loop of the same rows written by hand.
//!
//! `cargo run --release --features testkit --example store_bench -- [seconds] [records to start with]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use syncline::backends::embedded::{Embedded, Options};
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::ids::{NativeId, NativeKey};
use syncline::domain::link::Link;
use syncline::domain::overlay::Overlay;
use syncline::domain::provenance::{DecidedBy, Source};
use syncline::domain::value::{FieldPath, Leaves};
use syncline::ports::store::{Batch, Lookup, Plan, RecordWrite, Store};
use syncline::ports::testkit::sample;
use xxhash_rust::xxh3::xxh3_128;

const BATCH: u64 = 100;
const LANES: u64 = 8;

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn native(n: u64) -> NativeKey {
    NativeKey {
        system: sample::system("bms"),
        entity_type: sample::of_type("device"),
        native_id: NativeId::new(format!("{:016x}", mix(n))).unwrap(),
    }
}

fn decision(n: u64, u: u64) -> Decision {
    let mut decision = sample::decision(&format!("bms:{:016x}-{:08x}", mix(u ^ 0xaaaa), u), Some(n), DecisionKind::Accepted, 0);
    decision.timestamp = sample::at(0).plus(Duration::from_micros(u * 20));
    let record = record(n, u);
    decision.proposed_snapshot = Some(record.data.clone());
    decision.accepted_snapshot = Some(record.data);
    decision.reason = "new record".to_owned();
    decision
}

fn record(n: u64, u: u64) -> CanonicalRecord {
    let mut record = CanonicalRecord::new(sample::id(n), sample::of_type("device"), sample::at(0));
    record.version = 1;
    let data = serde_json::json!({"serial": format!("SN-{:012x}", mix(n ^ 0x2222)), "name": format!("Air handler {u}"), "floor": u % 40,
        "building": "north wing", "active": true, "temperature": 21.5});
    record.data = Leaves::open(data.as_object().cloned().unwrap());
    let update = sample::update(&format!("bms:{:016x}-{:08x}", mix(u ^ 0xaaaa), u));
    let source = Source { system: sample::system("bms"), update, version: 1, at: sample::at(u), occurred_at: None, by: DecidedBy::DEFAULT };
    let paths: Vec<FieldPath> = record.data.iter().map(|(path, _)| path.clone()).collect();
    record.provenance.set(paths, &source);
    record.links.push(Link::new(sample::system("bms"), Some(native(n).native_id), Overlay::default()));
    record.claims.insert(sample::claim(&format!("sn-{:012x}", mix(n ^ 0x2222))));
    record
}

fn create(n: u64) -> Plan {
    let record = record(n, n);
    let write =
        RecordWrite { links_added: vec![native(n)], claims_added: record.claims.iter().cloned().collect(), ..sample::write(record, None) };
    Plan { decisions: vec![sample::row(decision(n, n))], ..sample::plan(write) }
}

/// Commits batches on several lanes for a while; returns updates per second.
async fn measure(
    store: &Arc<dyn Store>,
    seconds: f64,
    lanes: u64,
    make: impl Fn(u64) -> (Option<Lookup>, Batch) + Send + Sync + 'static,
) -> f64 {
    let make = Arc::new(make);
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..lanes)
        .map(|_| {
            let (store, make, next) = (Arc::clone(store), Arc::clone(&make), Arc::clone(&next));
            tokio::spawn(async move {
                let mut done = 0;
                while Instant::now() < until {
                    let (lookup, batch) = make(next.fetch_add(1, Ordering::Relaxed));
                    if let Some(lookup) = lookup {
                        let found = store.look_up(&lookup).await.unwrap();
                        assert!(found.markers.is_empty());
                    }
                    store.commit(&batch).await.unwrap();
                    done += batch.plans.len();
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// The same rows, written by hand in transactions of so many updates.
fn bare(folder: &Path, seconds: f64, group: u64, from: u64) -> f64 {
    let conn = Connection::open(folder.join(format!("bare{group}.db"))).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY;
         CREATE TABLE IF NOT EXISTS records(n INTEGER PRIMARY KEY, id BLOB, type INTEGER, revision INTEGER, head INTEGER, body TEXT);
         CREATE UNIQUE INDEX IF NOT EXISTS records_id ON records(id, type);
         CREATE TABLE IF NOT EXISTS decisions(id INTEGER PRIMARY KEY, late INTEGER, record INTEGER, previous INTEGER, kind INTEGER,
            rare INTEGER, system INTEGER, type INTEGER, uid TEXT, body TEXT);
         CREATE TABLE IF NOT EXISTS markers(h INTEGER PRIMARY KEY, c INTEGER, v BLOB);
         CREATE TABLE IF NOT EXISTS links(h INTEGER PRIMARY KEY, c INTEGER, v BLOB);
         CREATE TABLE IF NOT EXISTS claims(h INTEGER PRIMARY KEY, c INTEGER, v BLOB);",
    )
    .unwrap();
    let mut add_record = conn.prepare("INSERT INTO records VALUES(?1, ?2, 1, 1, ?3, ?4)").unwrap();
    let mut add_decision = conn.prepare("INSERT INTO decisions VALUES(?1, 0, ?2, NULL, 0, NULL, 1, 1, ?3, ?4)").unwrap();
    let mut keys = ["markers", "links", "claims"].map(|table| conn.prepare(&format!("INSERT INTO {table} VALUES(?1, ?2, ?3)")).unwrap());
    // Written down beforehand: here only SQLite is measured.
    let body = serde_json::to_string(&record(1, 1)).unwrap();
    let row = format!("{:.620}", serde_json::to_string(&decision(1, 1)).unwrap());
    let start = Instant::now();
    let mut n = from;
    while start.elapsed().as_secs_f64() < seconds {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..group {
            n += 1;
            let uid = format!("bms:{:016x}-{n:08x}", mix(n ^ 0xaaaa));
            let row_number = n.cast_signed();
            add_record.execute(params![row_number, sample::id(n).as_bytes(), row_number, body]).unwrap();
            add_decision.execute(params![row_number, row_number, uid, row]).unwrap();
            for (salt, key) in (0..).zip(&mut keys) {
                let hash = xxh3_128(&[mix(n), salt].map(u64::to_le_bytes).concat());
                key.execute(params![(hash >> 64) as i64, hash as i64, sample::id(n).as_bytes()]).unwrap();
            }
        }
        conn.execute_batch("COMMIT").unwrap();
    }
    (n - from) as f64 / start.elapsed().as_secs_f64()
}

/// What one batch asks before it is decided, one after the other, and a commit that waits for nobody.
async fn drop_and_measure(store: &Arc<dyn Store>, known: u64) {
    const ROUNDS: u64 = 300;
    let start = Instant::now();
    for round in 0..ROUNDS {
        let n = |i| mix(round * BATCH + i) % known;
        let lookup = Lookup {
            updates: (0..BATCH).map(|i| sample::update(&format!("bms:new{round}x{i}"))).collect(),
            links: (0..BATCH).map(|i| native(n(i))).collect(),
            ..Lookup::default()
        };
        let found = store.look_up(&lookup).await.unwrap();
        let ids: Vec<_> = found.links.into_values().collect();
        assert_eq!(store.records(&ids).await.unwrap().len(), ids.len());
    }
    println!("look-up of {BATCH} known records: {:.0} us", start.elapsed().as_secs_f64() / ROUNDS as f64 * 1e6);
    let start = Instant::now();
    for round in 0..ROUNDS {
        store.commit(&Batch { plans: vec![create((1 << 41) + round)], facts: vec![], ..Batch::default() }).await.unwrap();
    }
    println!("commit of one update, alone: {:.0} us; {}", start.elapsed().as_secs_f64() / ROUNDS as f64 * 1e6, memory());
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default().to_owned()
}

/// Processor time of the threads of a name, in seconds.
fn processor(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains(&format!("({name})"))).map(|stat| {
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    });
    ticks.sum::<f64>() / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(3.0, |text| text.parse().unwrap());
    let preload: u64 = arguments.next().map_or(0, |text| text.parse().unwrap());
    let folder = tempfile::TempDir::new_in(".").unwrap();
    let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = embedded.store;
        let mut from = 0;
        while from < preload {
            let make = move |b: u64| {
                (None, Batch { plans: (0..BATCH).map(|i| create(from + b * BATCH + i)).collect(), facts: vec![], ..Batch::default() })
            };
            let rate = measure(&store, 2.0, LANES, make).await;
            from += (rate * 2.5) as u64 / BATCH * BATCH + 10 * BATCH;
        }
        let last = from;
        // Made beforehand, so that only the store is measured.
        let count = (seconds * 1_200.0) as u64;
        let batches: Vec<Batch> = (0..count)
            .map(|b| Batch { plans: (0..BATCH).map(|i| create(from + b * BATCH + i)).collect(), facts: vec![], ..Batch::default() })
            .collect();
        let batches = Arc::new(batches);
        println!("before: {}", memory());
        let make = move |b: u64| (None, batches[usize::try_from(b).unwrap()].clone());
        let (writer, log, workers) = (processor("store-writer"), processor("store-log"), processor("tokio-rt-worker"));
        let rate = measure(&store, seconds, LANES, make).await;
        let each = |name, before| (processor(name) - before) / (rate * seconds) * 1e6;
        println!("new records, {LANES} lanes of {BATCH}: {rate:.0}/s");
        println!(
            "processor per update: writer {:.1} us, log {:.1} us, workers {:.1} us",
            each("store-writer", writer),
            each("store-log", log),
            each("tokio-rt-worker", workers)
        );
        drop_and_measure(&store, last.max(1_000)).await;
    });
    for (group, from) in [(BATCH, 0), (800, 1 << 40)] {
        let before = processor("store_bench");
        let rate = bare(folder.path(), seconds, group, from);
        println!("bare loop, {group} each: {rate:.0}/s; processor {:.1} us", (processor("store_bench") - before) / (rate * seconds) * 1e6);
    }
}
