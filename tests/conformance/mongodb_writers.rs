//! What the MongoDB backend does not ask for, because it knows who else writes, or expects an update to be new.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use syncline::backends::mongodb::MongoStore;
use syncline::domain::decision::DecisionKind;
use syncline::ports::error::{PortError, PortErrorKind};
use syncline::ports::store::{Batch, DeadLetter, Lookup, Plan, Store};
use syncline::ports::testkit::sample;

use crate::mongodb::{Base, server};

/// Enough records for a batch that looks who else writes.
const MANY: u64 = 40;

/// Replaces a record, or makes it; `version` is what it says of itself.
fn replace(n: u64, version: u64, expected: Option<u64>) -> Plan {
    sample::plan(sample::write(sample::record(n, version), expected))
}

/// Replaces all of them, which have this revision.
fn replace_all(revision: u64) -> Batch {
    sample::batch((1..=MANY).map(|n| replace(n, revision + 1, Some(revision))).collect())
}

async fn with_records(base: &Base) -> MongoStore {
    let store = base.open().await;
    store.commit(&sample::batch((1..=MANY).map(|n| replace(n, 1, None)).collect())).await.unwrap();
    store
}

fn in_the_way(error: &PortError) -> &[usize] {
    let PortErrorKind::Conflict(plans) = &error.kind else { panic!("{error}") };
    plans
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_store_has_changed_is_met_however_well_revisions_are_known() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let one = with_records(&base).await;
    for revision in 1..=3 {
        one.commit(&replace_all(revision)).await.unwrap();
    }
    let other = base.open().await;
    other.commit(&sample::batch(vec![replace(7, 70, Some(4))])).await.unwrap();
    assert_eq!(in_the_way(&one.commit(&replace_all(4)).await.unwrap_err()), [6], "only what the other one changed");
    assert_eq!(one.records(&[sample::id(7)]).await.unwrap()[0].record.version, 70);
    // It has been read now, is changed again by the other one, and by a store that is closed and swept away since.
    other.commit(&sample::batch(vec![replace(7, 71, Some(5))])).await.unwrap();
    let third = base.open().await;
    third.commit(&sample::batch(vec![replace(8, 80, Some(4))])).await.unwrap();
    drop(third);
    let writers = base.by_hand().await.collection::<Document>("writers");
    writers.insert_many((0..40).map(|n| doc! {"_id": format!("closed-{n}"), "stamp": 1_i64})).await.unwrap();
    drop(base.open().await);
    assert_eq!(writers.count_documents(doc! {}).await.unwrap(), 1, "only that they were swept away");
    let mut batch = replace_all(4);
    batch.plans[6] = replace(7, 72, Some(5));
    assert_eq!(in_the_way(&one.commit(&batch).await.unwrap_err()), [6, 7]);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_has_written_itself_it_knows() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = with_records(&base).await;
    for revision in 1..=3 {
        store.commit(&replace_all(revision)).await.unwrap();
    }
    // A revision that is not the one that is known is asked for, and is not there.
    assert_eq!(in_the_way(&store.commit(&replace_all(3)).await.unwrap_err()).len() as u64, MANY);
    store.commit(&replace_all(4)).await.unwrap();
    // What somebody has taken away by hand is not written over.
    let canonical = base.by_hand().await.collection::<Document>("canonical");
    canonical.delete_one(doc! {"_id": sample::id(9).to_string()}).await.unwrap();
    assert_eq!(in_the_way(&store.commit(&replace_all(5)).await.unwrap_err()), [8]);
    base.drop().await;
}

/// One that works on all records with what it remembers of them, and reads again what was in its way.
struct Worker {
    store: MongoStore,
    random: u64,
    /// Version and revision of each record, as it remembers them.
    known: HashMap<u64, (u64, u64)>,
    /// How often it has moved each record on.
    moved: HashMap<u64, u64>,
}

impl Worker {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    async fn read(&mut self, some: &[u64]) {
        let ids: Vec<_> = some.iter().map(|n| sample::id(*n)).collect();
        for (n, found) in some.iter().zip(self.store.records(&ids).await.unwrap()) {
            self.known.insert(*n, (found.record.version, found.revision));
        }
    }

    /// Moves some records on; what is not remembered is read first, and what was in the way afterwards.
    async fn round(&mut self) {
        let from = self.random(MANY);
        let count = 10 + self.random(MANY - 10);
        let some: Vec<u64> = (0..count).map(|n| (from + n) % MANY + 1).collect();
        let unknown: Vec<u64> = some.iter().copied().filter(|n| !self.known.contains_key(n)).collect();
        self.read(&unknown).await;
        let plan = |n: &u64| replace(*n, self.known[n].0 + 1, Some(self.known[n].1));
        match self.store.commit(&sample::batch(some.iter().map(plan).collect())).await {
            Ok(()) => {
                for n in some {
                    let (version, revision) = self.known[&n];
                    self.known.insert(n, (version + 1, revision + 1));
                    *self.moved.entry(n).or_default() += 1;
                }
            }
            Err(error) => {
                let stale: Vec<u64> = in_the_way(&error).iter().map(|plan| some[*plan]).collect();
                self.read(&stale).await;
            }
        }
        if self.random(4) == 0 {
            let forgotten = self.random(MANY) + 1;
            self.known.remove(&forgotten);
        }
    }
}

/// Each version of a record was made by one of them from the version before, or a change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_change_is_lost_among_stores_that_know_revisions() {
    let Some(url) = server() else { return };
    for seed in 1..=3 {
        let base = Arc::new(Base::new(&url));
        with_records(&base).await;
        let mut working = Vec::new();
        for worker in 0..4_u64 {
            let base = base.clone();
            working.push(tokio::spawn(async move {
                let store = base.open().await;
                let mut worker = Worker { store, random: seed * 100 + worker, known: HashMap::new(), moved: HashMap::new() };
                for round in 0..60 {
                    worker.round().await;
                    // Now and then it is another process.
                    if round % 20 == 19 && worker.random(2) == 0 {
                        worker.store = base.open().await;
                    }
                }
                worker.moved
            }));
        }
        let mut moved: HashMap<u64, u64> = HashMap::new();
        for worker in working {
            for (n, count) in worker.await.unwrap() {
                *moved.entry(n).or_default() += count;
            }
        }
        assert!(moved.values().sum::<u64>() > 10 * MANY, "they must not only stand in each other's way: {moved:?}");
        let all: Vec<u64> = (1..=MANY).collect();
        let ids: Vec<_> = all.iter().map(|n| sample::id(*n)).collect();
        let stored = base.open().await.records(&ids).await.unwrap();
        for (n, found) in all.iter().zip(stored) {
            let wanted = 1 + moved.get(n).copied().unwrap_or(0);
            assert_eq!((found.record.version, found.revision), (wanted, wanted), "record {n} of history {seed}");
        }
        Arc::into_inner(base).unwrap().drop().await;
    }
}

/// A decision about no record.
fn decided(n: u64) -> Plan {
    let row = sample::row(sample::decision(&format!("bms:{n}"), None, DecisionKind::Unchanged, n));
    Plan { decisions: vec![row], ..Plan::default() }
}

fn fresh(numbers: std::ops::Range<u64>) -> Lookup {
    Lookup { fresh: numbers.map(|n| sample::update(&format!("bms:{n}"))).collect(), ..Lookup::default() }
}

/// It became a dead letter.
fn buried(n: u64) -> Plan {
    let marks = Some((sample::update(&format!("bms:{n}")), 7));
    Plan { dead_letters: vec![DeadLetter { marks, ..sample::letter(&format!("bms:{n}"), "body") }], ..Plan::default() }
}

/// What is buried meets what it was, as what is decided does: a mark, a row, and a row that waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_is_buried_again_is_met_by_its_mark() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let waiting = sample::row(sample::decision("bms:3", None, DecisionKind::Deferred, 1));
    let waits = Plan { decisions: vec![waiting], waiting: vec![sample::waiting("bms:3", 1, &["bms:7"])], ..Plan::default() };
    store.commit(&sample::batch(vec![buried(1), decided(2), waits])).await.unwrap();
    for again in 1..=3 {
        store.look_up(&fresh(100..12_000)).await.unwrap();
        assert!(store.look_up(&fresh(1..4)).await.unwrap().markers.is_empty(), "they are expected to be new");
        let batch = sample::batch(vec![buried(50 + again), buried(again)]);
        assert_eq!(in_the_way(&store.commit(&batch).await.unwrap_err()), [1]);
        assert_eq!(store.look_up(&fresh(1..4)).await.unwrap().markers.len(), 3, "now they are asked for");
    }
    let awake = Plan { awake: vec![sample::update("bms:3")], ..buried(3) };
    store.commit(&sample::batch(vec![awake])).await.unwrap();
    assert!(store.list_waiting(None, 9).await.unwrap().is_empty());
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_expected_to_be_new_is_met_by_its_row() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    store.commit(&sample::batch((0..5).map(decided).collect())).await.unwrap();
    assert_eq!(store.look_up(&fresh(0..5)).await.unwrap().markers.len(), 5, "after a start it is asked");
    // So many new ones that the next are expected to be new as well.
    assert!(store.look_up(&fresh(100..6_000)).await.unwrap().markers.is_empty());
    assert!(store.look_up(&fresh(0..5)).await.unwrap().markers.is_empty());
    let asked = Lookup { updates: fresh(0..5).fresh, ..Lookup::default() };
    assert_eq!(store.look_up(&asked).await.unwrap().markers.len(), 5, "who needs to know is told");
    let batch = sample::batch(vec![decided(50), decided(3), decided(51)]);
    assert_eq!(in_the_way(&store.commit(&batch).await.unwrap_err()), [1]);
    assert_eq!(store.look_up(&fresh(0..5)).await.unwrap().markers.len(), 5, "now it is asked again");
    store.commit(&sample::batch(vec![decided(50), decided(51)])).await.unwrap();
    base.drop().await;
}
