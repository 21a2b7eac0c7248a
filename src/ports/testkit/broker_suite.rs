//! Queues.

use std::sync::Arc;
use std::time::Duration;

use super::sample::*;
use super::{BrokerKit, QueueKit};
use crate::ports::broker::{Broker, Delivery, LocalQueues};
use crate::ports::error::PortErrorKind;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(60);

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.body.clone()).unwrap()).collect()
}

/// Receives until so many have come and then nothing more.
async fn drain(broker: &dyn Broker, max: usize, count: usize) -> Vec<Delivery> {
    let mut all: Vec<Delivery> = Vec::new();
    loop {
        let some = broker.receive(max, if all.len() < count { LONG } else { SHORT }).await.unwrap();
        assert!(some.len() <= max);
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

async fn settle(broker: &dyn Broker, came: &[Delivery]) {
    broker.settle(&came.iter().map(|delivery| delivery.tag).collect::<Vec<_>>()).await.unwrap();
}

async fn hand_in(queues: &Arc<dyn LocalQueues>, texts: &[&str]) {
    let messages = texts.iter().map(|text| (None, text.as_bytes().to_vec())).collect();
    queues.enqueue(messages, at(0)).await.unwrap();
}

/// What a system is given: (record, rev).
async fn lease(queues: &Arc<dyn LocalQueues>, max: usize, seconds: u64) -> Vec<(u64, u64)> {
    let leased = queues.lease(&system("oem"), max, LEASE, at(seconds)).await.unwrap();
    let number = |record| (1..9).find(|n| id(*n) == record).unwrap();
    leased.messages.iter().map(|message| (number(message.record), message.rev)).collect()
}

async fn publish(queues: &Arc<dyn LocalQueues>, messages: &[(u64, u64)]) {
    let messages = messages.iter().map(|(record, rev)| message("oem", *record, *rev)).collect();
    assert!(queues.publish(messages).await.iter().all(Result::is_ok));
}

async fn release(queues: &Arc<dyn LocalQueues>, record: u64, rev: u64) {
    queues.release(&system("oem"), &[(id(record), rev)]).await.unwrap();
}

pub(super) async fn messages_come_in_order_and_once(kit: &dyn BrokerKit) {
    let broker = kit.fresh().await;
    assert!(broker.receive(9, SHORT).await.unwrap().is_empty());
    for text in ["a", "b", "c"] {
        kit.send(text.as_bytes()).await;
    }
    let came = drain(&*broker, 2, 3).await;
    assert_eq!(bodies(&came), ["a", "b", "c"]);
    assert!(came.iter().all(|delivery| delivery.deliveries == 1 && delivery.given_up.is_none()));
    assert!(came.is_sorted_by_key(|delivery| delivery.tag));
    settle(&*broker, &came).await;
    kit.send(b"d").await;
    assert_eq!(bodies(&drain(&*broker, 9, 1).await), ["d"]);
}

pub(super) async fn what_is_not_settled_comes_again_after_a_restart(kit: &dyn BrokerKit) {
    let broker = kit.fresh().await;
    for text in ["a", "b", "c", "d"] {
        kit.send(text.as_bytes()).await;
    }
    let came = drain(&*broker, 2, 4).await;
    broker.settle(&[came[0].tag, came[2].tag]).await.unwrap();
    let broker = kit.reopen(broker).await;
    let came = drain(&*broker, 9, 2).await;
    // What was settled before its turn may come with what was not.
    let came_again = bodies(&came);
    assert!(came_again == ["b", "d"] || came_again == ["b", "c", "d"], "{came_again:?}");
    settle(&*broker, &came).await;
    let broker = kit.reopen(broker).await;
    assert!(broker.receive(9, SHORT).await.unwrap().is_empty());
}

pub(super) async fn all_that_is_not_settled_is_given_again(kit: &dyn BrokerKit) {
    let broker = kit.fresh().await;
    for text in ["a", "b", "c"] {
        kit.send(text.as_bytes()).await;
    }
    let first = drain(&*broker, 9, 3).await;
    settle(&*broker, &first[..1]).await;
    broker.give_again().await.unwrap();
    kit.send(b"d").await;
    let again = drain(&*broker, 2, 3).await;
    assert_eq!(bodies(&again), ["b", "c", "d"], "in their order, and before anything newer");
    settle(&*broker, &again).await;
    settle(&*broker, &first).await;
    let broker = kit.reopen(broker).await;
    assert!(broker.receive(9, SHORT).await.unwrap().is_empty());
}

pub(super) async fn receiving_waits_for_a_message(kit: &dyn BrokerKit) {
    let broker = kit.fresh().await;
    let (came, ()) = tokio::join!(broker.receive(9, LONG), async {
        tokio::time::sleep(SHORT).await;
        kit.send(b"late").await;
    });
    assert_eq!(bodies(&came.unwrap()), ["late"]);
}

pub(super) async fn published_messages_reach_their_system(kit: &dyn BrokerKit) {
    let broker = kit.fresh().await;
    let (first, other) = (message("oem", 1, 1), message("crm", 1, 1));
    let done = broker.publish(vec![first.clone(), other.clone(), message("oem", 2, 1)]).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 3);
    assert_eq!(kit.take("oem", 2).await, [first.body, message("oem", 2, 1).body]);
    assert_eq!(kit.take("crm", 1).await, [other.body]);
    assert!(broker.publish(Vec::new()).await.is_empty());
}

pub(super) async fn the_inbound_queue_is_bounded(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    hand_in(&queues, &["1", "2", "3", "4", "5", "6", "7", "8"]).await;
    let three = vec![(None, b"x".to_vec()); 3];
    assert_eq!(queues.enqueue(three.clone(), at(0)).await.unwrap_err().kind, PortErrorKind::Full);
    assert_eq!(queues.depth().await.unwrap().0, 8, "all or none");
    let came = drain(&*queues, 1, 8).await;
    assert_eq!(queues.enqueue(three.clone(), at(0)).await.unwrap_err().kind, PortErrorKind::Full, "it counts until it is settled");
    queues.settle(&[came[0].tag]).await.unwrap();
    queues.settle(&[came[0].tag]).await.unwrap();
    queues.enqueue(three, at(0)).await.unwrap();
    let queues = kit.reopen(queues).await;
    assert_eq!(queues.enqueue(vec![(None, b"x".to_vec())], at(0)).await.unwrap_err().kind, PortErrorKind::Full);
}

pub(super) async fn a_crash_counts_as_a_delivery(kit: &dyn QueueKit) {
    let mut queues = kit.fresh().await;
    queues.enqueue(vec![(Some("m1".to_owned()), b"poison".to_vec()), (None, b"later".to_vec())], at(5)).await.unwrap();
    for deliveries in 1..4 {
        let came = queues.receive(1, LONG).await.unwrap();
        assert_eq!((bodies(&came), came[0].deliveries), (vec!["poison".to_owned()], deliveries));
        assert_eq!((came[0].message_id.as_deref(), came[0].received_at), (Some("m1"), at(5)));
        queues = kit.reopen(queues).await;
    }
    let came = drain(&*queues, 9, 2).await;
    assert_eq!(came.iter().map(|delivery| delivery.deliveries).collect::<Vec<_>>(), [4, 1], "the other one was never given");
    // Nor does it rub off on messages that come later.
    queues.settle(&[came[0].tag, came[1].tag]).await.unwrap();
    let queues = kit.reopen(queues).await;
    hand_in(&queues, &["new"]).await;
    let queues = kit.reopen(queues).await;
    assert_eq!(queues.receive(9, LONG).await.unwrap()[0].deliveries, 1);
}

pub(super) async fn only_the_newest_message_of_a_record_is_given(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 1), (2, 1), (1, 2)]).await;
    publish(&queues, &[(1, 3)]).await;
    let leased = queues.lease(&system("oem"), 9, LEASE, at(0)).await.unwrap();
    let newest = leased.messages.iter().find(|message| message.record == id(1)).unwrap();
    assert_eq!(*newest, message("oem", 1, 3));
    assert_eq!(leased.messages.len(), 2);
}

pub(super) async fn a_record_has_one_message_out(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 1)]).await;
    assert_eq!(lease(&queues, 9, 0).await, [(1, 1)]);
    publish(&queues, &[(1, 2), (2, 1)]).await;
    assert_eq!(lease(&queues, 9, 1).await, [(2, 1)]);
    release(&queues, 1, 1).await;
    assert_eq!(lease(&queues, 9, 2).await, [(1, 2)], "the newer one was waiting for it");
    assert!(queues.lease(&system("crm"), 9, LEASE, at(2)).await.unwrap().messages.is_empty());
}

pub(super) async fn an_expired_lease_is_given_again(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 1), (2, 1)]).await;
    let first = queues.lease(&system("oem"), 9, LEASE, at(0)).await.unwrap();
    assert_eq!(first.messages.len(), 2);
    assert_eq!(lease(&queues, 9, 59).await, []);
    publish(&queues, &[(2, 2)]).await;
    let again = queues.lease(&system("oem"), 9, LEASE, at(60)).await.unwrap();
    assert_ne!(again.id, first.id);
    assert_eq!(again.messages[0], first.messages[0], "the same id, the same bytes");
    assert_eq!((again.messages.len(), again.messages[1].rev), (2, 2), "the newer one in the place of the older");
    assert_eq!(lease(&queues, 9, 119).await, []);
}

pub(super) async fn released_messages_are_gone(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 1), (2, 3)]).await;
    assert_eq!(lease(&queues, 9, 0).await, [(1, 1), (2, 3)]);
    release(&queues, 1, 1).await;
    release(&queues, 2, 2).await;
    release(&queues, 7, 1).await;
    assert_eq!(lease(&queues, 9, 100).await, [(2, 3)], "rev 2 says nothing about rev 3");
    release(&queues, 2, 9).await;
    assert_eq!(lease(&queues, 9, 200).await, []);
    let queues = kit.reopen(queues).await;
    assert_eq!(lease(&queues, 9, 300).await, []);
}

pub(super) async fn oldest_messages_come_first(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(3, 1), (1, 1), (2, 1)]).await;
    assert_eq!(lease(&queues, 2, 0).await, [(3, 1), (1, 1)]);
    assert_eq!(lease(&queues, 2, 0).await, [(2, 1)]);
    // An edit does not put a record at the end of the line.
    release(&queues, 3, 1).await;
    publish(&queues, &[(3, 2), (1, 2)]).await;
    assert_eq!(lease(&queues, 9, 100).await, [(1, 2), (2, 1), (3, 2)]);
}

pub(super) async fn outbound_messages_survive_a_restart(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 1), (2, 2)]).await;
    assert_eq!(lease(&queues, 1, 0).await, [(1, 1)]);
    let queues = kit.reopen(queues).await;
    let leased = queues.lease(&system("oem"), 9, LEASE, at(100)).await.unwrap();
    assert_eq!(leased.messages, [message("oem", 1, 1), message("oem", 2, 2)]);
}

pub(super) async fn an_older_rev_never_replaces_a_newer(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    publish(&queues, &[(1, 5)]).await;
    publish(&queues, &[(1, 4)]).await;
    publish(&queues, &[(1, 5)]).await;
    assert_eq!(lease(&queues, 9, 0).await, [(1, 5)]);
    assert_eq!(lease(&queues, 9, 1).await, []);
}

pub(super) async fn depths_are_counted(kit: &dyn QueueKit) {
    let queues = kit.fresh().await;
    assert_eq!(queues.depth().await.unwrap(), (0, Vec::new()));
    hand_in(&queues, &["a", "b"]).await;
    publish(&queues, &[(1, 1), (2, 1), (2, 2)]).await;
    let (inbound, outbound) = queues.depth().await.unwrap();
    assert_eq!((inbound, outbound), (2, vec![(system("oem"), 2)]));
}
