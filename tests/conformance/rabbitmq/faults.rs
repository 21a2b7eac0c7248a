//! What goes wrong, and that it is overcome or said.

use std::sync::Arc;
use std::time::Duration;

use syncline::backends::rabbitmq::{Options, RabbitBroker};
use syncline::ports::broker::{Broker, Inbox};
use syncline::ports::error::PortErrorKind;
use syncline::ports::testkit::sample;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::proxy::Proxy;
use super::support::{LONG, Site, bodies, receive, tags, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_no_queue_takes_is_not_published() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    assert!(broker.publish(vec![sample::message("oem", 1, 1)]).await[0].is_ok());
    let peer = site.channel().await;
    peer.unbind(&site.name("updates.oem"), &site.name("outbound"), "oem").await;
    let outcome = broker.publish(vec![sample::message("oem", 1, 2), sample::message("crm", 1, 1)]).await;
    let error = outcome[0].as_ref().unwrap_err();
    assert!(error.kind == PortErrorKind::Unavailable && error.message.contains("no queue takes oem"), "{error}");
    assert!(outcome[1].is_ok(), "it fails alone");
    assert!(broker.publish(vec![sample::message("oem", 1, 2)]).await[0].is_ok(), "bound again by the next try");
    peer.delete_queue(&site.name("updates.oem")).await;
    assert!(broker.publish(vec![sample::message("oem", 1, 3)]).await[0].is_err());
    assert!(broker.publish(vec![sample::message("oem", 1, 3)]).await[0].is_ok(), "made again by the next try");
}

/// The client tells of a returned message with the confirmation of any other one.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_messages_those_that_no_queue_takes_are_the_ones_that_fail() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    let peer = site.channel().await;
    for round in 1..=20 {
        let both = broker.publish(vec![sample::message("oem", 1, 2 * round - 1), sample::message("crm", 1, round)]).await;
        assert!(both.iter().all(Result::is_ok), "{both:?}");
        peer.unbind(&site.name("updates.oem"), &site.name("outbound"), "oem").await;
        // None of crm's may be told to have failed instead, at whatever place it stands.
        let (turn, system) = (round % 7, |n: u64| if n % 7 == round % 7 { "oem" } else { "crm" });
        let messages = (0..70).map(|n| sample::message(system(n), 10 + n, round)).collect();
        let told: Vec<bool> = broker.publish(messages).await.iter().map(Result::is_ok).collect();
        let expected: Vec<bool> = (0..70).map(|n| n % 7 != turn).collect();
        assert_eq!(told, expected, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_publish_at_once_is_told_to_each() {
    let Some(site) = Site::any() else { return };
    let broker = Arc::new(site.open().await);
    assert!(broker.publish(vec![sample::message("oem", 1, 1), sample::message("crm", 1, 1)]).await.iter().all(Result::is_ok));
    site.channel().await.unbind(&site.name("updates.oem"), &site.name("outbound"), "oem").await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..40_u64 {
        let broker = broker.clone();
        // Only the first finds that a queue is missing; whoever comes later has it made again.
        let system = if caller == 7 { "oem" } else { "crm" };
        callers.spawn(async move { (caller, broker.publish(vec![sample::message(system, 100 + caller, 1)]).await[0].is_ok()) });
    }
    let told = callers.join_all().await;
    let failed: Vec<u64> = told.iter().filter(|(_, is_ok)| !is_ok).map(|(caller, _)| *caller).collect();
    assert_eq!(failed, [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_in_another_form_is_named_and_left_alone() {
    let Some(site) = Site::any() else { return };
    let queue = site.name("orchestrator");
    site.channel().await.declare_queue(&queue).await;
    let refused = RabbitBroker::open(site.options()).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Invalid);
    for part in [queue.as_str(), "x-single-active-consumer=true", "x-queue-type=quorum", "current is"] {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    site.channel().await.declare_queue(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_whose_queue_has_another_form_fails_alone() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    site.channel().await.declare_queue(&site.name("updates.oem")).await;
    let outcome = broker.publish(vec![sample::message("oem", 1, 1), sample::message("crm", 1, 1)]).await;
    let error = outcome[0].as_ref().unwrap_err();
    assert!(error.kind == PortErrorKind::Invalid && error.message.contains(&site.name("updates.oem")), "{error}");
    assert!(outcome[1].is_ok());
}

/// Somebody makes a system's queue anew while the orchestrator runs, and not as it should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_comes_to_have_another_form_holds_up_its_system_only() {
    let Some(site) = Site::any() else { return };
    let proxy = Proxy::to(&site.url).await;
    let systems = ["oem", "crm"].map(sample::system).to_vec();
    let options = Options { systems, ..site.options_at(&proxy.url(&site.url)) };
    let broker = RabbitBroker::open(options).await.unwrap();
    let peer = site.channel().await;
    peer.delete_queue(&site.name("updates.oem")).await;
    peer.declare_queue(&site.name("updates.oem")).await;
    for rev in 1..=3 {
        let outcome = broker.publish(vec![sample::message("oem", 1, rev), sample::message("crm", 1, rev)]).await;
        assert!(outcome[0].is_err() && outcome[1].is_ok(), "{outcome:?}");
        assert!(broker.connected().is_ok(), "the connection goes on");
    }
    // Also when both connections are made again.
    proxy.cut();
    until("a lost connection", async || broker.connected().err()).await;
    until("a connection", async || broker.connected().ok()).await;
    let outcome = broker.publish(vec![sample::message("oem", 1, 4), sample::message("crm", 1, 4)]).await;
    assert!(outcome[0].is_err() && outcome[1].is_ok(), "{outcome:?}");
    // A queue that nobody has is no reason either.
    assert!(broker.depth().await.is_ok());
    peer.delete_queue(&site.name("updates.crm")).await;
    assert!(broker.depth().await.is_ok() && broker.connected().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_said_at_once_and_without_them() {
    let Some(site) = Site::any() else { return };
    let host = site.url.rsplit_once('@').map_or("127.0.0.1:5672", |(_, host)| host);
    let url = format!("amqp://nobody:hunter2@{host}");
    let started = Instant::now();
    let refused = RabbitBroker::open(site.options_at(&url)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(refused.kind, PortErrorKind::Invalid, "{refused}");
    assert!(refused.message.contains("check user, password and vhost"), "{refused}");
    let said = format!("{refused} {refused:?}");
    assert!(!said.contains("hunter2") && !said.contains("nobody:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_said_in_time() {
    let site = Site { url: String::new(), prefix: "nowhere".to_owned() };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = site.options_at(&format!("amqp://guest:hunter2@{free}"));
    std::mem::forget(site);
    options.connect_within = Duration::from_millis(300);
    let refused = RabbitBroker::open(options).await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Unavailable, "{refused}");
    assert!(refused.message.contains(&free.to_string()) && !format!("{refused:?}").contains("hunter2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_made_again_and_nothing_is_lost() {
    let Some(site) = Site::any() else { return };
    let proxy = Proxy::to(&site.url).await;
    let broker = RabbitBroker::open(site.options_at(&proxy.url(&site.url))).await.unwrap();
    for n in 1..=20 {
        assert!(site.send("bms.device.D1", n.to_string().as_bytes()).await);
    }
    let first = receive(&broker, 20).await;
    broker.settle(&tags(&first[..5])).await.unwrap();
    until("the acknowledgement", async || (broker.depth().await.unwrap().0 == 15).then_some(())).await;
    proxy.cut();
    let again = receive(&broker, 15).await;
    assert_eq!(bodies(&again), bodies(&first[5..]), "in their order");
    assert!(again.iter().all(|delivery| delivery.deliveries == 2));
    // Tags of the connection that is gone mean nothing on the new one.
    broker.settle(&tags(&first)).await.unwrap();
    assert_eq!(broker.depth().await.unwrap().0, 15);
    broker.settle(&tags(&again)).await.unwrap();
    until("a message to be taken", async || broker.publish(vec![sample::message("oem", 1, 1)]).await[0].is_ok().then_some(())).await;
    for n in 0..5 {
        proxy.cut();
        let body = format!("after {n}");
        assert!(site.send("bms.device.D1", body.as_bytes()).await);
        loop {
            let came = receive(&broker, 1).await;
            broker.settle(&tags(&came)).await.unwrap();
            // An acknowledgement may be lost on the way; what was let go of then comes once more.
            if bodies(&came) == [body.as_str()] {
                break;
            }
        }
        until("both connections", async || broker.connected().is_ok().then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed() {
    let Some(site) = Site::any() else { return };
    let proxy = Proxy::to(&site.url).await;
    let broker = RabbitBroker::open(site.options_at(&proxy.url(&site.url))).await.unwrap();
    assert!(broker.connected().is_ok());
    proxy.go_dead();
    let started = Instant::now();
    until("the silence to be noticed", async || broker.connected().is_err().then_some(())).await;
    assert!(started.elapsed() <= Duration::from_secs(20), "after {:?}", started.elapsed());
    proxy.cut();
    until("both connections", async || broker.connected().is_ok().then_some(())).await;
    assert!(site.send("bms.device.D1", b"after").await);
    assert_eq!(bodies(&receive(&broker, 1).await), ["after"]);
}

/// The client waits for an answer for ever, with a thread and a socket: one such try is enough.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_left_alone_after_the_first_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (left, mut leaving) = tokio::sync::mpsc::channel(1);
    let options = {
        let site = Site { url: format!("amqp://guest:guest@{}", listener.local_addr().unwrap()), prefix: "nowhere".to_owned() };
        let mut options = site.options();
        // There is nothing to be taken away.
        std::mem::forget(site);
        options.connect_within = 2 * LONG;
        options
    };
    let opening = tokio::spawn(RabbitBroker::open(options));
    let listening = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let left = left.clone();
            tokio::spawn(async move {
                let mut heard = Vec::new();
                // Nothing is answered.
                let ended = stream.read_to_end(&mut heard).await;
                let _ = left.send((ended.is_ok(), heard)).await;
            });
        }
    });
    let (gently, heard) = tokio::time::timeout(LONG, leaving.recv()).await.unwrap().unwrap();
    assert!(gently && heard.starts_with(b"AMQP"), "{heard:?}");
    opening.abort();
    listening.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_made_again() {
    let Some(site) = Site::any() else { return };
    let broker = site.open().await;
    for queue in ["orchestrator", "dead"] {
        site.channel().await.delete_queue(&site.name(queue)).await;
        until("the queue", async || site.send("bms.device.D1", b"x").await.then_some(())).await;
        let came = receive(&broker, 1).await;
        broker.settle(&tags(&came)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_deleted_queues_is_made_again_though_others_have_messages() {
    let Some(site) = Site::any() else { return };
    let broker = RabbitBroker::open(syncline::backends::rabbitmq::Options { partitions: 3, ..site.options() }).await.unwrap();
    for n in 0..30 {
        assert!(site.send(&format!("bms.device.D{n}"), b"x").await);
    }
    let came = receive(&broker, 30).await;
    // Nothing is settled: with the connection it goes back to its queues.
    site.channel().await.delete_queue(&site.name("orchestrator.2")).await;
    until("what was in the other queues", async || {
        let again = broker.receive(1, Duration::from_millis(100)).await.unwrap();
        again.iter().any(|delivery| delivery.deliveries > 1).then_some(())
    })
    .await;
    assert_eq!(came.len(), 30);
    until("the queue", async || {
        let connected = broker.connected().is_ok();
        let mut sent = connected;
        for n in 0..30 {
            sent = sent && site.send(&format!("bms.device.E{n}"), b"x").await;
        }
        sent.then_some(())
    })
    .await;
}
