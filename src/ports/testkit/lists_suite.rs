//! Lists and their cursors.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::decision::{Decision, DecisionKind};
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Cursor, DecisionFilter, DecisionWrite, LETTERS_BYTES, Plan, Store};

type DynStore = Arc<dyn Store>;

async fn decide(store: &DynStore, decisions: Vec<Decision>) {
    let plans = decisions.into_iter().map(|decision| Plan { decisions: vec![row(decision)], ..Plan::default() });
    store.commit(&batch(plans.collect())).await.unwrap();
}

/// All update ids a filter finds, page by page.
async fn ids(store: &DynStore, filter: &DecisionFilter, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = store.decisions(filter, after.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit && (page.next.is_none() || page.items.len() == limit));
        found.extend(page.items.iter().map(|row| row.update.id.to_string()));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn some_decisions(store: &DynStore) {
    use DecisionKind::{Accepted, Dropped, Echo, Parked};
    let sensor = Decision { entity_type: of_type("sensor"), ..decision("bms:d", None, Accepted, 4) };
    let stale = Decision { reason: "Not applied: name 'Jon', had not seen rev 7".to_owned(), ..decision("bms:e", Some(1), Echo, 5) };
    decide(store, vec![decision("bms:a", Some(1), Accepted, 1), decision("oem:b", Some(2), Dropped, 2)]).await;
    decide(store, vec![decision("bms:c", Some(1), Parked, 3), sensor]).await;
    decide(store, vec![stale, decision("oem:f", Some(1), Accepted, 6)]).await;
}

pub(super) async fn decisions_come_newest_first(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    assert!(store.decisions(&DecisionFilter::default(), None, 9).await.unwrap().items.is_empty());
    some_decisions(&store).await;
    for limit in 1..8 {
        assert_eq!(ids(&store, &DecisionFilter::default(), limit).await, ["f", "e", "d", "c", "b", "a"]);
    }
    // A row that was replaced is new.
    let again = Plan { decisions: vec![replacing(decision("bms:c", Some(1), DecisionKind::Accepted, 7))], ..Plan::default() };
    store.commit(&batch(vec![again])).await.unwrap();
    assert_eq!(ids(&store, &DecisionFilter::default(), 4).await, ["c", "f", "e", "d", "b", "a"]);
}

pub(super) async fn rows_of_a_batch_are_listed_as_they_were_decided(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let placed =
        |text: &str, record: u64, place: u32| DecisionWrite { place, ..row(decision(text, Some(record), DecisionKind::Accepted, 1)) };
    let plan = |rows: Vec<DecisionWrite>| Plan { decisions: rows, ..Plan::default() };
    let plans = vec![plan(vec![placed("bms:a", 1, 1), placed("bms:c", 1, 5)]), plan(vec![placed("bms:b", 2, 2), placed("bms:d", 2, 7)])];
    store.commit(&batch(plans)).await.unwrap();
    assert_eq!(ids(&store, &DecisionFilter::default(), 9).await, ["d", "c", "b", "a"]);
    let of_record = DecisionFilter { record: Some(id(1)), ..DecisionFilter::default() };
    assert_eq!(ids(&store, &of_record, 9).await, ["c", "a"]);
}

pub(super) async fn decisions_are_filtered(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    some_decisions(&store).await;
    let all = DecisionFilter::default;
    let reason = |text: &str| DecisionFilter { reason: Some(text.to_owned()), ..all() };
    for (filter, expected) in [
        (DecisionFilter { system: Some(system("oem")), ..all() }, &["f", "b"][..]),
        (DecisionFilter { system: Some(system("crm")), ..all() }, &[]),
        (DecisionFilter { entity_type: Some(of_type("sensor")), ..all() }, &["d"]),
        (DecisionFilter { decision: Some(DecisionKind::Accepted), ..all() }, &["f", "d", "a"]),
        (DecisionFilter { decision: Some(DecisionKind::Parked), ..all() }, &["c"]),
        (DecisionFilter { since: Some(at(3)), ..all() }, &["f", "e", "d", "c"]),
        (DecisionFilter { until: Some(at(3)), ..all() }, &["b", "a"]),
        (DecisionFilter { since: Some(at(2)), until: Some(at(5)), ..all() }, &["d", "c", "b"]),
        (reason("jon REV"), &["e"]),
        (reason("jon nobody"), &[]),
        (reason(""), &["f", "e", "d", "c", "b", "a"]),
        (DecisionFilter { record: Some(id(1)), ..all() }, &["f", "e", "c", "a"]),
        (DecisionFilter { record: Some(id(1)), system: Some(system("bms")), until: Some(at(5)), ..all() }, &["c", "a"]),
        (DecisionFilter { record: Some(id(9)), ..all() }, &[]),
    ] {
        for limit in [1, 2, 9] {
            assert_eq!(ids(&store, &filter, limit).await, expected, "{filter:?}");
        }
    }
}

/// More than a store looks through for one page.
const MANY: u64 = 20_500;

pub(super) async fn a_search_finds_what_is_far_back(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for from in (0..MANY).step_by(500) {
        let row = |n: u64| {
            let plain = decision(&format!("bms:u{n}"), Some(1), DecisionKind::Accepted, n);
            if n == 0 { Decision { reason: "needle".to_owned(), entity_type: of_type("sensor"), ..plain } } else { plain }
        };
        decide(&store, (from..from + 500).map(row).collect()).await;
    }
    let all = DecisionFilter::default;
    let words = DecisionFilter { reason: Some("Needle".to_owned()), ..all() };
    for filter in [
        DecisionFilter { record: Some(id(1)), ..words.clone() },
        DecisionFilter { system: Some(system("bms")), ..words.clone() },
        words,
        DecisionFilter { entity_type: Some(of_type("sensor")), ..all() },
    ] {
        let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = store.decisions(&filter, after.as_ref(), 9).await.unwrap();
            found.extend(page.items.iter().map(|row| row.update.id.to_string()));
            pages += 1;
            assert!(pages < 100, "it goes on and on: {filter:?}");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, ["u0"], "{filter:?}");
    }
}

pub(super) async fn the_history_of_a_record_is_whole(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    // Decisions come with the record, without it, before it, and several in one plan.
    decide(&store, vec![decision("bms:a", Some(1), DecisionKind::Parked, 1)]).await;
    let two = vec![row(decision("bms:b", Some(1), DecisionKind::Accepted, 2)), row(decision("bms:c", Some(1), DecisionKind::Echo, 3))];
    store.commit(&batch(vec![Plan { decisions: two, ..plan(write(record(1, 1), None)) }])).await.unwrap();
    decide(&store, vec![decision("bms:x", Some(2), DecisionKind::Accepted, 4), decision("bms:d", Some(1), DecisionKind::Echo, 5)]).await;
    let filter = DecisionFilter { record: Some(id(1)), ..DecisionFilter::default() };
    assert_eq!(ids(&store, &filter, 2).await, ["d", "c", "b", "a"]);
    let again = replacing(decision("bms:a", Some(1), DecisionKind::Accepted, 6));
    let expected = store.records(&[id(1)]).await.unwrap().first().map(|record| record.revision);
    let plan = Plan { decisions: vec![again], ..plan(write(record(1, 2), expected)) };
    store.commit(&batch(vec![plan])).await.unwrap();
    for limit in 1..6 {
        assert_eq!(ids(&store, &filter, limit).await, ["a", "d", "c", "b"]);
    }
    let store = kit.reopen(store).await;
    decide(&store, vec![decision("bms:e", Some(1), DecisionKind::Echo, 7)]).await;
    assert_eq!(ids(&store, &filter, 9).await, ["e", "a", "d", "c", "b"]);
}

pub(super) async fn cursors_are_stable_under_inserts(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    some_decisions(&store).await;
    for filter in [DecisionFilter::default(), DecisionFilter { record: Some(id(1)), ..DecisionFilter::default() }] {
        let first = store.decisions(&filter, None, 2).await.unwrap();
        decide(&store, vec![decision(&format!("bms:new{}", filter.record.is_some()), Some(1), DecisionKind::Accepted, 9)]).await;
        let second = store.decisions(&filter, first.next.as_ref(), 2).await.unwrap();
        let third = store.decisions(&filter, second.next.as_ref(), 2).await.unwrap();
        let oldest = first.items.last().map(|row| row.timestamp).unwrap();
        assert!(second.items.iter().chain(&third.items).all(|row| row.timestamp < oldest), "neither twice nor missed");
        assert!(second.items[0].timestamp > second.items[1].timestamp);
    }
}

pub(super) async fn a_foreign_cursor_is_refused(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let cursor = Cursor("not one of ours".to_owned());
    let refused = store.decisions(&DecisionFilter::default(), Some(&cursor), 9).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Invalid);
    assert_eq!(store.dead_letters(Some(&cursor), 9).await.unwrap_err().kind, PortErrorKind::Invalid);
}

pub(super) async fn records_are_listed_by_id(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let mut plans: Vec<Plan> = [3, 1, 4, 2].map(|n| plan(write(record(n, 1), None))).into();
    let sensor = plans[2].record.as_mut().unwrap();
    Arc::make_mut(&mut sensor.record).entity_type = of_type("sensor");
    store.commit(&batch(plans)).await.unwrap();
    // A record somebody only decided about is none yet.
    decide(&store, vec![decision("bms:a", Some(5), DecisionKind::Parked, 1)]).await;
    let list = async |entity_type: Option<&str>, after: Option<u64>, limit| {
        let entity_type = entity_type.map(of_type);
        let found = store.list_records(entity_type.as_ref(), after.map(id), limit).await.unwrap();
        found.iter().map(|found| (1..9).find(|n| id(*n) == found.record.id).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 9).await, [1, 2, 3, 4]);
    assert_eq!(list(None, Some(1), 2).await, [2, 3]);
    assert_eq!(list(Some("device"), None, 9).await, [1, 2, 3]);
    assert_eq!(list(Some("device"), Some(2), 9).await, [3]);
    assert_eq!(list(Some("sensor"), Some(2), 9).await, [4]);
    assert_eq!(list(Some("person"), None, 9).await, Vec::<u64>::new());
    assert!(store.records(&[id(5)]).await.unwrap().is_empty());
    assert_eq!(store.count_records().await.unwrap(), 4);
}

pub(super) async fn a_page_of_large_dead_letters_ends_early(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let half = "x".repeat(LETTERS_BYTES / 2);
    for (id, body) in [("a", &half), ("b", &half), ("c", &"!".repeat(LETTERS_BYTES + 1)), ("d", &"{".to_owned()), ("e", &"{".to_owned())] {
        store.commit(&batch(vec![Plan { dead_letters: vec![letter(id, body)], ..Plan::default() }])).await.unwrap();
    }
    let (mut pages, mut after): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.dead_letters(after.as_ref(), 9).await.unwrap();
        pages.push(page.items.into_iter().map(|letter| letter.id).collect());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["ab", "c", "de"]);
}

pub(super) async fn dead_letters_come_oldest_first(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    for n in 0..3 {
        let dead_letters = vec![letter(&format!("x{n}"), "{"), letter(&format!("y{n}"), "{")];
        store.commit(&batch(vec![Plan { dead_letters, ..Plan::default() }])).await.unwrap();
    }
    let mut found = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = store.dead_letters(after.as_ref(), 2).await.unwrap();
        found.extend(page.items.into_iter().map(|letter| letter.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["x0", "y0", "x1", "y1", "x2", "y2"]);
}
