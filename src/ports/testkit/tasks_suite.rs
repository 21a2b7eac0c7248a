//! Who refers to whom, and work that is still to be done.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::decision::DecisionKind;
use crate::domain::delete::Tombstone;
use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;
use crate::ports::store::{DecisionFilter, Lookup, Plan, RecordWrite, Store};
use crate::ports::task::{Task, TaskChange};

type DynStore = Arc<dyn Store>;

fn ids(numbers: &[u64]) -> BTreeSet<CanonicalId> {
    numbers.iter().map(|n| id(*n)).collect()
}

/// Writes record `n`, which referred to some and refers to others from now on.
async fn refer(store: &DynStore, n: u64, before: &[u64], now: &[u64]) {
    let expected = store.records(&[id(n)]).await.unwrap().first().map(|stored| stored.revision);
    let version = expected.unwrap_or(0) + 1;
    let write = RecordWrite { referred_to: ids(before), refers_to: ids(now), ..write(record(n, version), expected) };
    store.commit(&batch(vec![plan(write)])).await.unwrap();
}

async fn children(store: &DynStore, parents: &[u64], after: Option<u64>, limit: usize) -> BTreeSet<CanonicalId> {
    let parents: Vec<CanonicalId> = parents.iter().map(|n| id(*n)).collect();
    let found = store.children(&parents, &of_type("device"), after.map(id), limit).await.unwrap();
    assert!(found.is_sorted(), "by id");
    found.into_iter().collect()
}

fn orphans(parent: u64, version: u64) -> Task {
    Task::Orphans { parent: id(parent), version, children: of_type("sensor") }
}

fn reunited(parent: u64, native_id: &str) -> Task {
    Task::Reunited {
        parent: id(parent),
        system: system("bms"),
        native_id: native(native_id).native_id,
        count: 1,
        children: of_type("sensor"),
    }
}

async fn change(store: &DynStore, tasks: Vec<TaskChange>) {
    store.commit(&batch(vec![Plan { tasks, ..Plan::default() }])).await.unwrap();
}

pub(super) async fn children_are_found_by_their_parent(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    refer(&store, 5, &[], &[1]).await;
    refer(&store, 6, &[], &[1, 2]).await;
    refer(&store, 7, &[], &[2]).await;
    refer(&store, 8, &[], &[]).await;
    assert_eq!(children(&store, &[1], None, 9).await, ids(&[5, 6]));
    assert_eq!(children(&store, &[1, 2], None, 9).await, ids(&[5, 6, 7]), "each once");
    assert_eq!(children(&store, &[3], None, 9).await, ids(&[]));
    let others = store.children(&[id(1)], &of_type("sensor"), None, 9).await.unwrap();
    assert!(others.is_empty(), "only of the type that is asked for");
}

pub(super) async fn children_come_in_pages(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for n in 5..10 {
        refer(&store, n, &[], &[1 + n % 2]).await;
    }
    assert_eq!(children(&store, &[1, 2], None, 2).await, ids(&[5, 6]));
    assert_eq!(children(&store, &[1, 2], Some(6), 2).await, ids(&[7, 8]));
    assert_eq!(children(&store, &[1, 2], Some(8), 2).await, ids(&[9]));
    assert_eq!(children(&store, &[1, 2], Some(9), 2).await, ids(&[]));
}

pub(super) async fn a_child_follows_its_reference(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    refer(&store, 5, &[], &[1, 2]).await;
    refer(&store, 5, &[1, 2], &[2, 3]).await;
    assert_eq!(children(&store, &[1], None, 9).await, ids(&[]));
    assert_eq!(children(&store, &[2], None, 9).await, ids(&[5]));
    let store = kit.reopen(store).await;
    assert_eq!(children(&store, &[3], None, 9).await, ids(&[5]));
    refer(&store, 5, &[2, 3], &[]).await;
    assert_eq!(children(&store, &[1, 2, 3], None, 9).await, ids(&[]));
}

pub(super) async fn a_task_is_kept_until_it_is_done(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    assert!(store.tasks(9).await.unwrap().is_empty());
    let (one, two) = (orphans(1, 2), orphans(1, 4));
    change(&store, vec![TaskChange::Begin(one.clone()), TaskChange::Begin(two.clone())]).await;
    change(&store, vec![TaskChange::Begin(one.clone())]).await;
    let store = kit.reopen(store).await;
    assert_eq!(store.tasks(9).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.tasks(1).await.unwrap(), std::slice::from_ref(&one));
    change(&store, vec![TaskChange::End(one.clone())]).await;
    change(&store, vec![TaskChange::End(one)]).await;
    assert_eq!(store.tasks(9).await.unwrap(), [two]);
    let (three, four) = (reunited(2, "bms:1"), reunited(2, "bms:2"));
    change(&store, vec![TaskChange::Begin(three.clone()), TaskChange::Begin(four.clone())]).await;
    change(&store, vec![TaskChange::End(three)]).await;
    assert!(kit.reopen(store).await.tasks(9).await.unwrap().contains(&four));
}

pub(super) async fn a_task_begins_with_its_batch_or_not_at_all(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let stale = plan(write(record(1, 1), Some(7)));
    let begins = Plan { tasks: vec![TaskChange::Begin(orphans(1, 2))], ..Plan::default() };
    store.commit(&batch(vec![begins, stale])).await.unwrap_err();
    assert!(store.tasks(9).await.unwrap().is_empty());
}

/// A record with a link, a key and a history, deleted after so many seconds.
async fn bury(store: &DynStore, n: u64, seconds: u64) {
    let mut gone = record(n, 2);
    gone.tombstone =
        Some(Box::new(Tombstone { at: at(seconds), system: system("bms"), update: update("bms:gone"), version: 2, erased: false }));
    let (links_added, claims_added) = (vec![native(&format!("bms:{n}"))], vec![claim(&format!("s{n}"))]);
    let decisions = vec![row(decision(&format!("bms:u{n}"), Some(n), DecisionKind::Accepted, seconds))];
    let write = RecordWrite { links_added, claims_added, ..write(gone, None) };
    store.commit(&batch(vec![Plan { decisions, ..plan(write) }])).await.unwrap();
}

async fn deleted(store: &DynStore, before: u64, after: Option<(Timestamp, CanonicalId)>, limit: usize) -> Vec<(Timestamp, CanonicalId)> {
    store.deleted(at(before), after, limit).await.unwrap()
}

pub(super) async fn deleted_records_are_found_by_their_age(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for (n, seconds) in [(1, 9), (2, 5), (3, 5), (4, 7)] {
        bury(&store, n, seconds).await;
    }
    store.commit(&batch(vec![plan(write(record(5, 1), None))])).await.unwrap();
    let ids = |found: &[(Timestamp, CanonicalId)]| found.iter().map(|(_, id)| *id).collect::<Vec<_>>();
    let first = deleted(&store, 8, None, 2).await;
    assert_eq!(ids(&first), [id(2), id(3)]);
    let rest = deleted(&store, 8, first.last().copied(), 2).await;
    assert_eq!(ids(&rest), [id(4)]);
    assert_eq!(ids(&deleted(&store, 99, rest.last().copied(), 9).await), [id(1)]);
    assert_eq!(ids(&deleted(&store, 5, None, 9).await), []);
    // One that lives again is none of them.
    let lives = RecordWrite { expected: Some(1), ..write(record(2, 3), None) };
    store.commit(&batch(vec![plan(lives)])).await.unwrap();
    let store = kit.reopen(store).await;
    assert_eq!(ids(&deleted(&store, 8, None, 9).await), [id(3), id(4)]);
}

pub(super) async fn a_deleted_record_goes_with_all_that_led_to_it(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    bury(&store, 1, 5).await;
    let gone = store.records(&[id(1)]).await.unwrap().remove(0).record;
    let goes = |expected| RecordWrite {
        removes: true,
        links_removed: vec![native("bms:1")],
        claims_released: vec![claim("s1")],
        ..write((*gone).clone(), expected)
    };
    let stale = store.commit(&batch(vec![plan(goes(Some(7)))])).await.unwrap_err();
    assert!(stale.conflicting().is_some(), "it was changed meanwhile");
    store.commit(&batch(vec![plan(goes(Some(1)))])).await.unwrap();
    let store = kit.reopen(store).await;
    assert!(store.records(&[id(1)]).await.unwrap().is_empty());
    assert!(store.list_records(None, None, 9).await.unwrap().is_empty());
    assert!(deleted(&store, 99, None, 9).await.is_empty());
    let lookup = Lookup { links: vec![native("bms:1")], claims: vec![typed("s1")], ..Lookup::default() };
    let found = store.look_up(&lookup).await.unwrap();
    assert!(found.links.is_empty() && found.claims.is_empty());
    let filter = DecisionFilter { record: Some(id(1)), ..DecisionFilter::default() };
    assert_eq!(store.decisions(&filter, None, 9).await.unwrap().items.len(), 1, "what was decided about it stays");
    let relies = Plan { checks: vec![(id(1), 1)], ..plan(write(record(2, 1), None)) };
    assert!(store.commit(&batch(vec![relies])).await.unwrap_err().conflicting().is_some(), "nobody can rely on it");
    // A new thing may have its id in that system, and its key.
    let new = RecordWrite { links_added: vec![native("bms:1")], claims_added: vec![claim("s1")], ..write(record(3, 1), None) };
    store.commit(&batch(vec![plan(new)])).await.unwrap();
}
