//! Updates that wait.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::store::{Lookup, Plan, RecordWrite, Store};

type DynStore = Arc<dyn Store>;

async fn keep(store: &DynStore, waiting: Vec<Waiting>) {
    store.commit(&batch(vec![Plan { waiting, ..Plan::default() }])).await.unwrap();
}

async fn wake(store: &DynStore, text: &str) {
    store.commit(&batch(vec![Plan { awake: vec![update(text)], ..Plan::default() }])).await.unwrap();
}

async fn link(store: &DynStore, n: u64, key: &str) {
    let write = RecordWrite { links_added: vec![native(key)], ..write(record(n, 1), None) };
    store.commit(&batch(vec![plan(write)])).await.unwrap();
}

fn names(waiting: &[Waiting]) -> Vec<String> {
    waiting.iter().map(|waiting| waiting.update.to_string()).collect()
}

async fn due(store: &DynStore, seconds: u64) -> Vec<String> {
    names(&store.waiting_due(at(seconds), 9).await.unwrap())
}

fn timed(text: &str, arrival: u64, retry_at: Option<u64>) -> Waiting {
    Waiting { waiting_for: WaitingFor::Time, retry_at: retry_at.map(at), ..waiting(text, arrival, &[]) }
}

fn behind(text: &str, arrival: u64, first: &str) -> Waiting {
    let waiting_for = WaitingFor::MissingReference { references: Vec::new(), behind: Some(update(first)) };
    Waiting { waiting_for, ..waiting(text, arrival, &[]) }
}

pub(super) async fn look_ups_find_waiting_updates_in_arrival_order(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let other = Waiting { key: native("bms:8"), ..waiting("bms:c", 1, &["bms:9"]) };
    keep(&store, vec![waiting("bms:a", 3, &["bms:9"]), waiting("bms:b", 2, &["bms:5", "bms:9"]), other.clone()]).await;
    let ask = async |of: &[&str], on: &[&str]| {
        let (waiting_of, waiting_on) = (of.iter().map(|key| native(key)).collect(), on.iter().map(|key| native(key)).collect());
        store.look_up(&Lookup { waiting_of, waiting_on, ..Lookup::default() }).await.unwrap().waiting
    };
    assert_eq!(names(&ask(&["bms:7"], &[]).await), ["bms:b", "bms:a"]);
    assert_eq!(ask(&["bms:8"], &[]).await, [other]);
    assert_eq!(names(&ask(&[], &["bms:5"]).await), ["bms:b"]);
    assert_eq!(names(&ask(&["bms:7", "bms:8"], &["bms:9", "bms:5"]).await), ["bms:c", "bms:b", "bms:a"], "each once");
    assert_eq!(names(&ask(&["bms:6", "oem:7"], &["bms:7"]).await), Vec::<String>::new());
    // Who waits for two records still waits for the one that is known by now.
    link(&store, 5, "bms:5").await;
    assert_eq!(names(&ask(&[], &["bms:5"]).await), ["bms:b"]);
}

pub(super) async fn a_waiting_update_is_replaced_and_taken_away(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![waiting("bms:a", 1, &["bms:9"])]).await;
    let tried = Waiting { attempts: 2, ..waiting("bms:a", 1, &["bms:5"]) };
    keep(&store, vec![tried.clone()]).await;
    assert_eq!(store.list_waiting(None, 9).await.unwrap(), [tried]);
    let ask = Lookup { waiting_on: vec![native("bms:9")], ..Lookup::default() };
    assert!(store.look_up(&ask).await.unwrap().waiting.is_empty());
    wake(&store, "bms:a").await;
    wake(&store, "bms:unknown").await;
    assert!(store.list_waiting(None, 9).await.unwrap().is_empty());
    let ask = Lookup { waiting_of: vec![native("bms:7")], waiting_on: vec![native("bms:5")], ..Lookup::default() };
    assert!(store.look_up(&ask).await.unwrap().waiting.is_empty());
    // Taken away and kept again in one plan: it is kept.
    let plan = Plan { awake: vec![update("bms:a")], waiting: vec![waiting("bms:a", 2, &["bms:9"])], ..Plan::default() };
    store.commit(&batch(vec![plan])).await.unwrap();
    assert_eq!(names(&store.list_waiting(None, 9).await.unwrap()), ["bms:a"]);
}

pub(super) async fn an_update_is_due_when_its_time_comes(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    assert_eq!(store.next_due().await.unwrap(), None);
    keep(&store, vec![timed("bms:a", 3, Some(20)), timed("bms:b", 2, Some(30)), timed("bms:c", 1, None)]).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(20)));
    assert_eq!(due(&store, 19).await, Vec::<String>::new());
    assert_eq!(due(&store, 20).await, ["bms:a"]);
    assert_eq!(due(&store, 30).await, ["bms:b", "bms:a"]);
    assert_eq!(names(&store.waiting_due(at(30), 1).await.unwrap()), ["bms:b"]);
    wake(&store, "bms:a").await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(30)));
}

pub(super) async fn an_update_is_due_when_nothing_is_missing(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    link(&store, 1, "bms:1").await;
    let both = waiting("bms:b", 2, &["bms:1", "bms:3"]);
    keep(&store, vec![waiting("bms:a", 1, &["bms:2"]), both, waiting("bms:c", 3, &["bms:1"])]).await;
    assert_eq!(due(&store, 0).await, ["bms:c"]);
    link(&store, 3, "bms:3").await;
    assert_eq!(due(&store, 0).await, ["bms:b", "bms:c"]);
    // Linked by the very batch that keeps it, and unlinked again.
    let write = RecordWrite { links_added: vec![native("bms:4")], ..write(record(4, 1), None) };
    let now = Plan { waiting: vec![waiting("bms:d", 4, &["bms:4"])], ..Plan::default() };
    store.commit(&batch(vec![now, plan(write)])).await.unwrap();
    assert_eq!(due(&store, 0).await, ["bms:b", "bms:c", "bms:d"]);
    let expected = store.records(&[id(4)]).await.unwrap().first().map(|record| record.revision);
    let gone = RecordWrite { links_removed: vec![native("bms:4")], ..super::sample::write(record(4, 2), expected) };
    store.commit(&batch(vec![plan(gone)])).await.unwrap();
    assert_eq!(due(&store, 0).await, ["bms:b", "bms:c"]);
    let store = kit.reopen(store).await;
    link(&store, 2, "bms:2").await;
    assert_eq!(due(&store, 0).await, ["bms:a", "bms:b", "bms:c"]);
}

pub(super) async fn an_update_queues_behind_another(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![behind("bms:b", 2, "bms:a"), waiting("bms:a", 1, &["bms:9"])]).await;
    assert_eq!(due(&store, 0).await, Vec::<String>::new());
    keep(&store, vec![Waiting { attempts: 2, ..waiting("bms:a", 1, &["bms:9"]) }]).await;
    assert_eq!(due(&store, 0).await, Vec::<String>::new());
    wake(&store, "bms:a").await;
    assert_eq!(due(&store, 0).await, ["bms:b"]);
}

fn in_the_way(text: &str, arrival: u64, waiting_for: WaitingFor) -> Waiting {
    Waiting { waiting_for, ..waiting(text, arrival, &[]) }
}

pub(super) async fn an_update_is_due_when_somebody_makes_way(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let commit = async |store: &DynStore, makes_way: bool, n: u64, more: Plan| {
        let expected = store.records(&[id(n)]).await.unwrap().first().map(|found| found.revision);
        let write = RecordWrite { makes_way, ..write(record(n, expected.unwrap_or(0) + 1), expected) };
        store.commit(&batch(vec![plan(write), more])).await.unwrap();
    };
    commit(&store, false, 1, Plan::default()).await;
    commit(&store, false, 2, Plan::default()).await;
    let collides = |records: &[u64]| WaitingFor::MatchCollision { records: records.iter().map(|n| id(*n)).collect(), keys: Vec::new() };
    let double = WaitingFor::DuplicateInSystem { record: id(2), native_id: "7".to_owned() };
    let kept = vec![in_the_way("bms:a", 1, collides(&[1, 2])), in_the_way("bms:b", 2, collides(&[1])), in_the_way("bms:c", 3, double)];
    keep(&store, kept).await;
    commit(&store, false, 1, Plan::default()).await;
    assert_eq!(due(&store, 0).await, Vec::<String>::new(), "whatever else becomes of it");
    commit(&store, true, 2, Plan::default()).await;
    let store = kit.reopen(store).await;
    assert_eq!(due(&store, 0).await, ["bms:a", "bms:c"]);
    // Looked at again, and kept: it waits for the next time.
    keep(&store, vec![in_the_way("bms:a", 1, collides(&[1, 2]))]).await;
    assert_eq!(due(&store, 0).await, ["bms:c"]);
    wake(&store, "bms:c").await;
    assert_eq!(due(&store, 0).await, Vec::<String>::new());
    // One that is kept by the same batch may have been decided before.
    let now = Plan { waiting: vec![in_the_way("bms:d", 4, collides(&[1]))], ..Plan::default() };
    commit(&store, true, 1, now).await;
    assert_eq!(due(&store, 0).await, ["bms:a", "bms:b", "bms:d"]);
}

pub(super) async fn waiting_updates_are_listed_by_arrival(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    keep(&store, vec![timed("bms:a", 3, None), timed("bms:b", 1, None), timed("bms:c", 2, None)]).await;
    assert_eq!(names(&store.list_waiting(None, 9).await.unwrap()), ["bms:b", "bms:c", "bms:a"]);
    assert_eq!(names(&store.list_waiting(Some(1), 1).await.unwrap()), ["bms:c"]);
    assert_eq!(names(&store.list_waiting(Some(2), 9).await.unwrap()), ["bms:a"]);
    assert!(store.list_waiting(Some(3), 9).await.unwrap().is_empty());
}
