//! The RabbitMQ backend, against a real server.

mod adapter;
mod faults;
mod orchestrator;
mod proxy;
mod server;
mod support;

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use syncline::backends::rabbitmq::RabbitBroker;
use syncline::domain::origin::Publisher;
use syncline::ports::broker::{Broker, HandedIn, Inbox, OutboundMessage};
use syncline::ports::error::PortErrorKind;
use syncline::ports::testkit::{broker_conformance, sample};

use support::{Kit, LONG, Site, bodies, receive, tags, until, url};

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_keeps_its_promises() {
    let Some(url) = url() else { return };
    broker_conformance(&Kit::new(url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_what_an_adapter_needs() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message = OutboundMessage { trace: trace.parse().ok(), ..sample::message("oem", 1, 3) };
    assert!(broker.publish(vec![message.clone()]).await.iter().all(Result::is_ok));
    let taken = site.channel().await.take(&site.name("updates.oem"), 1).await.remove(0);
    let properties = &taken.properties;
    let text = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
    assert_eq!((taken.exchange.as_str(), taken.routing_key.as_str()), (site.name("outbound").as_str(), "oem"));
    assert_eq!(text(properties.message_id()), Some(message.id));
    assert_eq!(text(properties.kind()), Some(message.entity_type.to_string()));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(*properties.delivery_mode(), Some(2), "it survives a restart of the server");
    let headers = properties.headers().clone().unwrap();
    assert_eq!(headers.inner().get("rev"), Some(&AMQPValue::LongLongInt(3)));
    assert!(matches!(headers.inner().get("op"), Some(AMQPValue::LongString(_))));
    assert_eq!(headers.inner().get("traceparent"), Some(&AMQPValue::LongString(trace.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_says_which_trace_it_belongs_to() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for value in [AMQPValue::LongString(trace.into()), AMQPValue::LongString("nonsense".into()), AMQPValue::Boolean(true)] {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), value);
        let properties = BasicProperties::default().with_headers(headers);
        assert!(site.channel().await.publish(&site.name("inbound"), "bms.device.D1", b"{}", properties).await);
    }
    let came = receive(&broker, 3).await;
    let traces: Vec<_> = came.iter().map(|delivery| delivery.trace.map(|trace| trace.to_string())).collect();
    assert_eq!(traces, [Some(trace.to_owned()), None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_unbroken_row_is_acknowledged() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    for n in 1..=5 {
        assert!(site.send("bms.device.D1", n.to_string().as_bytes()).await);
    }
    let came = receive(&broker, 5).await;
    broker.settle(&[came[2].tag, came[1].tag]).await.unwrap();
    drop(broker);
    let broker = site.open().await;
    let came = receive(&broker, 5).await;
    assert_eq!(bodies(&came), ["1", "2", "3", "4", "5"], "the first one was out");
    broker.settle(&[came[2].tag, came[1].tag]).await.unwrap();
    broker.settle(&[came[0].tag]).await.unwrap();
    drop(broker);
    let broker = site.open().await;
    assert_eq!(bodies(&receive(&broker, 2).await), ["4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_one_does_not_stop_the_others() {
    let Some(site) = Site::any() else { return };
    let mut options = site.options();
    options.prefetch = 4;
    let broker = RabbitBroker::open(options).await.unwrap();
    for n in 0..40 {
        assert!(site.send("bms.device.D1", n.to_string().as_bytes()).await);
    }
    let slow = receive(&broker, 1).await;
    for n in 1..40 {
        let came = receive(&broker, 1).await;
        assert_eq!(bodies(&came), [n.to_string()]);
        broker.settle(&tags(&came)).await.unwrap();
    }
    drop(broker);
    let broker = site.open().await;
    let again = receive(&broker, 1).await;
    assert_eq!((bodies(&again), again[0].deliveries), (bodies(&slow), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_consumes_at_a_time() {
    let Some(site) = Site::any() else { return };
    let (first, second) = (site.open().await, site.open().await);
    assert!(site.send("bms.device.D1", b"1").await);
    assert_eq!(bodies(&receive(&first, 1).await), ["1"]);
    assert!(second.receive(9, Duration::from_millis(50)).await.unwrap().is_empty());
    drop(first);
    assert_eq!(bodies(&receive(&second, 1).await), ["1"], "the other one takes over, with what was not settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_by_another_way_is_vouched_for() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    let message = |n: u32| HandedIn { routing_key: format!("bms.device.D{n}"), message_id: Some(format!("m{n}")), body: vec![b'x'] };
    broker.hand_in((0..300).map(message).collect(), sample::at(0)).await.unwrap();
    // A quorum queue counts what it confirmed a moment later.
    until("all of them in the queue", async || (broker.depth().await.unwrap().0 == 300).then_some(())).await;
    let came = receive(&broker, 300).await;
    for (n, delivery) in (0..).zip(&came) {
        let origin = delivery.origin.clone().unwrap();
        assert_eq!((origin.routing_key, delivery.message_id.clone()), (format!("bms.device.D{n}"), Some(format!("m{n}"))));
        assert_eq!(origin.publisher, Publisher::Ourselves);
    }
    broker.settle(&tags(&came)).await.unwrap();
    until("an empty queue", async || (broker.depth().await.unwrap().0 == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_spread_over_queues_each_in_its_order() {
    let Some(site) = Site::any() else { return };
    let mut options = site.options();
    options.partitions = 4;
    let broker = match RabbitBroker::open(options).await {
        Ok(broker) => broker,
        Err(error) => {
            assert!(error.kind == PortErrorKind::Invalid && error.message.contains("rabbitmq_consistent_hash_exchange"), "{error}");
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
    };
    let message = |n: u32| HandedIn { routing_key: format!("bms.device.D{}", n % 20), message_id: None, body: n.to_string().into_bytes() };
    broker.hand_in((0..200).map(message).collect(), sample::at(0)).await.unwrap();
    let came = receive(&broker, 200).await;
    for record in 0..20 {
        let of_record =
            |delivery: &&syncline::ports::broker::Delivery| delivery.origin.clone().unwrap().routing_key == format!("bms.device.D{record}");
        let order: Vec<u32> =
            came.iter().filter(of_record).map(|delivery| bodies(std::slice::from_ref(delivery))[0].parse().unwrap()).collect();
        assert_eq!((order.len(), order.is_sorted()), (10, true), "{record}: {order:?}");
    }
    drop(broker);
    let peer = site.channel().await;
    let queues: Vec<String> = (0..4).map(|n| site.name(&format!("orchestrator.{n}"))).collect();
    let waiting = until("all messages back in their queues", async || {
        let mut waiting = Vec::new();
        for queue in &queues {
            waiting.push(peer.waiting(queue).await);
        }
        (waiting.iter().sum::<u32>() == 200).then_some(waiting)
    })
    .await;
    assert!(waiting.iter().filter(|count| **count > 0).count() > 1, "{waiting:?}");
    // With another number some records would be in two queues.
    for partitions in [1, 2, 8] {
        let options = syncline::backends::rabbitmq::Options { partitions, ..site.options() };
        let refused = RabbitBroker::open(options).await.unwrap_err();
        assert!(refused.kind == PortErrorKind::Invalid && refused.message.contains("\"partitions\" was another number"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_too_often_comes_a_last_time() {
    let Some(site) = Site::any() else { return };
    let broker = RabbitBroker::open(syncline::backends::rabbitmq::Options { deliveries_max: 4, ..site.options() }).await.unwrap();
    assert!(site.send("bms.device.D1", b"poison").await);
    assert!(site.send("bms.device.D2", b"later").await);
    let mut rounds = 0;
    let last = loop {
        let came = broker.receive(9, LONG).await.unwrap();
        if let Some(dead) = came.iter().find(|delivery| delivery.given_up.is_some()) {
            break dead.clone();
        }
        rounds += 1;
        assert!(rounds <= 60, "it was never given up");
        if bodies(&came).contains(&"poison".to_owned()) {
            broker.give_again().await.unwrap();
        }
    };
    assert!(["poison", "later"].contains(&bodies(std::slice::from_ref(&last))[0].as_str()));
    let origin = last.origin.unwrap();
    assert!(origin.routing_key.starts_with("bms.device.D"), "{origin:?}");
    let why = last.given_up.unwrap();
    assert!(why.contains("delivered too often") && why.contains(&site.name("orchestrator")), "{why}");
    broker.settle(&[last.tag]).await.unwrap();
}
