//! Dead letters somebody has dealt with: one decision row or one dead letter, never both, and never neither.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::decision::DecisionKind::{Accepted, Dropped, Parked};
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, DecisionFilter, DecisionWrite, LetterEnd, Lookup, Plan, SettledLetter, Store};

type DynStore = Arc<dyn Store>;

fn marked(text: &str) -> DeadLetter {
    DeadLetter { marks: Some((update(text), 7)), ..letter(text, "body") }
}

/// The letter as a store gives it out.
fn read(letter: &DeadLetter) -> DeadLetter {
    DeadLetter { marks: None, ..letter.clone() }
}

async fn keep(store: &DynStore, dead_letters: Vec<DeadLetter>) {
    store.commit(&batch(vec![Plan { dead_letters, ..Plan::default() }])).await.unwrap();
}

fn settles(letter: &DeadLetter, end: LetterEnd) -> Plan {
    Plan { settled: vec![SettledLetter { letter: read(letter), end }], ..Plan::default() }
}

fn requeues(letter: &DeadLetter) -> Plan {
    settles(letter, LetterEnd::Requeued(Some(update(&letter.id))))
}

fn discards(letter: &DeadLetter) -> Plan {
    settles(letter, LetterEnd::Discarded(Some((update(&letter.id), 7))))
}

fn decides(rows: Vec<DecisionWrite>) -> Plan {
    Plan { decisions: rows, ..Plan::default() }
}

async fn conflicts(store: &DynStore, plans: Vec<Plan>) -> Vec<usize> {
    let error: PortError = store.commit(&batch(plans)).await.unwrap_err();
    error.conflicting().unwrap().to_vec()
}

async fn marker(store: &DynStore, text: &str) -> Option<(u64, bool)> {
    let lookup = Lookup { updates: vec![update(text)], ..Lookup::default() };
    let found = store.look_up(&lookup).await.unwrap();
    found.markers.get(&update(text)).map(|marker| (marker.content_hash, marker.waiting))
}

async fn letters(store: &DynStore) -> Vec<String> {
    store.dead_letters(None, 9).await.unwrap().items.into_iter().map(|letter| letter.id).collect()
}

pub(super) async fn a_dead_letter_is_found_by_its_id(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![marked("bms:u1"), letter("x", "{")]).await;
    assert_eq!(store.dead_letter("bms:u1").await.unwrap(), Some(read(&marked("bms:u1"))));
    assert_eq!(store.dead_letter("x").await.unwrap(), Some(letter("x", "{")));
    assert_eq!(store.dead_letter("y").await.unwrap(), None);
}

/// What no limit lets through must still be kept whole, however large it is.
pub(super) async fn a_large_dead_letter_is_kept_whole(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let large = letter("bms:large", &"€".repeat(18 << 20));
    keep(&store, vec![large.clone(), letter("small", "{")]).await;
    assert!(store.dead_letter("bms:large").await.unwrap() == Some(large.clone()), "it is as it was");
    let page = store.dead_letters(None, 9).await.unwrap();
    assert!(page.items == [large.clone()], "in lists, too, where it is a page of its own");
    assert_eq!(store.dead_letters(page.next.as_ref(), 9).await.unwrap().items, [letter("small", "{")]);
    let other = letter("bms:large", &"$".repeat(54 << 20));
    assert_eq!(conflicts(&store, vec![requeues(&other)]).await, [0], "it is not this one");
    store.commit(&batch(vec![requeues(&large)])).await.unwrap();
    assert_eq!(letters(&store).await, ["small"]);
}

pub(super) async fn a_requeued_letter_gives_way_to_its_decision(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![marked("bms:u1"), letter("bms:u2", "body")]).await;
    assert_eq!(marker(&store, "bms:u1").await, Some((7, false)));
    // The row may stand in a plan before the one that settles its letter.
    let rows = vec![row(decision("bms:u1", None, Accepted, 1)), row(decision("bms:u2", None, Parked, 1))];
    let plans = vec![decides(rows), requeues(&marked("bms:u1")), requeues(&letter("bms:u2", "body"))];
    store.commit(&batch(plans)).await.unwrap();
    assert_eq!((marker(&store, "bms:u1").await, marker(&store, "bms:u2").await), (Some((42, false)), Some((42, true))));
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap().map(|row| row.decision), Some(Accepted));
    assert_eq!(letters(&store).await, Vec::<String>::new(), "one decision or one dead letter, never both");
    assert_eq!(conflicts(&store, vec![decides(vec![row(decision("bms:u1", None, Accepted, 2))])]).await, [0]);
}

pub(super) async fn a_requeued_letter_can_die_again(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![marked("bms:u1"), letter("bytes:1", "{")]).await;
    let again = DeadLetter { marks: Some((update("bms:u1"), 8)), ..letter("bms:u1", "edited") };
    let plan = Plan { dead_letters: vec![again.clone()], ..requeues(&marked("bms:u1")) };
    store.commit(&batch(vec![plan])).await.unwrap();
    assert_eq!(store.dead_letter("bms:u1").await.unwrap(), Some(read(&again)));
    assert_eq!(marker(&store, "bms:u1").await, Some((8, false)));
    // What was never readable gets the id its message has now.
    let named = Plan { dead_letters: vec![letter("bms:u3", "edited")], ..settles(&letter("bytes:1", "{"), LetterEnd::Requeued(None)) };
    store.commit(&batch(vec![named])).await.unwrap();
    let mut found = letters(&store).await;
    found.sort();
    assert_eq!(found, ["bms:u1", "bms:u3"]);
}

pub(super) async fn a_requeued_letter_never_undoes_a_row(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    // A message nobody could read, and later a readable one with the same id.
    keep(&store, vec![letter("bms:u1", "{")]).await;
    store.commit(&batch(vec![decides(vec![row(decision("bms:u1", None, Dropped, 1))])])).await.unwrap();
    let again = Plan { decisions: vec![row(decision("bms:u1", None, Accepted, 2))], ..requeues(&letter("bms:u1", "{")) };
    assert_eq!(conflicts(&store, vec![again]).await, [0]);
    store.commit(&batch(vec![requeues(&letter("bms:u1", "{"))])).await.unwrap();
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap().map(|row| row.decision), Some(Dropped));
    assert_eq!(marker(&store, "bms:u1").await, Some((42, false)));
}

pub(super) async fn a_discarded_letter_leaves_a_marker(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let marked_before = DeadLetter { marks: Some((update("bms:u2"), 9)), ..letter("bms:u2", "body") };
    keep(&store, vec![letter("bms:u1", "body"), marked_before.clone(), letter("x", "{")]).await;
    let plans = vec![discards(&letter("bms:u1", "body")), discards(&marked_before), settles(&letter("x", "{"), LetterEnd::Discarded(None))];
    store.commit(&batch(plans)).await.unwrap();
    assert_eq!(letters(&store).await, Vec::<String>::new());
    assert_eq!((marker(&store, "bms:u1").await, marker(&store, "bms:u2").await), (Some((7, false)), Some((9, false))));
    let redelivered = decides(vec![row(decision("bms:u1", None, Accepted, 2))]);
    assert_eq!(conflicts(&store, vec![redelivered]).await, [0], "nobody looks at it again");
    assert!(store.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items.is_empty());
}

pub(super) async fn a_discarded_letter_leaves_a_row_alone(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![letter("bms:u1", "{"), letter("bms:u2", "{")]).await;
    store.commit(&batch(vec![decides(vec![row(decision("bms:u1", None, Dropped, 1))])])).await.unwrap();
    store.commit(&batch(vec![discards(&letter("bms:u1", "{"))])).await.unwrap();
    assert_eq!(store.decision(&update("bms:u1")).await.unwrap().map(|row| row.decision), Some(Dropped));
    assert_eq!(marker(&store, "bms:u1").await, Some((42, false)));
    // Decided by one plan and discarded by another of the same batch: not both.
    let both = vec![discards(&letter("bms:u2", "{")), decides(vec![row(decision("bms:u2", None, Accepted, 2))])];
    assert!(!conflicts(&store, both).await.is_empty());
    assert_eq!((letters(&store).await, marker(&store, "bms:u2").await), (vec!["bms:u2".to_owned()], None));
}

pub(super) async fn a_letter_is_settled_once_and_as_it_was_read(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![letter("x", "{"), letter("bms:u1", "body")]).await;
    assert_eq!(conflicts(&store, vec![discards(&letter("bms:gone", "{"))]).await, [0]);
    assert_eq!(conflicts(&store, vec![settles(&letter("x", "["), LetterEnd::Discarded(None))]).await, [0], "it was replaced meanwhile");
    let other = DeadLetter { system: Some("bms".to_owned()), ..letter("x", "{") };
    assert_eq!(conflicts(&store, vec![settles(&other, LetterEnd::Requeued(None))]).await, [0]);
    // Nothing of a batch with a stale letter is written.
    let good = Plan { decisions: vec![row(decision("bms:u1", None, Accepted, 1))], ..requeues(&letter("bms:u1", "body")) };
    assert_eq!(conflicts(&store, vec![good.clone(), settles(&letter("x", "["), LetterEnd::Discarded(None))]).await, [1]);
    assert_eq!(letters(&store).await, ["x", "bms:u1"]);
    store.commit(&batch(vec![good.clone()])).await.unwrap();
    assert_eq!(conflicts(&store, vec![good]).await, [0], "somebody else was faster");
}

pub(super) async fn what_was_settled_survives_a_restart(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![marked("bms:u1"), letter("bms:u2", "body")]).await;
    let requeued = Plan { decisions: vec![row(decision("bms:u1", None, Accepted, 1))], ..requeues(&marked("bms:u1")) };
    store.commit(&batch(vec![requeued, discards(&letter("bms:u2", "body"))])).await.unwrap();
    let store = kit.reopen(store).await;
    assert_eq!(letters(&store).await, Vec::<String>::new());
    assert_eq!((marker(&store, "bms:u1").await, marker(&store, "bms:u2").await), (Some((42, false)), Some((7, false))));
}
