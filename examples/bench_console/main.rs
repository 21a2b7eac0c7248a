//! How fast a full store is read: every list, one record, its why, and the pages of the console, in a real browser, too, where
//! `SYNCLINE_TEST_CHROMIUM` and `SYNCLINE_TEST_CHROMEDRIVER` name one.
//!
//! `scripts/bench console [decisions]`: 1,000,000 by default, five of each record. With `SYNCLINE_TEST_MONGODB_URL` in MongoDB, else in the
//! embedded store. Each answer is asked for many times, one after the other, about records picked at random; next to them stands
//! the time of an answer that looks nothing up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation
)]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/browser/driver.rs"]
mod driver;
mod paint;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/browser/webdriver.rs"]
mod webdriver;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use syncline::backends::embedded::{self, Embedded};
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::ids::CanonicalId;
use syncline::domain::value::Leaves;
use syncline::ports::store::{Batch, Plan, RecordWrite, Store};
use syncline::ports::testkit::sample;
use syncline::prelude::*;

/// As the program has it.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCH: u64 = 500;
const VERSIONS: u64 = 5;
const TIMES: usize = 200;

fn record(n: u64, version: u64, days: Days) -> CanonicalRecord {
    let mut record = sample::record(n, version);
    record.id = days.id(n);
    let data = json!({"serial": format!("SN-{n:012}"), "name": format!("Air handler {version}"), "floor": n % 40, "building": "north wing",
        "active": true, "temperature": 21.5});
    record.data = Leaves::open(data.as_object().cloned().unwrap());
    record
}

/// One in fifty is refused, one in five changes nothing.
fn kind(n: u64, version: u64) -> DecisionKind {
    match (version, n % 50) {
        (1, _) => DecisionKind::Accepted,
        (_, 0) => DecisionKind::Dropped,
        (_, rest) if rest % 5 == 1 => DecisionKind::Echo,
        (..) => DecisionKind::Accepted,
    }
}

/// The times of the decisions: one after the other, within the last days, so that none is swept away.
#[derive(Clone, Copy)]
struct Days {
    first: u64,
    records: u64,
}

impl Days {
    const SECONDS: u64 = 5 * 24 * 3600;

    fn until_now(records: u64) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock that is set");
        let since = now - Duration::from_micros(sample::at(0).as_micros().unsigned_abs());
        Self { first: since.as_secs() - Self::SECONDS, records }
    }

    fn at(self, n: u64, version: u64) -> u64 {
        self.first + ((version - 1) * self.records + n) * Self::SECONDS / (self.records * VERSIONS)
    }

    /// The id of a record, as the engine makes them: it begins with the time.
    fn id(self, n: u64) -> CanonicalId {
        let millis = sample::at(self.at(n, 1)).as_micros().unsigned_abs() / 1000;
        let text = uuid::Uuid::from_u128(u128::from(millis) << 80 | 0x7 << 76 | 0x8 << 60 | u128::from(n)).to_string();
        CanonicalId::parse(&text).unwrap()
    }

    /// The second day.
    fn range(self) -> String {
        let day = |days: u64| sample::at(self.first + days * 24 * 3600).to_string().replace('+', "%2B");
        format!("since={}&until={}", day(1), day(2))
    }
}

fn plan(n: u64, version: u64, days: Days) -> Plan {
    let record = record(n, version, days);
    let snapshot = Some(record.data.clone());
    let decision = sample::decision(&format!("bms:u{n}-{version}"), Some(n), kind(n, version), days.at(n, version));
    let changed = matches!(decision.decision, DecisionKind::Accepted).then_some(snapshot).flatten();
    let decision = Decision {
        canonical_id: Some(days.id(n)),
        proposed_snapshot: changed.clone(),
        accepted_snapshot: changed,
        version_before: version - 1,
        version_after: version,
        ..decision
    };
    let mut write: RecordWrite = sample::write(record, (version > 1).then(|| version - 1));
    if version == 1 {
        write.links_added = vec![sample::native(&format!("bms:{n}"))];
        write.claims_added = vec![sample::claim(&format!("sn-{n:012}"))];
    }
    Plan { decisions: vec![sample::row(decision)], ..sample::plan(write) }
}

async fn fill(store: &dyn Store, records: u64, days: Days) {
    let began = Instant::now();
    for version in 1..=VERSIONS {
        for batch in 0..records / BATCH {
            let plans = (batch * BATCH..(batch + 1) * BATCH).map(|n| plan(n, version, days)).collect();
            store.commit(&Batch { plans, ..Batch::default() }).await.unwrap();
        }
    }
    println!("{} decisions about {records} records written in {:.0} s", records * VERSIONS, began.elapsed().as_secs_f64());
}

/// Makes the store as old as what is in it.
async fn age(url: &str, database: &str, days: Days) {
    let meta = mongodb::Client::with_uri_str(url).await.unwrap().database(database).collection::<Document>("meta");
    let created_at = DateTime::from_millis(sample::at(days.at(0, 1)).as_micros() / 1000);
    meta.update_one(doc! {"_id": "store"}, doc! {"$set": {"created_at": created_at}}).await.unwrap();
}

/// A small generator of its own (splitmix64, Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

const ASKED: [(&str, &str); 25] = [
    ("nothing looked up", "/healthz"),
    ("decisions", "/v1/decisions"),
    ("of a system", "/v1/decisions?system=bms"),
    ("of a system that has none", "/v1/decisions?system=nobody"),
    ("of a kind", "/v1/decisions?decision=dropped"),
    ("of a kind there is none of", "/v1/decisions?decision=parked"),
    ("of a type", "/v1/decisions?type=device&limit=50"),
    ("of a record", "/v1/decisions?entity={id}"),
    ("of a time", "/v1/decisions?{day}"),
    ("by words", "/v1/decisions?reason=because"),
    ("by words that are rare", "/v1/decisions?reason={word}&limit=1"),
    ("one decision", "/v1/decisions/bms:u{n}-3"),
    ("records", "/v1/entities/device"),
    ("one record", "/v1/entities/device/{id}"),
    ("by native id", "/v1/entities/device/bms:{n}"),
    ("why", "/v1/entities/device/{id}/why"),
    ("history", "/v1/entities/device/{id}/history"),
    ("waiting", "/v1/parked"),
    ("dead letters", "/v1/dead-letters"),
    ("systems", "/v1/systems"),
    ("page: overview", "/"),
    ("page: decisions", "/decisions"),
    ("page: records", "/records"),
    ("page: one record", "/records/device/{id}"),
    ("page: systems", "/systems"),
];

async fn measure(url: &str, records: u64, days: Days) {
    let http = reqwest::Client::new();
    let mut dice = Dice(7);
    println!("{:<28} {:>9} {:>9} {:>9}", "", "p50 ms", "p99 ms", "max ms");
    for (name, path) in ASKED {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let n = dice.below(records);
            let path = path.replace("{id}", &days.id(n).to_string()).replace("{n}", &n.to_string());
            let path = path.replace("{word}", &format!("bms:u{n}-5")).replace("{day}", &days.range());
            let began = Instant::now();
            let answer = http.get(format!("{url}{path}")).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            answer.bytes().await.unwrap();
            times.push(began.elapsed());
            // What takes for ever is known after a few.
            if times.len() >= 10 && times.iter().sum::<Duration>() > Duration::from_secs(20) {
                break;
            }
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share).round() as usize]);
        println!("{name:<28} {:>9.2} {:>9.2} {:>9.2}", at(0.5), at(0.99), at(1.0));
    }
}

fn config(folder: &Path, server: Option<(&str, &str)>) -> Config {
    let server = server.map(|(url, database)| format!("kind = \"mongodb\"\nurl = \"{url}\"\ndatabase = \"{database}\"\n"));
    let store = format!("path = {:?}\n{}", folder.display().to_string(), server.unwrap_or_default());
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[store]\n{store}[entities.device]\nkeys = [{{ fields = [\"serial\"] }}]\n[systems.bms]\n"
    );
    Config::from_toml(&text, "bench.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn main() {
    let decisions: u64 = std::env::args().nth(1).map_or(1_000_000, |count| count.parse().expect("how many decisions? a number"));
    let records = (decisions / VERSIONS).next_multiple_of(BATCH);
    let days = Days::until_now(records);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::TempDir::new_in(".").unwrap();
    let url = std::env::var("SYNCLINE_TEST_MONGODB_URL").ok();
    let database = format!("console_{}", std::process::id());
    runtime.block_on(async {
        match &url {
            Some(url) => {
                println!("in MongoDB");
                let store = MongoStore::open(url, &database, Options::default()).await.unwrap();
                fill(&store, records, days).await;
                age(url, &database, days).await;
            }
            None => {
                println!("in the embedded store");
                let Embedded { store, .. } = Embedded::open(folder.path(), &embedded::Options::default()).unwrap();
                fill(store.as_ref(), records, days).await;
                drop::<Arc<_>>(store);
            }
        }
        let server = url.as_deref().map(|url| (url, database.as_str()));
        let orchestrator = Syncline::new(config(folder.path(), server)).serve().await.unwrap();
        let address = format!("http://{}", orchestrator.address().unwrap());
        measure(&address, records, days).await;
        paint::measure(&address, &days.id(records / 2).to_string()).await;
        orchestrator.stop().await.unwrap();
        if let Some(url) = &url {
            MongoStore::open(url, &database, Options::default()).await.unwrap().drop_database().await.unwrap();
        }
    });
}
