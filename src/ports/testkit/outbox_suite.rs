//! What each system is owed.

use std::sync::Arc;

use super::StoreKit;
use super::sample::*;
use crate::domain::time::Timestamp;
use crate::ports::store::{OutboxChange, Owed, Plan, Published, RecordWrite, Store};

type DynStore = Arc<dyn Store>;

fn due(rev: u64) -> OutboxChange {
    OutboxChange::Due { system: system("oem"), rev }
}

fn applied(rev: u64) -> OutboxChange {
    OutboxChange::Applied { system: system("oem"), rev }
}

fn failed(rev: u64) -> OutboxChange {
    OutboxChange::Failed { system: system("oem"), rev, retry_at: at(30) }
}

fn rejected(rev: u64) -> OutboxChange {
    OutboxChange::Rejected { system: system("oem"), rev }
}

/// Writes record `n` with these changes.
async fn change(store: &DynStore, n: u64, outbox: Vec<OutboxChange>) {
    let expected = store.records(&[id(n)]).await.unwrap().first().map(|record| record.revision);
    let plan = Plan { record: Some(RecordWrite { outbox, ..write(record(n, 1), expected) }), ..Plan::default() };
    store.commit(&batch(vec![plan])).await.unwrap();
}

/// Notes what was sent for the row as it is stored now.
async fn publish(store: &DynStore, rev: u64, awaits_receipt: bool) {
    let rows = store.owed_of(&[(id(1), system("oem"))]).await.unwrap();
    let tried = rows.first().map_or((0, None), |row| (row.attempts, row.retry_at));
    note(store, rev, tried, awaits_receipt).await;
}

/// Notes what was sent for a row that had failed so often, and was to be sent again then.
async fn note(store: &DynStore, rev: u64, tried: (u32, Option<Timestamp>), awaits_receipt: bool) {
    let (record, system, answer_by) = (id(1), system("oem"), awaits_receipt.then_some(at(9)));
    store.published(&[Published { record, system, rev, nothing: false, tried, awaits_receipt, answer_by }]).await.unwrap();
}

/// The row of record 1: rev, published, delivered, attempts.
async fn row(store: &DynStore) -> Option<(u64, u64, u64, u32)> {
    let rows = store.owed_of(&[(id(1), system("oem")), (id(1), system("crm")), (id(9), system("oem"))]).await.unwrap();
    assert!(rows.len() < 2);
    rows.first().map(|row| (row.rev, row.published, row.delivered, row.attempts))
}

/// Which records are owed, in order.
async fn order(store: &DynStore) -> Vec<u64> {
    let rows = store.owed(0, 99).await.unwrap();
    assert!(rows.is_sorted_by(|(a, _), (b, _)| a < b));
    rows.iter().filter_map(|(_, row)| (1..9).find(|n| id(*n) == row.record)).collect()
}

pub(super) async fn what_is_due_is_owed_in_order(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 2, vec![due(4), OutboxChange::Due { system: system("crm"), rev: 1 }]).await;
    change(&store, 1, vec![due(1)]).await;
    let rows = store.owed(0, 99).await.unwrap();
    let blank =
        Owed { record: id(2), system: system("oem"), rev: 4, published: 0, delivered: 3, retry_at: None, attempts: 0, answer_by: None };
    assert_eq!(rows[0].1, blank);
    assert_eq!(order(&store).await, [2, 2, 1]);
    let second = store.owed(rows[0].0, 1).await.unwrap();
    assert_eq!(second, [rows[1].clone()]);
    assert!(store.owed(rows[2].0, 9).await.unwrap().is_empty());
    let store = kit.reopen(store).await;
    assert_eq!(order(&store).await, [2, 2, 1]);
    assert_eq!(row(&store).await, Some((1, 0, 0, 0)));
}

pub(super) async fn a_newer_rev_takes_the_place_of_an_older(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(1)]).await;
    change(&store, 1, vec![due(3)]).await;
    assert_eq!(row(&store).await, Some((3, 0, 0, 0)));
    change(&store, 1, vec![due(2)]).await;
    assert_eq!(row(&store).await, Some((3, 0, 0, 0)), "an older rev changes nothing");
    publish(&store, 3, true).await;
    change(&store, 1, vec![due(5)]).await;
    assert_eq!(row(&store).await, Some((5, 3, 3, 0)));
}

pub(super) async fn a_published_message_awaits_its_receipt(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(2)]).await;
    publish(&store, 2, true).await;
    assert_eq!(row(&store).await, Some((2, 2, 2, 0)));
    assert_eq!(order(&store).await, [1], "the relay sees it, and leaves it alone");
    publish(&store, 1, true).await;
    assert_eq!(row(&store).await, Some((2, 2, 2, 0)), "an older confirmation changes nothing");
}

pub(super) async fn a_confirmation_may_come_with_a_record(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let sent = |rev: u64, tried: u32| {
        let (record, system) = (id(1), system("oem"));
        OutboxChange::Sent(Published { record, system, rev, nothing: false, tried: (tried, None), awaits_receipt: false, answer_by: None })
    };
    change(&store, 1, vec![due(2)]).await;
    change(&store, 1, vec![due(4)]).await;
    change(&store, 1, vec![sent(3, 0)]).await;
    assert_eq!(row(&store).await, Some((4, 3, 3, 0)), "something newer is owed");
    change(&store, 1, vec![sent(2, 0)]).await;
    assert_eq!(row(&store).await, Some((4, 3, 3, 0)), "an older confirmation changes nothing");
    change(&store, 1, vec![sent(4, 1)]).await;
    assert_eq!(row(&store).await, Some((4, 3, 3, 0)), "it is about a row that has failed since");
    let store = kit.reopen(store).await;
    change(&store, 1, vec![sent(4, 0)]).await;
    assert_eq!(row(&store).await, None);
    change(&store, 1, vec![sent(4, 0)]).await;
    assert_eq!(row(&store).await, None);
}

pub(super) async fn what_is_due_afresh_was_not_delivered(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let afresh = |rev: u64| OutboxChange::DueAfresh { system: system("oem"), rev };
    change(&store, 1, vec![afresh(5)]).await;
    assert_eq!(row(&store).await, Some((5, 0, 0, 0)));
    publish(&store, 5, true).await;
    change(&store, 1, vec![afresh(6)]).await;
    let store = kit.reopen(store).await;
    assert_eq!(row(&store).await, Some((6, 5, 0, 0)));
}

pub(super) async fn without_receipts_a_published_row_goes(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(2)]).await;
    publish(&store, 2, false).await;
    assert_eq!(row(&store).await, None);
    publish(&store, 2, false).await;
    change(&store, 1, vec![due(3)]).await;
    change(&store, 1, vec![due(4)]).await;
    publish(&store, 3, false).await;
    assert_eq!(row(&store).await, Some((4, 3, 3, 0)), "something newer is owed");
    publish(&store, 4, false).await;
    assert_eq!(row(&store).await, None);
}

pub(super) async fn an_applied_rev_settles_what_was_sent(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![applied(1)]).await;
    assert_eq!(row(&store).await, None);
    change(&store, 1, vec![due(3)]).await;
    publish(&store, 3, true).await;
    change(&store, 1, vec![due(5), applied(2)]).await;
    assert_eq!(row(&store).await, Some((5, 3, 3, 0)), "rev 3 is still on its way");
    change(&store, 1, vec![applied(3)]).await;
    assert_eq!(row(&store).await, Some((5, 0, 3, 0)), "rev 5 may go now");
    change(&store, 1, vec![applied(7)]).await;
    assert_eq!(row(&store).await, None);
}

pub(super) async fn a_failed_message_is_sent_again(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(3)]).await;
    publish(&store, 3, true).await;
    change(&store, 1, vec![failed(3)]).await;
    assert_eq!(row(&store).await, Some((3, 0, 0, 1)), "its fields are named again");
    assert_eq!(store.owed_of(&[(id(1), system("oem"))]).await.unwrap()[0].retry_at, Some(at(30)));
    publish(&store, 3, true).await;
    change(&store, 1, vec![due(4)]).await;
    assert_eq!(row(&store).await, Some((4, 3, 3, 1)));
    change(&store, 1, vec![applied(3)]).await;
    assert_eq!(row(&store).await, Some((4, 0, 3, 0)), "no failure in a row any more");
    assert_eq!(store.owed_of(&[(id(1), system("oem"))]).await.unwrap()[0].retry_at, None);
    // Without receipts its row was gone already.
    publish(&store, 4, false).await;
    change(&store, 1, vec![failed(4)]).await;
    assert_eq!(row(&store).await, Some((4, 0, 0, 1)));
}

pub(super) async fn a_rejected_message_is_not(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(3)]).await;
    publish(&store, 3, true).await;
    change(&store, 1, vec![due(4)]).await;
    change(&store, 1, vec![rejected(3)]).await;
    assert_eq!(row(&store).await, Some((4, 0, 3, 0)), "what came after it is still owed");
    change(&store, 1, vec![rejected(4)]).await;
    assert_eq!(row(&store).await, None);
}

pub(super) async fn a_receipt_may_be_faster_than_the_confirmation(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(3)]).await;
    change(&store, 1, vec![due(4), applied(3)]).await;
    publish(&store, 3, true).await;
    assert_eq!(row(&store).await, Some((4, 0, 3, 0)), "nothing is on its way");
    change(&store, 1, vec![applied(4)]).await;
    publish(&store, 4, true).await;
    assert_eq!(row(&store).await, None);
}

pub(super) async fn any_answer_may_be_faster_than_the_confirmation(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(2)]).await;
    change(&store, 1, vec![failed(2)]).await;
    for awaits_receipt in [true, false] {
        note(&store, 2, (0, None), awaits_receipt).await;
        assert_eq!(row(&store).await, Some((2, 0, 0, 1)), "it is sent again");
        note(&store, 2, (1, Some(at(29))), awaits_receipt).await;
        assert_eq!(row(&store).await, Some((2, 0, 0, 1)), "that was another time it had failed");
    }
    let store = kit.fresh().await;
    change(&store, 1, vec![due(1)]).await;
    change(&store, 1, vec![due(2)]).await;
    change(&store, 1, vec![rejected(1)]).await;
    publish(&store, 1, true).await;
    assert_eq!(row(&store).await, Some((2, 0, 1, 0)), "rev 2 may go");
}

pub(super) async fn where_nothing_was_said_nothing_is_on_its_way(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let nothing = |rev| {
        let (record, system) = (id(1), system("oem"));
        [Published { record, system, rev, nothing: true, tried: (0, None), awaits_receipt: false, answer_by: None }]
    };
    change(&store, 1, vec![due(1)]).await;
    change(&store, 1, vec![due(2)]).await;
    store.published(&nothing(1)).await.unwrap();
    assert_eq!(row(&store).await, Some((2, 0, 0, 0)), "something newer is owed, and may go");
    store.published(&nothing(2)).await.unwrap();
    assert_eq!(row(&store).await, None);
}

pub(super) async fn positions_only_grow(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    change(&store, 1, vec![due(1)]).await;
    change(&store, 2, vec![due(1)]).await;
    let last = store.owed(0, 99).await.unwrap()[1].0;
    // A relay that read so far misses neither a newer rev nor a failure nor a row in the place of a deleted one.
    change(&store, 1, vec![due(2)]).await;
    assert_eq!(order(&store).await, [2, 1]);
    assert_eq!(store.owed(last, 9).await.unwrap().len(), 1);
    change(&store, 2, vec![failed(1)]).await;
    assert_eq!(store.owed(last, 9).await.unwrap().len(), 2);
    let last = store.owed(last, 9).await.unwrap()[1].0;
    change(&store, 2, vec![applied(1)]).await;
    change(&store, 3, vec![due(1)]).await;
    assert_eq!(store.owed(last, 9).await.unwrap().len(), 1);
}

pub(super) async fn a_scan_misses_no_row_when_others_go(kit: &dyn StoreKit) {
    let store = kit.fresh().await;
    let to = |name: &str| OutboxChange::Due { system: system(name), rev: 1 };
    change(&store, 1, vec![to("oem"), to("crm"), to("erp")]).await;
    change(&store, 2, vec![to("oem")]).await;
    let first = store.owed(0, 1).await.unwrap();
    assert_eq!(first[0].1.system, system("oem"));
    publish(&store, 1, false).await;
    let rest: Vec<_> = store.owed(first[0].0, 9).await.unwrap().into_iter().map(|(_, row)| (row.record, row.system)).collect();
    assert_eq!(rest, [(id(1), system("crm")), (id(1), system("erp")), (id(2), system("oem"))]);
    // Another store on the same data gives out positions of its own; none of them is behind what was read.
    let Some(second) = kit.second().await else { return };
    change(&second, 3, vec![to("oem")]).await;
    let last = store.owed(0, 9).await.unwrap().last().unwrap().0;
    change(&store, 3, vec![to("crm")]).await;
    let after: Vec<_> = store.owed(last, 9).await.unwrap().into_iter().map(|(_, row)| row.system).collect();
    assert!(after.contains(&system("crm")), "{after:?}");
}
