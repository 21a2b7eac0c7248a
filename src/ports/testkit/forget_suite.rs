//! Decision rows that are old enough to go, rows that are not kept at all, and what makes redeliveries of theirs harmless.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::decision::DecisionKind::{self, Accepted, Deferred, Dropped, Echo, Unchanged};
use crate::domain::decision::{Decision, Logging};
use crate::ports::store::{Batch, DeadLetter, DecisionFilter, DecisionWrite, Expired, LetterEnd, Lookup, Plan, SettledLetter, Store};

type DynStore = Arc<dyn Store>;

async fn decide(store: &DynStore, rows: Vec<DecisionWrite>) {
    store.commit(&batch(vec![Plan { decisions: rows, ..Plan::default() }])).await.unwrap();
}

/// Rows `bms:u1`, `bms:u2` … about record 1, a second apart.
async fn history(store: &DynStore, kinds: &[DecisionKind]) {
    for (n, kind) in kinds.iter().enumerate() {
        decide(store, vec![row(decision(&format!("bms:u{}", n + 1), Some(1), *kind, n as u64 + 1))]).await;
    }
}

/// Forgets as long as there is something to forget, a row at a time.
async fn forget(store: &DynStore, expired: Expired) {
    while store.forget(&expired, 1).await.unwrap() {}
}

fn all_before(seconds: u64) -> Expired {
    let before = Some(at(seconds));
    Expired { unchanged: before, echo: before, others: before, markers: None }
}

async fn listed(store: &DynStore, filter: DecisionFilter) -> Vec<String> {
    let rows = store.decisions(&filter, None, 99).await.unwrap().items;
    rows.iter().rev().map(|row| row.update.id.as_str().to_owned()).collect()
}

/// Every row by the list, by the record's history, and one by one.
async fn rows(store: &DynStore) -> Vec<String> {
    let all = listed(store, DecisionFilter::default()).await;
    assert_eq!(listed(store, DecisionFilter { record: Some(id(1)), ..DecisionFilter::default() }).await, all, "the record's history");
    for n in 1..=6 {
        let known = store.decision(&update(&format!("bms:u{n}"))).await.unwrap().is_some();
        assert_eq!(known, all.contains(&format!("u{n}")), "u{n}");
    }
    all
}

async fn is_known(store: &DynStore, text: &str) -> bool {
    let lookup = Lookup { updates: vec![update(text)], ..Lookup::default() };
    let found = store.look_up(&lookup).await.unwrap();
    found.markers.get(&update(text)).is_some_and(|marker| marker.content_hash == 42 && !marker.of_letter)
}

pub(super) async fn old_rows_go_and_their_markers_stay(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    history(&store, &[Accepted, Dropped, Accepted, Accepted]).await;
    forget(&store, all_before(3)).await;
    assert_eq!(rows(&store).await, ["u3", "u4"]);
    assert!(is_known(&store, "bms:u1").await && is_known(&store, "bms:u2").await);
    let again = batch(vec![Plan { decisions: vec![row(decision("bms:u1", None, Accepted, 9))], ..Plan::default() }]);
    assert!(store.commit(&again).await.unwrap_err().conflicting().is_some(), "it was decided");
    let store = kit.reopen(store).await;
    forget(&store, all_before(4)).await;
    assert_eq!(rows(&store).await, ["u4"]);
    assert!(is_known(&store, "bms:u3").await);
}

pub(super) async fn each_kind_has_its_own_time(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    history(&store, &[Accepted, Unchanged, Echo, Dropped, Unchanged, Echo]).await;
    forget(&store, Expired { unchanged: Some(at(4)), ..Expired::default() }).await;
    assert_eq!(rows(&store).await, ["u1", "u3", "u4", "u5", "u6"]);
    forget(&store, Expired { echo: Some(at(99)), ..Expired::default() }).await;
    assert_eq!(rows(&store).await, ["u1", "u4", "u5"], "older rows are still found behind those that are gone");
    forget(&store, Expired { others: Some(at(99)), ..Expired::default() }).await;
    assert_eq!(rows(&store).await, ["u5"]);
    forget(&store, Expired::default()).await;
    assert_eq!(rows(&store).await, ["u5"]);
}

pub(super) async fn what_says_why_something_was_not_applied_is_kept_as_what_decided_something(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for (n, kind) in [Unchanged, Echo, Unchanged].into_iter().enumerate() {
        let mut says_why = decision(&format!("bms:u{}", n + 1), Some(1), kind, n as u64 + 1);
        says_why.not_applied = if n < 2 { vec!["site name".into(), "room".into()] } else { Vec::new() };
        decide(&store, vec![row(says_why.clone())]).await;
        let read = store.decision(&says_why.update).await.unwrap();
        assert_eq!(read, Some(says_why));
    }
    let store = kit.reopen(store).await;
    forget(&store, Expired { unchanged: Some(at(99)), echo: Some(at(99)), ..Expired::default() }).await;
    assert_eq!(rows(&store).await, ["u1", "u2"]);
    for (kind, update) in [(Unchanged, "u1"), (Echo, "u2")] {
        let filter = DecisionFilter { decision: Some(kind), ..DecisionFilter::default() };
        assert_eq!(listed(&store, filter).await, [update], "still listed as what it is");
    }
    forget(&store, Expired { others: Some(at(99)), ..Expired::default() }).await;
    assert_eq!(rows(&store).await, Vec::<String>::new());
}

pub(super) async fn what_waits_is_never_forgotten(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    history(&store, &[Accepted, Deferred, Accepted]).await;
    forget(&store, all_before(99)).await;
    assert_eq!(listed(&store, DecisionFilter::default()).await, ["u2"]);
    decide(&store, vec![replacing(decision("bms:u2", Some(1), Accepted, 5))]).await;
    assert_eq!(rows(&store).await, ["u2"]);
}

pub(super) async fn markers_go_after_their_rows(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    history(&store, &[Accepted, Accepted, Accepted]).await;
    let marker = DeadLetter { marks: Some((update("bms:dead"), 7)), ..letter("bms:dead", "body") };
    store.commit(&batch(vec![Plan { dead_letters: vec![marker], ..Plan::default() }])).await.unwrap();
    forget(&store, Expired { markers: Some(at(2)), ..all_before(3) }).await;
    assert!(!is_known(&store, "bms:u1").await, "as if it had never come");
    assert!(is_known(&store, "bms:u2").await && is_known(&store, "bms:u3").await);
    let store = kit.reopen(store).await;
    forget(&store, Expired { markers: Some(at(99)), ..all_before(99) }).await;
    assert!(!is_known(&store, "bms:u2").await && !is_known(&store, "bms:u3").await);
    decide(&store, vec![row(decision("bms:u1", Some(1), Accepted, 100))]).await;
    assert_eq!(rows(&store).await, ["u1"]);
    let lookup = Lookup { updates: vec![update("bms:dead")], ..Lookup::default() };
    let dead = store.look_up(&lookup).await.unwrap().markers[&update("bms:dead")];
    assert!(dead.of_letter, "that of a dead letter stays as long as the letter may");
}

pub(super) async fn rows_may_not_be_kept_at_all(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let decisions = vec![
        row(decision("bms:u1", Some(1), Accepted, 1)),
        row(Decision { version_before: 1, ..decision("bms:u2", Some(1), Unchanged, 2) }),
        row(decision("bms:u3", None, Deferred, 3)),
    ];
    let plan = Plan { decisions, ..plan(write(record(1, 1), None)) };
    store.commit(&Batch { logging: Logging::Changes, ..batch(vec![plan]) }).await.unwrap();
    assert_eq!(listed(&store, DecisionFilter::default()).await, ["u1", "u3"]);
    assert!(is_known(&store, "bms:u2").await);
    let plan = Plan { decisions: vec![replacing(decision("bms:u3", Some(1), Accepted, 4))], ..Plan::default() };
    store.commit(&Batch { logging: Logging::None, ..batch(vec![plan]) }).await.unwrap();
    assert_eq!(rows(&store).await, ["u1"]);
    assert!(is_known(&store, "bms:u3").await);
    let again = batch(vec![Plan { decisions: vec![row(decision("bms:u2", None, Accepted, 9))], ..Plan::default() }]);
    assert!(store.commit(&again).await.unwrap_err().conflicting().is_some());
    forget(&store, Expired { markers: Some(at(99)), ..all_before(99) }).await;
    assert!(!is_known(&store, "bms:u2").await && !is_known(&store, "bms:u3").await);
}

pub(super) async fn an_old_dead_letter_never_frees_a_forgotten_update(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    // Bytes nobody could read, and later a readable message with the same id.
    let unreadable = letter("bms:u1", "{");
    store.commit(&batch(vec![Plan { dead_letters: vec![unreadable.clone()], ..Plan::default() }])).await.unwrap();
    history(&store, &[Accepted]).await;
    forget(&store, all_before(99)).await;
    let end = LetterEnd::Requeued(Some(update("bms:u1")));
    let requeued = Plan { settled: vec![SettledLetter { letter: unreadable, end }], ..Plan::default() };
    store.commit(&batch(vec![requeued])).await.unwrap();
    assert!(is_known(&store, "bms:u1").await);
}

pub(super) async fn a_row_is_written_again_in_its_place(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    history(&store, &[Accepted, Dropped, Accepted]).await;
    let said = |row: Decision| Decision { reason: "said otherwise".to_owned(), accepted_snapshot: None, proposed_snapshot: None, ..row };
    let mut again = Vec::new();
    for n in [1, 2] {
        again.push(said(store.decision(&update(&format!("bms:u{n}"))).await.unwrap().unwrap()));
    }
    again.push(said(decision("bms:never", Some(1), Accepted, 9)));
    store.rewrite(&again).await.unwrap();
    let store = kit.reopen(store).await;
    assert_eq!(rows(&store).await, ["u1", "u2", "u3"]);
    for row in &again[..2] {
        assert_eq!(store.decision(&row.update).await.unwrap().as_ref(), Some(row));
    }
    assert_ne!(store.decision(&update("bms:u3")).await.unwrap().unwrap().reason, "said otherwise");
    assert!(store.decision(&update("bms:never")).await.unwrap().is_none());
    assert!(is_known(&store, "bms:u1").await, "it can still not be decided twice");
    // One whose row is gone stays gone.
    forget(&store, all_before(2)).await;
    store.rewrite(&again).await.unwrap();
    assert_eq!(rows(&store).await, ["u2", "u3"]);
}
