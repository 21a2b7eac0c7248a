//! The MongoDB backend, against the replica set that `SYNCLINE_TEST_MONGODB_URL` names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use serde_json::{Value, json};
use syncline::backends::mongodb::{MongoStore, Options};
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::value::Leaves;
use syncline::domain::waiting::{Waiting, WaitingFor};
use syncline::ports::error::{PortError, PortErrorKind};
use syncline::ports::store::{Batch, DecisionFilter, Lookup, Marker, OutboxChange, Owed, Plan, Published, RecordWrite, Store};
use syncline::ports::testkit::{StoreKit, agrees_with_reference, sample, store_conformance};

const URL: &str = "SYNCLINE_TEST_MONGODB_URL";

/// The server's address. Without one there is nothing to test, except where everything must be tested.
pub fn server() -> Option<String> {
    let url = std::env::var(URL).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{URL} is not set; scripts/services starts a server and says its address");
        eprintln!("skipped: {URL} is not set");
    }
    url
}

/// A database of its own, dropped at the end.
pub struct Base {
    pub url: String,
    pub name: String,
}

impl Base {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), name: format!("syncline_test_{}", uuid::Uuid::now_v7().simple()) }
    }

    pub async fn open(&self) -> MongoStore {
        MongoStore::open(&self.url, &self.name, Options::default()).await.unwrap()
    }

    /// The database as somebody sees it who queries it by hand.
    pub async fn by_hand(&self) -> Database {
        Client::with_uri_str(&self.url).await.unwrap().database(&self.name)
    }

    pub async fn drop(self) {
        self.open().await.drop_database().await.unwrap();
    }
}

/// Makes database after database.
struct Kit {
    url: String,
    base: Mutex<Option<Base>>,
}

impl Kit {
    fn new(url: String) -> Self {
        Self { url, base: Mutex::new(None) }
    }

    fn take(&self) -> Option<Base> {
        self.base.lock().unwrap().take()
    }

    async fn open(&self) -> Arc<dyn Store> {
        let base = self.take().unwrap();
        let store = base.open().await;
        *self.base.lock().unwrap() = Some(base);
        Arc::new(store)
    }

    async fn end(&self) {
        if let Some(base) = self.take() {
            base.drop().await;
        }
    }
}

#[async_trait]
impl StoreKit for Kit {
    fn forgets_exactly(&self) -> bool {
        false
    }

    async fn fresh(&self) -> Arc<dyn Store> {
        self.end().await;
        *self.base.lock().unwrap() = Some(Base::new(&self.url));
        self.open().await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(store);
        self.open().await
    }

    async fn second(&self) -> Option<Arc<dyn Store>> {
        Some(self.open().await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_its_promises() {
    let Some(url) = server() else { return };
    let kit = Kit::new(url);
    store_conformance(&kit).await;
    kit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_batches_agree_with_the_reference() {
    let Some(url) = server() else { return };
    let kit = Kit::new(url);
    for seed in 100..104 {
        agrees_with_reference(&kit, seed, 120).await;
    }
    kit.end().await;
}

/// A record with this data, and a decision about it.
fn plan_with(n: u64, data: &Value) -> Plan {
    let mut record = sample::record(n, 1);
    record.data = Leaves::open(data.as_object().cloned().unwrap());
    let (proposed, accepted) = (Some(record.data.clone()), Some(sample::record(n, 1).data));
    let decision = sample::decision(&format!("bms:u{n}"), Some(n), DecisionKind::Accepted, n);
    let decision = Decision { proposed_snapshot: proposed, accepted_snapshot: accepted, ..decision };
    Plan { decisions: vec![sample::row(decision)], ..sample::plan(sample::write(record, None)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_back_exactly() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let mut deep = json!("bottom");
    for _ in 0..63 {
        deep = json!({"d": deep});
    }
    let values = [
        json!({"a": i64::MAX, "b": i64::MIN, "c": u64::MAX, "d": i64::MAX as u64 + 1, "e": 9_007_199_254_740_993_i64}),
        json!({"a": -0.0, "b": 0.0, "c": 1e308, "d": 0.1, "e": 1.0, "f": 1, "g": 5e-324, "list": [1, 1.0, u64::MAX, null, true]}),
        json!({"$where": "sleep(1000)", "a.b": 1, "": "empty", "%": 2, "%2E": 3, "nul\0": "x\0y", "$set": {"$inc": {"": 1}}, "_id": "mine"}),
        json!({"x": {"$date": "2026-01-01T00:00:00Z"}, "y": {"$oid": "507f1f77bcf86cd799439011"}, "z": [{}, [], {"$numberLong": "5"}]}),
        deep,
        json!({"text": "\u{feff}ü😀\r\n", "null": null, "empty": {}, "none": []}),
    ];
    let plans = (1..).zip(&values).map(|(n, data)| plan_with(n, data)).collect();
    store.commit(&sample::batch(plans)).await.unwrap();
    for (n, data) in (1..).zip(&values) {
        let found = store.records(&[sample::id(n)]).await.unwrap();
        assert_eq!(Value::Object(found[0].record.data.close()).to_string(), data.to_string());
        let decision = store.decision(&sample::update(&format!("bms:u{n}"))).await.unwrap().unwrap();
        assert_eq!(Value::Object(decision.proposed_snapshot.unwrap().close()).to_string(), data.to_string());
    }
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_decisions_can_be_queried_by_hand() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let data = json!({"serial": "SN-001", "room": {"floor": 3}, "big": u64::MAX, "weight": 2.5, "a.b": 1});
    store.commit(&sample::batch(vec![plan_with(1, &data), plan_with(2, &json!({"serial": "SN-002"}))])).await.unwrap();
    let db = base.by_hand().await;
    let canonical = db.collection::<Document>("canonical");
    for filter in [
        doc! {"type": "device", "data.serial": "SN-001"},
        doc! {"data.room.floor": {"$gte": 3}},
        doc! {"data.big": {"$gt": i64::MAX}},
        doc! {"data.weight": 2.5},
        doc! {"data.a%2Eb": 1},
        doc! {"links": {"$elemMatch": {"system": "bms", "native_id": "1", "state": "linked"}}},
    ] {
        let found = canonical.find_one(filter.clone()).await.unwrap().unwrap_or_else(|| panic!("{filter}"));
        assert_eq!(found.get_str("_id").unwrap(), sample::id(1).to_string());
        assert_eq!(canonical.count_documents(filter.clone()).await.unwrap(), 1, "{filter}");
    }
    let decisions = db.collection::<Document>("decisions");
    let wanted = doc! {"decision": "accepted", "source_system": "bms", "proposed_snapshot.serial": "SN-001", "changed": "name"};
    assert_eq!(decisions.find_one(wanted).await.unwrap().unwrap().get_str("_id").unwrap(), "bms:u1");
    base.drop().await;
}

/// A row as version 1 kept it: one document for each record and system.
fn row_of_version_1(record: u64, system: &str, position: i64) -> Document {
    let record = sample::id(record).to_string();
    doc! {"_id": format!("{record}:{system}"), "record": record, "system": system, "rev": 3_i64, "published": 2_i64, "delivered": 2_i64,
    "retry_at": null, "attempts": 0_i64, "answer_by": 7_i64, "position": position}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_version_1_has_left_to_send_is_still_owed() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    drop(base.open().await);
    let db = base.by_hand().await;
    let (outbox, meta) = (db.collection::<Document>("outbox"), db.collection::<Document>("meta"));
    let rows = [row_of_version_1(1, "oem", 5), row_of_version_1(2, "oem", 6), row_of_version_1(1, "crm", 7)];
    outbox.insert_many(rows).await.unwrap();
    meta.update_one(doc! {"_id": "store"}, doc! {"$set": {"version": 1_i64}}).await.unwrap();
    // Whoever only reads does not change it.
    let reading = Options { create: false, ..Options::default() };
    let refused = MongoStore::open(&base.url, &base.name, reading).await.unwrap_err();
    assert!(refused.kind == PortErrorKind::Invalid && refused.message.contains("start an orchestrator"), "{refused}");
    // One that was killed has left its note, and holds up nobody for long.
    db.collection::<Document>("orchestrators").insert_one(doc! {"_id": "killed", "pulse": 3_i64}).await.unwrap();
    let owed = |owed: Vec<(u64, Owed)>| -> Vec<(String, bool, u64)> {
        owed.iter().map(|(_, row)| (row.system.to_string(), row.record == sample::id(1), row.rev)).collect()
    };
    let all = [("oem".to_owned(), false, 3), ("oem".to_owned(), true, 3), ("crm".to_owned(), true, 3)];
    let (one, other) = tokio::join!(base.open(), base.open());
    for store in [&one, &other] {
        assert_eq!(owed(store.owed(0, 9).await.unwrap()), all);
    }
    let row = &one.owed(0, 1).await.unwrap()[0].1;
    assert_eq!((row.published, row.delivered, row.retry_at, row.attempts), (2, 2, None, 0));
    assert_eq!(row.answer_by.map(syncline::domain::time::Timestamp::as_micros), Some(7));
    assert_eq!(outbox.count_documents(doc! {}).await.unwrap(), 0);
    assert_eq!(meta.find_one(doc! {"_id": "store"}).await.unwrap().unwrap().get_i64("version").unwrap(), 3);
    // What an earlier one adds all the same is found by the next start, and takes nothing newer away.
    outbox.insert_many([row_of_version_1(1, "erp", 9), row_of_version_1(1, "oem", 8)]).await.unwrap();
    let mut found = owed(base.open().await.owed(0, 9).await.unwrap());
    found.sort();
    let mut with_erp = [all.as_slice(), &[("erp".to_owned(), true, 3)]].concat();
    with_erp.sort();
    assert_eq!(found, with_erp);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_an_earlier_syncline_uses_is_left_alone() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    drop(base.open().await);
    let db = base.by_hand().await;
    let (notes, meta) = (db.collection::<Document>("orchestrators"), db.collection::<Document>("meta"));
    meta.update_one(doc! {"_id": "store"}, doc! {"$set": {"version": 1_i64}}).await.unwrap();
    notes.insert_one(doc! {"_id": "earlier", "pulse": 1_i64}).await.unwrap();
    let opening = MongoStore::open(&base.url, &base.name, Options::default());
    let beating = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            notes.update_one(doc! {"_id": "earlier"}, doc! {"$inc": {"pulse": 1_i64}}).await.unwrap();
        }
    };
    let refused = tokio::select! {
        opened = opening => opened.unwrap_err(),
        () = beating => unreachable!("it beats for ever"),
    };
    assert_eq!(refused.kind, PortErrorKind::Invalid);
    assert!(refused.message.contains("1 earlier Syncline at work") && refused.message.contains("end all"), "{refused}");
    assert_eq!(meta.find_one(doc! {"_id": "store"}).await.unwrap().unwrap().get_i64("version").unwrap(), 1);
    db.drop().await.unwrap();
}

/// What is said to people and kept in logs.
fn all_said(error: &PortError) -> String {
    format!("{error} {error:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_without_the_password() {
    let options = Options { connect: Duration::from_millis(300), ..Options::default() };
    // Nobody listens there: the port was free a moment ago and is nobody's.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = MongoStore::open(&format!("mongodb://anna:s3cr3t@127.0.0.1:{port}"), "syncline", options).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Unavailable);
    assert!(refused.message.contains(&port.to_string()) && !all_said(&refused).contains("s3cr3t"), "{refused}");
    for wrong in
        ["mongodb://anna:s3cr3t@/x", "mongodb://anna:s3@cr3t@h", "mongodb://anna:s3cr3t@h:port", "mongodb://anna:s3cr3t@h/?x=y", "s3cr3t"]
    {
        let refused = MongoStore::open(wrong, "syncline", options).await.unwrap_err();
        assert!(!all_said(&refused).contains("cr3t"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let open = async |create| MongoStore::open(&base.url, &base.name, Options { create, ..Options::default() }).await;
    let absent = open(false).await.unwrap_err();
    assert!(absent.message.contains("no store in the database"), "{absent}");
    open(true).await.unwrap();
    let meta = base.by_hand().await.collection::<Document>("meta");
    meta.update_one(doc! {"_id": "store"}, doc! {"$set": {"version": 99}}).await.unwrap();
    for create in [true, false] {
        let refused = open(create).await.unwrap_err();
        assert_eq!(refused.kind, PortErrorKind::Invalid);
        assert!(refused.message.contains("newer Syncline (version 99"), "{refused}");
    }
    base.by_hand().await.drop().await.unwrap();
}

/// Moves a record on, as often as it takes.
async fn move_on(store: &MongoStore, n: u64, text: &str) {
    loop {
        let stored = store.records(&[sample::id(n)]).await.unwrap();
        let revision = stored[0].revision;
        let write = sample::write(sample::record(n, revision + 1), Some(revision));
        let row = sample::row(sample::decision(text, Some(n), DecisionKind::Accepted, 1));
        match store.commit(&sample::batch(vec![Plan { decisions: vec![row], ..sample::plan(write) }])).await {
            Ok(()) => return,
            Err(error) => assert!(matches!(error.kind, PortErrorKind::Conflict(_)), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_lost_between_orchestrators() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let stores = [base.open().await, base.open().await];
    stores[0].commit(&sample::batch(vec![sample::plan(sample::write(sample::record(1, 1), None))])).await.unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|lane| {
            let store = stores[lane % 2].clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    move_on(&store, 1, &format!("bms:{lane}-{n}")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = stores[0].records(&[sample::id(1)]).await.unwrap();
    assert_eq!((found[0].revision, found[0].record.version), (61, 61));
    let rows = stores[1].decisions(&DecisionFilter::default(), None, 99).await.unwrap().items;
    assert_eq!(rows.len(), 60);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_rely_on_what_the_other_changes_do_not_both_commit() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, two) = (base.open().await, base.open().await);
    let new = |n| sample::plan(sample::write(sample::record(n, 1), None));
    one.commit(&sample::batch(vec![new(1), new(2)])).await.unwrap();
    for _ in 0..30 {
        let stored = one.records(&[sample::id(1), sample::id(2)]).await.unwrap();
        let (a, b) = (stored[0].revision, stored[1].revision);
        let moves = |n: u64, revision: u64, on: u64, relied_on: u64| {
            let write = sample::write(sample::record(n, revision + 1), Some(revision));
            sample::batch(vec![Plan { checks: vec![(sample::id(on), relied_on)], ..sample::plan(write) }])
        };
        let (first, second) = (moves(1, a, 2, b), moves(2, b, 1, a));
        let (first, second) = tokio::join!(one.commit(&first), two.commit(&second));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    }
    base.drop().await;
}

/// A change of record 1, stored with `revision`, that a system is owed.
fn owes(revision: u64, name: &str, rev: u64) -> Batch {
    let outbox = vec![OutboxChange::Due { system: sample::system(name), rev }];
    let write = sample::write(sample::record(1, revision + 1), (revision > 0).then_some(revision));
    sample::batch(vec![sample::plan(RecordWrite { outbox, ..write })])
}

/// Every (system, rev) that is owed of record 1, as somebody sees it who has remembered nothing.
async fn owed(base: &Base) -> Vec<(String, u64)> {
    let rows = base.open().await.owed(0, 99).await.unwrap();
    let mut rows: Vec<(String, u64)> = rows.into_iter().map(|(_, owed)| (owed.system.to_string(), owed.rev)).collect();
    rows.sort();
    rows
}

fn sent(name: &str, rev: u64) -> Published {
    Published {
        record: sample::id(1),
        system: sample::system(name),
        rev,
        nothing: false,
        tried: (0, None),
        awaits_receipt: false,
        answer_by: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_owed_since_it_was_read_stays_owed() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, two) = (base.open().await, base.open().await);
    one.commit(&owes(0, "oem", 1)).await.unwrap();
    assert_eq!(one.owed_of(&[(sample::id(1), sample::system("oem"))]).await.unwrap().len(), 1);
    // While the first one is sending.
    two.commit(&owes(1, "oem", 2)).await.unwrap();
    two.commit(&owes(2, "crm", 1)).await.unwrap();
    one.published(&[sent("oem", 1)]).await.unwrap();
    assert_eq!(owed(&base).await, [("crm".to_owned(), 1), ("oem".to_owned(), 2)]);
    let both = ["crm", "oem"].map(|name| (sample::id(1), sample::system(name)));
    assert_eq!(one.owed_of(&both).await.unwrap().len(), 2);
    one.published(&[sent("crm", 1), sent("oem", 2)]).await.unwrap();
    assert_eq!(owed(&base).await, []);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_one_owes_is_met_by_whoever_takes_it_to_be_nothing() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, two) = (base.open().await, base.open().await);
    // It has seen that nothing is owed.
    assert!(one.owed(0, 99).await.unwrap().is_empty());
    two.commit(&owes(0, "oem", 1)).await.unwrap();
    one.commit(&owes(1, "crm", 1)).await.unwrap();
    assert_eq!(owed(&base).await, [("crm".to_owned(), 1), ("oem".to_owned(), 1)]);
    // An answer is about something that is owed, by whomever.
    let answered = OutboxChange::Applied { system: sample::system("oem"), rev: 1 };
    let write = RecordWrite { outbox: vec![answered], ..sample::write(sample::record(1, 3), Some(2)) };
    let third = base.open().await;
    third.commit(&sample::batch(vec![sample::plan(write)])).await.unwrap();
    assert_eq!(owed(&base).await, [("crm".to_owned(), 1)]);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_race_hid_from_a_waiting_update_is_found_later() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let kept = Plan { waiting: vec![sample::waiting("bms:a", 1, &["bms:9"])], ..Plan::default() };
    let link = RecordWrite { links_added: vec![sample::native("bms:9")], ..sample::write(sample::record(1, 1), None) };
    store.commit(&sample::batch(vec![kept, sample::plan(link)])).await.unwrap();
    // As it is left if another orchestrator commits the link at the same moment.
    let waiting = base.by_hand().await.collection::<Document>("waiting");
    waiting.update_one(doc! {"_id": "bms:a"}, doc! {"$set": {"ready": false}}).await.unwrap();
    assert_eq!(store.waiting_due(sample::at(0), 9).await.unwrap().len(), 1);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_way_looks_for_what_another_one_has_kept_since() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let (one, other) = (base.open().await, base.open().await);
    other.commit(&sample::batch(vec![sample::plan(sample::write(sample::record(1, 1), None))])).await.unwrap();
    assert!(other.waiting_due(sample::at(0), 9).await.unwrap().is_empty(), "it has seen that nothing waits");
    let waiting_for = WaitingFor::MatchCollision { records: vec![sample::id(1)], keys: Vec::new() };
    let waiting = vec![Waiting { waiting_for, ..sample::waiting("bms:a", 1, &[]) }];
    one.commit(&sample::batch(vec![Plan { waiting, ..Plan::default() }])).await.unwrap();
    let write = RecordWrite { makes_way: true, ..sample::write(sample::record(1, 2), Some(1)) };
    other.commit(&sample::batch(vec![sample::plan(write)])).await.unwrap();
    assert_eq!(one.waiting_due(sample::at(0), 9).await.unwrap().len(), 1);
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_takes_several_commands() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    // 14 records of 1 MiB: more than one command may carry.
    let text = "x".repeat(1 << 20);
    let large = |n| {
        let mut record = sample::record(n, 1);
        record.data.set("text".into(), json!(text));
        sample::plan(sample::write(record, None))
    };
    store.commit(&sample::batch((0..14).map(large).collect())).await.unwrap();
    assert_eq!(store.list_records(None, None, 99).await.unwrap().len(), 14);
    base.drop().await;
}

/// What `docs/mongodb.md` says can be done by hand.
#[tokio::test(flavor = "multi_thread")]
async fn rows_shrunk_by_hand_still_stop_duplicates() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    let store = base.open().await;
    let row = |kind| Plan { decisions: vec![sample::row(sample::decision("bms:u1", Some(1), kind, 1))], ..Plan::default() };
    let other = Plan { decisions: vec![sample::row(sample::decision("bms:u2", Some(1), DecisionKind::Accepted, 2))], ..Plan::default() };
    store.commit(&sample::batch(vec![row(DecisionKind::Echo), other])).await.unwrap();
    let decisions = base.by_hand().await.collection::<Document>("decisions");
    let shrink = vec![doc! {"$replaceWith": {"_id": "$_id", "content_hash": "$content_hash", "decided": "$place"}}];
    let old = doc! {"decision": {"$in": ["unchanged", "echo"]}, "timestamp": {"$lt": mongodb::bson::DateTime::MAX}};
    assert_eq!(decisions.update_many(old, shrink).await.unwrap().modified_count, 1);
    let update = sample::update("bms:u1");
    assert_eq!(store.decision(&update).await.unwrap(), None);
    let lookup = Lookup { updates: vec![update.clone()], ..Lookup::default() };
    assert_eq!(store.look_up(&lookup).await.unwrap().markers[&update], Marker { content_hash: 42, waiting: false, of_letter: false });
    let again = store.commit(&sample::batch(vec![row(DecisionKind::Accepted)])).await.unwrap_err();
    assert_eq!(again.kind, PortErrorKind::Conflict(vec![0]));
    for limit in [1, 9] {
        assert_eq!(store.decisions(&DecisionFilter::default(), None, limit).await.unwrap().items.len(), 1);
    }
    base.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_mongodb_names_every_collection_and_index() {
    let Some(url) = server() else { return };
    let base = Base::new(&url);
    base.open().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mongodb.md")).unwrap();
    let db = base.by_hand().await;
    for name in db.list_collection_names().await.unwrap() {
        assert!(page.contains(&format!("`{name}`")), "{name}");
        for index in db.collection::<Document>(&name).list_index_names().await.unwrap() {
            // `type_1__id_1` → `type, _id`
            let fields = index.replace("_-1", "_1").replace("_1__id", ", _id").replace("_1_", ", ");
            let fields = fields.trim_end_matches("_1").to_owned();
            assert!(index == "_id_" || page.contains(&format!("`{fields}`")), "{name}: {index}, {fields}");
        }
    }
    base.drop().await;
}
