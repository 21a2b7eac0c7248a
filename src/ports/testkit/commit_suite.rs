//! Commit and look-up.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::decision::DecisionKind::{Accepted, Deferred, Dropped, Parked};
use crate::domain::identity::TypedClaim;
use crate::domain::ids::CanonicalId;
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Batch, DeadLetter, DecisionFilter, DecisionWrite, Lookup, Plan, RecordWrite, Store, SystemFacts};

type DynStore = Arc<dyn Store>;

/// The plans in the way.
async fn conflicts(store: &DynStore, batch: &Batch) -> Vec<usize> {
    let error = store.commit(batch).await.unwrap_err();
    error.conflicting().unwrap_or_else(|| panic!("not a conflict: {error:?}")).to_vec()
}

async fn owner_of_link(store: &DynStore, key: &str) -> Option<CanonicalId> {
    let found = store.look_up(&Lookup { links: vec![native(key)], ..Lookup::default() }).await.unwrap();
    found.links.get(&native(key)).copied()
}

async fn owner_of_claim(store: &DynStore, value: &str) -> Option<CanonicalId> {
    let found = store.look_up(&Lookup { claims: vec![typed(value)], ..Lookup::default() }).await.unwrap();
    found.claims.get(&typed(value)).copied()
}

async fn marker(store: &DynStore, text: &str) -> Option<(u64, bool)> {
    let found = store.look_up(&Lookup { updates: vec![update(text)], ..Lookup::default() }).await.unwrap();
    found.markers.get(&update(text)).map(|marker| (marker.content_hash, marker.waiting))
}

async fn revision(store: &DynStore, n: u64) -> Option<u64> {
    store.records(&[id(n)]).await.unwrap().first().map(|record| record.revision)
}

/// A new record with one link and one key value.
fn device(n: u64, key: &str, serial: &str) -> RecordWrite {
    RecordWrite { links_added: vec![native(key)], claims_added: vec![claim(serial)], ..write(record(n, 1), None) }
}

fn decide(decisions: Vec<DecisionWrite>) -> Plan {
    Plan { decisions, ..Plan::default() }
}

fn marked(text: &str) -> DeadLetter {
    DeadLetter { marks: Some((update(text), 7)), ..letter(text, "body") }
}

pub(super) async fn a_record_comes_back_as_it_was(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let written = device(1, "bms:1", "s1");
    let plan = Plan { decisions: vec![row(decision("bms:u1", Some(1), Accepted, 1))], ..plan(written.clone()) };
    store.commit(&batch(vec![plan])).await.unwrap();
    let found = store.records(&[id(1), id(2)]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].record, written.record);
    let bytes = |record| serde_json::to_string(record).unwrap();
    assert_eq!(bytes(&*found[0].record), bytes(&*written.record), "numbers keep their types");
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap(), Some(decision("bms:u1", Some(1), Accepted, 1)));
    assert_eq!(owner_of_link(&store, "bms:1").await, Some(id(1)));
    assert_eq!(owner_of_claim(&store, "s1").await, Some(id(1)));
    assert_eq!(marker(&store, "bms:u1").await, Some((42, false)));
}

pub(super) async fn nothing_is_known_of_what_was_never_written(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1"))])).await.unwrap();
    assert_eq!(owner_of_link(&store, "bms:11").await, None);
    assert_eq!(owner_of_link(&store, "oem:1").await, None);
    assert_eq!(owner_of_claim(&store, "S1").await, None);
    assert_eq!(marker(&store, "bms:1").await, None);
    assert_eq!(store.decision(&update("bms:1")).await.unwrap(), None);
    assert!(store.look_up(&Lookup::default()).await.unwrap().links.is_empty());
    assert!(store.records(&[]).await.unwrap().is_empty());
    store.commit(&Batch::default()).await.unwrap();
}

pub(super) async fn revisions_grow_and_are_checked(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(write(record(1, 1), None))])).await.unwrap();
    let first = revision(&store, 1).await;
    // The version stays: only a shadow changed, for instance.
    store.commit(&batch(vec![plan(write(record(1, 1), first))])).await.unwrap();
    let second = revision(&store, 1).await;
    assert!(second > first);
    assert_eq!(conflicts(&store, &batch(vec![plan(write(record(1, 2), first))])).await, [0]);
    assert_eq!(conflicts(&store, &batch(vec![plan(write(record(1, 2), second.map(|revision| revision + 1)))])).await, [0]);
    assert_eq!(conflicts(&store, &batch(vec![plan(write(record(2, 1), Some(1)))])).await, [0]);
    assert_eq!(store.records(&[id(1)]).await.unwrap()[0].record.version, 1);
    assert_eq!(revision(&store, 2).await, None);
}

pub(super) async fn a_new_record_must_not_exist(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(write(record(1, 1), None))])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![plan(write(record(1, 1), None))])).await, [0]);
}

pub(super) async fn a_batch_is_written_whole_or_not_at_all(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1"))])).await.unwrap();
    let good = Plan {
        decisions: vec![row(decision("bms:u2", Some(2), Accepted, 1)), row(decision("bms:u3", None, Parked, 1))],
        waiting: vec![waiting("bms:u3", 1, &["bms:9"])],
        dead_letters: vec![letter("dead", "{")],
        ..plan(device(2, "bms:2", "s2"))
    };
    let facts = vec![SystemFacts { receipts_seen: true, ..SystemFacts::new(system("bms")) }];
    let bad = plan(write(record(1, 2), Some(77)));
    for plans in [vec![good.clone(), bad.clone()], vec![bad, good.clone()]] {
        let both = Batch { facts: facts.clone(), ..batch(plans) };
        assert_eq!(conflicts(&store, &both).await.len(), 1);
        assert_eq!(revision(&store, 2).await, None);
        assert_eq!(owner_of_link(&store, "bms:2").await, None);
        assert_eq!(owner_of_claim(&store, "s2").await, None);
        assert_eq!(marker(&store, "bms:u2").await, None);
        assert_eq!(store.decision(&update("bms:u2")).await.unwrap(), None);
        assert!(store.list_waiting(None, 9).await.unwrap().is_empty());
        assert!(store.dead_letters(None, 9).await.unwrap().items.is_empty());
        assert!(store.facts().await.unwrap().is_empty());
    }
    store.commit(&batch(vec![good])).await.unwrap();
    assert_eq!(owner_of_link(&store, "bms:2").await, Some(id(2)));
}

pub(super) async fn every_plan_in_the_way_is_named(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let first = Plan { decisions: vec![row(decision("bms:u1", Some(1), Accepted, 1))], ..plan(device(1, "bms:1", "s1")) };
    store.commit(&batch(vec![first])).await.unwrap();
    // "As many as it can find": at least one, and never one that is free.
    let plans = vec![
        plan(device(2, "bms:2", "s2")),
        plan(write(record(1, 2), Some(77))),
        decide(vec![row(decision("bms:u1", Some(1), Accepted, 2))]),
        plan(device(3, "bms:1", "s3")),
        plan(device(4, "bms:4", "s1")),
        plan(device(5, "bms:5", "s5")),
    ];
    let named = conflicts(&store, &batch(plans.clone())).await;
    assert!(!named.is_empty() && named.iter().all(|index| [1, 2, 3, 4].contains(index)), "{named:?}");
    for alone in 1..=4 {
        assert_eq!(conflicts(&store, &batch(vec![plans[0].clone(), plans[alone].clone()])).await, [1]);
    }
    store.commit(&batch(vec![plans[0].clone(), plans[5].clone()])).await.unwrap();
}

pub(super) async fn an_update_is_decided_once(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![decide(vec![row(decision("bms:u1", None, Dropped, 1))])])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![row(decision("bms:u1", None, Accepted, 2))])])).await, [0]);
    // The id means nothing without its system.
    store.commit(&batch(vec![decide(vec![row(decision("oem:u1", None, Dropped, 2))])])).await.unwrap();
    let twice = || decide(vec![row(decision("bms:u2", None, Dropped, 3))]);
    assert!(conflicts(&store, &batch(vec![twice(), twice()])).await.contains(&1));
    assert_eq!(marker(&store, "bms:u2").await, None);
}

pub(super) async fn a_link_has_one_owner(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1"))])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![plan(device(2, "bms:1", "s2"))])).await, [0]);
    assert!(conflicts(&store, &batch(vec![plan(device(3, "bms:3", "s3")), plan(device(4, "bms:3", "s4"))])).await.contains(&1));
    assert_eq!(owner_of_link(&store, "bms:3").await, None);
    // Adding what it has already is no conflict.
    let same = RecordWrite { expected: revision(&store, 1).await, ..device(1, "bms:1", "s1") };
    store.commit(&batch(vec![plan(same)])).await.unwrap();
}

pub(super) async fn a_claim_has_one_owner(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1"))])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![plan(device(2, "bms:2", "s1"))])).await, [0]);
    assert!(conflicts(&store, &batch(vec![plan(device(3, "bms:3", "s3")), plan(device(4, "bms:4", "s3"))])).await.contains(&1));
    assert_eq!(owner_of_link(&store, "bms:2").await, None);
    assert_eq!(owner_of_claim(&store, "s3").await, None);
}

pub(super) async fn claims_are_scoped_by_type_and_key(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let mut email = device(2, "bms:2", "s1");
    email.claims_added[0].key = "email".into();
    let mut sensor = write(record(3, 1), None);
    Arc::make_mut(&mut sensor.record).entity_type = of_type("sensor");
    sensor.claims_added = vec![claim("s1")];
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1")), plan(email), plan(sensor)])).await.unwrap();
    let sensors = TypedClaim { entity_type: of_type("sensor"), claim: claim("s1") };
    let found = store.look_up(&Lookup { claims: vec![typed("s1"), sensors.clone()], ..Lookup::default() }).await.unwrap();
    assert_eq!((found.claims[&typed("s1")], found.claims[&sensors]), (id(1), id(3)));
}

pub(super) async fn releases_count_before_additions(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1")), plan(device(2, "bms:2", "s2"))])).await.unwrap();
    // Record 2 takes what record 1 gives away, whichever plan comes first; record 1 moves on within one plan.
    let giver = RecordWrite {
        links_removed: vec![native("bms:1")],
        claims_released: vec![claim("s1")],
        expected: revision(&store, 1).await,
        ..device(1, "bms:1b", "s1b")
    };
    let taker = RecordWrite { expected: revision(&store, 2).await, ..device(2, "bms:1", "s1") };
    store.commit(&batch(vec![plan(taker), plan(giver)])).await.unwrap();
    assert_eq!((owner_of_link(&store, "bms:1").await, owner_of_claim(&store, "s1").await), (Some(id(2)), Some(id(2))));
    assert_eq!((owner_of_link(&store, "bms:1b").await, owner_of_claim(&store, "s1b").await), (Some(id(1)), Some(id(1))));
    // Letting go of something and taking it again keeps it.
    let again = RecordWrite {
        links_removed: vec![native("bms:1b")],
        claims_released: vec![claim("s1b")],
        expected: revision(&store, 1).await,
        ..device(1, "bms:1b", "s1b")
    };
    store.commit(&batch(vec![plan(again)])).await.unwrap();
    assert_eq!((owner_of_link(&store, "bms:1b").await, owner_of_claim(&store, "s1b").await), (Some(id(1)), Some(id(1))));
}

pub(super) async fn only_the_owner_can_release(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1")), plan(device(2, "bms:2", "s2"))])).await.unwrap();
    let expected = revision(&store, 2).await;
    let thief = RecordWrite {
        links_removed: vec![native("bms:1"), native("bms:none")],
        claims_released: vec![claim("s1"), claim("none")],
        ..write(record(2, 2), expected)
    };
    store.commit(&batch(vec![plan(thief)])).await.unwrap();
    assert_eq!((owner_of_link(&store, "bms:1").await, owner_of_claim(&store, "s1").await), (Some(id(1)), Some(id(1))));
    assert_eq!(conflicts(&store, &batch(vec![plan(device(3, "bms:3", "s1"))])).await, [0]);
}

pub(super) async fn a_final_row_never_changes(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![decide(vec![row(decision("bms:u1", None, Dropped, 1))])])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![replacing(decision("bms:u1", None, Accepted, 2))])])).await, [0]);
    // Nor is there anything to replace where nothing waits.
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![replacing(decision("bms:u2", None, Accepted, 2))])])).await, [0]);
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap().map(|row| row.decision), Some(Dropped));
}

pub(super) async fn a_waiting_row_is_replaced(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![decide(vec![row(decision("bms:u1", None, Parked, 1))])])).await.unwrap();
    assert_eq!(marker(&store, "bms:u1").await, Some((42, true)));
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![row(decision("bms:u1", None, Accepted, 2))])])).await, [0]);
    store.commit(&batch(vec![decide(vec![replacing(decision("bms:u1", Some(1), Deferred, 2))])])).await.unwrap();
    assert_eq!(marker(&store, "bms:u1").await, Some((42, true)));
    let last = DecisionWrite { content_hash: 43, ..replacing(decision("bms:u1", Some(1), Accepted, 3)) };
    store.commit(&batch(vec![decide(vec![last.clone()])])).await.unwrap();
    assert_eq!(marker(&store, "bms:u1").await, Some((43, false)));
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap().as_ref(), Some(&last.decision));
    assert_eq!(store.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items, [last.decision]);
    // Parked and decided within one batch.
    let both = decide(vec![row(decision("bms:u2", None, Parked, 4)), replacing(decision("bms:u2", Some(1), Accepted, 4))]);
    store.commit(&batch(vec![both])).await.unwrap();
    assert_eq!(store.decision(&update("bms:u2")).await.unwrap().map(|row| row.decision), Some(Accepted));
}

pub(super) async fn a_dead_letter_leaves_a_marker(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let dead = Plan { dead_letters: vec![marked("bms:u1"), letter("x", "{")], ..Plan::default() };
    store.commit(&batch(vec![dead.clone()])).await.unwrap();
    assert_eq!(marker(&store, "bms:u1").await, Some((7, false)));
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap(), None);
    assert_eq!(conflicts(&store, &batch(vec![dead])).await, [0]);
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![row(decision("bms:u1", None, Accepted, 2))])])).await, [0]);
    assert_eq!(conflicts(&store, &batch(vec![decide(vec![replacing(decision("bms:u1", None, Accepted, 2))])])).await, [0]);
    store.commit(&batch(vec![decide(vec![row(decision("bms:u2", None, Dropped, 2))])])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![Plan { dead_letters: vec![marked("bms:u2")], ..Plan::default() }])).await, [0]);
    let kept = store.dead_letters(None, 9).await.unwrap().items;
    assert_eq!(kept, [DeadLetter { marks: None, ..marked("bms:u1") }, letter("x", "{")]);
}

pub(super) async fn a_waiting_update_can_become_a_dead_letter(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let parked = Plan {
        decisions: vec![row(decision("bms:u1", None, Parked, 1))],
        waiting: vec![waiting("bms:u1", 1, &["bms:9"])],
        ..Plan::default()
    };
    store.commit(&batch(vec![parked])).await.unwrap();
    // Who does not know that it waits may not end it.
    let unaware = Plan { dead_letters: vec![marked("bms:u1")], ..Plan::default() };
    assert_eq!(conflicts(&store, &batch(vec![unaware])).await, [0]);
    let dead = Plan { dead_letters: vec![marked("bms:u1")], awake: vec![update("bms:u1")], ..Plan::default() };
    store.commit(&batch(vec![dead.clone()])).await.unwrap();
    assert_eq!(marker(&store, "bms:u1").await, Some((7, false)));
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap(), None, "one decision or one dead letter, never both");
    assert!(store.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items.is_empty());
    assert!(store.list_waiting(None, 9).await.unwrap().is_empty());
    assert_eq!(conflicts(&store, &batch(vec![dead])).await, [0], "it ended once");
}

pub(super) async fn a_dead_letter_replaces_the_one_with_its_id(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    // Its message was delivered again before it could be acknowledged, or was sent again with other content.
    for (id, body) in [("x", "{"), ("y", "{"), ("x", "{"), ("x", "[")] {
        store.commit(&batch(vec![Plan { dead_letters: vec![letter(id, body)], ..Plan::default() }])).await.unwrap();
    }
    assert_eq!(store.dead_letters(None, 9).await.unwrap().items, [letter("x", "["), letter("y", "{")]);
    assert_eq!(marker(&store, "bms:x").await, None);
}

pub(super) async fn records_a_plan_relied_on_are_checked(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    store.commit(&batch(vec![plan(device(1, "bms:1", "s1")), plan(device(2, "bms:2", "s2"))])).await.unwrap();
    let relying = |n: u64, on: u64, revision: u64| Plan { checks: vec![(id(on), revision)], ..plan(write(record(n, 1), None)) };
    let revision = revision(&store, 1).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![relying(3, 1, revision + 1)])).await, [0]);
    assert_eq!(conflicts(&store, &batch(vec![plan(device(4, "bms:4", "s4")), relying(3, 9, 1)])).await, [1], "it is not there");
    assert_eq!(self::revision(&store, 3).await, None);
    // A plan of the same batch may move the record on.
    let moves = plan(write(record(1, 2), Some(revision)));
    store.commit(&batch(vec![moves, relying(3, 1, revision)])).await.unwrap();
    assert_eq!(conflicts(&store, &batch(vec![relying(5, 1, revision)])).await, [0]);
}

pub(super) async fn facts_add_up(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let know = |facts: SystemFacts| Batch { facts: vec![facts], ..Batch::default() };
    let blank = SystemFacts::new(system("bms"));
    let device = SystemFacts { types: [of_type("device")].into(), receipts_seen: true, ..blank.clone() };
    let sensor = SystemFacts { types: [of_type("sensor")].into(), base_seen: true, ..blank.clone() };
    for facts in [device, sensor, SystemFacts::new(system("abc")), blank] {
        store.commit(&know(facts)).await.unwrap();
    }
    let types = [of_type("device"), of_type("sensor")].into();
    let all = SystemFacts { system: system("bms"), types, receipts_seen: true, base_seen: true };
    let mut found = store.facts().await.unwrap();
    found.sort_by(|a, b| a.system.cmp(&b.system));
    assert_eq!(found, [SystemFacts::new(system("abc")), all]);
}

pub(super) async fn counters_count(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let epoch = store.epoch().await.unwrap();
    assert!(epoch > 0);
    assert_eq!((store.count_up("run").await.unwrap(), store.count_up("run").await.unwrap()), (1, 2));
    assert_eq!(store.count_up("arrival").await.unwrap(), 1);
    let store = kit.reopen(store).await;
    assert_eq!(store.count_up("run").await.unwrap(), 3);
    store.forget_counts(&["run".to_owned(), "never".to_owned()]).await.unwrap();
    assert_eq!((store.count_up("run").await.unwrap(), store.count_up("arrival").await.unwrap()), (1, 2));
    assert_eq!(store.epoch().await.unwrap(), epoch);
}

pub(super) async fn what_was_committed_survives_a_restart(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let written = Plan {
        decisions: vec![row(decision("bms:u1", Some(1), Accepted, 1)), row(decision("bms:u2", Some(1), Parked, 1))],
        waiting: vec![waiting("bms:u2", 1, &["bms:9"])],
        dead_letters: vec![letter("x", "{")],
        ..plan(device(1, "bms:1", "s1"))
    };
    let facts = vec![SystemFacts::new(system("bms"))];
    store.commit(&Batch { facts, ..batch(vec![written]) }).await.unwrap();
    let store = kit.reopen(store).await;
    assert_eq!(*store.records(&[id(1)]).await.unwrap()[0].record, record(1, 1));
    assert_eq!((owner_of_link(&store, "bms:1").await, owner_of_claim(&store, "s1").await), (Some(id(1)), Some(id(1))));
    assert_eq!((marker(&store, "bms:u1").await, marker(&store, "bms:u2").await), (Some((42, false)), Some((42, true))));
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap(), Some(decision("bms:u1", Some(1), Accepted, 1)));
    assert_eq!(store.list_waiting(None, 9).await.unwrap(), [waiting("bms:u2", 1, &["bms:9"])]);
    assert_eq!(store.dead_letters(None, 9).await.unwrap().items, [letter("x", "{")]);
    assert_eq!(store.facts().await.unwrap().len(), 1);
    assert_eq!(conflicts(&store, &batch(vec![plan(device(2, "bms:1", "s2"))])).await, [0]);
    // What comes now is newer than what was there.
    store.commit(&batch(vec![decide(vec![row(decision("bms:u3", Some(1), Accepted, 2))])])).await.unwrap();
    let rows = store.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items;
    assert_eq!(rows.iter().map(|row| row.update.to_string()).collect::<Vec<_>>(), ["bms:u3", "bms:u2", "bms:u1"]);
}

pub(super) async fn two_stores_see_each_other(kit: &dyn StoreKit) {
    let one = kit.fresh().await;
    let Some(two) = kit.second().await else { return };
    one.commit(&batch(vec![plan(device(1, "bms:1", "s1"))])).await.unwrap();
    assert_eq!(owner_of_link(&two, "bms:1").await, Some(id(1)));
    let expected = revision(&two, 1).await;
    two.commit(&batch(vec![plan(write(record(1, 2), expected))])).await.unwrap();
    assert_eq!(conflicts(&one, &batch(vec![plan(write(record(1, 3), expected))])).await, [0]);
    // Both meet a new thing at once and end with one record.
    let (first, second) = (batch(vec![plan(device(2, "bms:2", "s2"))]), batch(vec![plan(device(3, "bms:2", "s2"))]));
    let (a, b) = tokio::join!(one.commit(&first), two.commit(&second));
    let lost = if a.is_ok() { b } else { a };
    assert!(matches!(lost.unwrap_err().kind, PortErrorKind::Conflict(_)));
}

pub(super) async fn the_epoch_only_grows(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    assert_eq!(store.epoch().await.unwrap(), 1);
    assert_eq!(store.raise_epoch().await.unwrap(), 2);
    assert_eq!(store.epoch().await.unwrap(), 2);
    let store = kit.reopen(store).await;
    assert_eq!(store.raise_epoch().await.unwrap(), 3);
    assert_eq!(store.epoch().await.unwrap(), 3);
}
