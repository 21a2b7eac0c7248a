//! The engine itself: what the supervisor runs, on the servers.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use serde_json::{Value, json};
use syncline::app::{RandomIds, SystemClock};
use syncline::config::Config;
use syncline::engine::handlers::Handlers;
use syncline::engine::settings::Settings;
use syncline::engine::supervisor::{self, Parts, Running};
use syncline::ports::broker::{Broker, Delivery, OutboundMessage};
use syncline::ports::clock::Clock;
use syncline::ports::error::PortError;
use tokio::sync::watch;

use crate::feeding::{self, Pace};
use crate::machine::private_mib;
use crate::servers::{Measured, Measuring, SYSTEMS, Servers};

/// So often every record changes where nothing is answered: once more than messages are kept unconfirmed.
const UNANSWERED: u64 = 65;

const RULES: &str = r#"
[entities.device]
keys = [{ fields = ["serial"], normalize = ["trim", "lowercase"] }]
[systems.bms.entities.device]
"#;

async fn start(servers: &Servers, broker: Arc<dyn Broker>, push: bool, receipts: bool) -> Running {
    let answers = if receipts { "required" } else { "none" };
    let targets: String = SYSTEMS[1..]
        .iter()
        .map(|system| format!("[systems.{system}]\nreceipts = \"{answers}\"\n[systems.{system}.entities.device]\n"))
        .collect();
    let mut config = Config::from_toml(&format!("{RULES}{targets}"), "bench.toml").unwrap();
    config.orchestration.push_updates = push;
    let parts = Parts {
        store: Arc::new(servers.store().await),
        broker,
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        settings: Arc::new(Settings::compile(&config)),
        handlers: Arc::new(Handlers::default()),
        others: Arc::default(),
    };
    supervisor::start(parts).await.unwrap()
}

/// Memory of an engine that has nothing to do.
pub async fn idle(servers: &Servers) {
    let running = start(servers, servers.broker().await, true, false).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    println!("idle: {:.1} MiB private memory", private_mib());
    running.stop().await.unwrap();
}

/// Counts what is settled, and notes how long it took since it was delivered. Gives nothing out while it is shut.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Broker>,
    shut: watch::Sender<bool>,
    arrived: Mutex<std::collections::HashMap<u64, i64>>,
    took_us: Mutex<Vec<i64>>,
    settled: AtomicU64,
}

impl Counted {
    fn new(inner: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            shut: watch::Sender::new(false),
            arrived: Mutex::default(),
            took_us: Mutex::default(),
            settled: AtomicU64::new(0),
        })
    }

    async fn until(&self, count: u64) {
        while self.settled.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[async_trait]
impl Broker for Counted {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let mut shut = self.shut.subscribe();
        if tokio::time::timeout(wait, shut.wait_for(|shut| !shut)).await.is_err() {
            return Ok(Vec::new());
        }
        let deliveries = self.inner.receive(max, wait).await?;
        let mut arrived = self.arrived.lock().unwrap();
        arrived.extend(deliveries.iter().map(|delivery| (delivery.tag, delivery.received_at.as_micros())));
        Ok(deliveries)
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.inner.give_again().await
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        let now = SystemClock.now().as_micros();
        {
            let mut arrived = self.arrived.lock().unwrap();
            self.took_us.lock().unwrap().extend(tags.iter().filter_map(|tag| Some(now - arrived.remove(tag)?)));
        }
        self.settled.fetch_add(tags.len() as u64, Ordering::SeqCst);
        self.inner.settle(tags).await
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        self.inner.publish(messages).await
    }
}

/// All systems report all records, and nothing is sent: they hold the same.
async fn load(servers: &Servers, updates: u64, receipts: bool) {
    let counted = Counted::new(servers.broker().await);
    let running = start(servers, counted.clone(), false, receipts).await;
    let began = Instant::now();
    for system in SYSTEMS {
        feeding::apart(servers, system, 0..updates, updates, 0, Pace::AtOnce).await;
    }
    counted.until(3 * updates).await;
    running.at_rest().await;
    println!(
        "first load, 3 systems of {updates} records, nothing sent: {:.0} updates/s",
        3.0 * updates as f64 / began.elapsed().as_secs_f64()
    );
    running.stop().await.unwrap();
}

/// A running engine that decides what it is handed, pass by pass, once all systems have reported all records.
pub struct Passes {
    updates: u64,
    counted: Arc<Counted>,
    running: Running,
    done: u64,
}

impl Passes {
    pub async fn begin(servers: &Servers, updates: u64) -> Self {
        load(servers, updates, false).await;
        let counted = Counted::new(servers.broker().await);
        let running = start(servers, counted.clone(), true, false).await;
        Self { updates, counted, running, done: 0 }
    }

    /// Some of the records change for the `pass`-th time.
    pub async fn change(&mut self, servers: &Servers, some: Range<u64>, pass: u64) -> Measured {
        self.counted.shut.send_replace(true);
        let count = some.end - some.start;
        feeding::apart(servers, "bms", some, self.updates, pass, Pace::AtOnce).await;
        let measured = Measuring::begin();
        self.counted.shut.send_replace(false);
        self.done += count;
        self.counted.until(self.done).await;
        self.running.at_rest().await;
        measured.end(count)
    }

    /// The same a thousand a second: how long each took from its delivery until it was committed and settled, in microseconds.
    pub async fn steadily(&mut self, servers: &Servers, some: Range<u64>, pass: u64) -> Vec<i64> {
        self.counted.took_us.lock().unwrap().clear();
        self.done += some.end - some.start;
        feeding::apart(servers, "bms", some, self.updates, pass, Pace::Steady).await;
        self.counted.until(self.done).await;
        self.running.at_rest().await;
        std::mem::take(&mut *self.counted.took_us.lock().unwrap())
    }

    pub async fn end(self) {
        self.running.stop().await.unwrap();
    }
}

/// Every record changes in one system; the change is decided, and both others are sent it. Once just after a start, and once more
/// when every record has been seen.
pub async fn throughput(servers: &Servers, updates: u64, receipts: bool) {
    load(servers, updates, receipts).await;
    feeding::apart(servers, "bms", 0..updates, updates, 1, Pace::AtOnce).await;
    let counted = Counted::new(servers.broker().await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut adapters = Vec::new();
    if receipts {
        for system in &SYSTEMS[1..] {
            adapters.push(tokio::spawn(answer(Servers::named(&servers.name), (*system).to_owned(), 2 * updates)));
        }
    }
    let measured = Measuring::begin();
    let running = start(servers, counted.clone(), true, receipts).await;
    let highest = Arc::new(Mutex::new(0.0_f64));
    let watcher = tokio::spawn(watch_over(highest.clone(), stop.clone()));
    let settled = updates * if receipts { 3 } else { 1 };
    counted.until(settled).await;
    running.at_rest().await;
    let what = if receipts { "with receipts" } else { "without receipts" };
    println!("syncline, two targets, {what}, just started: {}", measured.end(updates));
    counted.shut.send_replace(true);
    feeding::apart(servers, "bms", 0..updates, updates, 2, Pace::AtOnce).await;
    let measured = Measuring::begin();
    counted.shut.send_replace(false);
    counted.until(2 * settled).await;
    running.at_rest().await;
    println!("syncline, two targets, {what}: {}; at full load {:.1} MiB private memory", measured.end(updates), *highest.lock().unwrap());
    stop.store(true, Ordering::SeqCst);
    watcher.await.unwrap();
    for adapter in adapters {
        adapter.await.unwrap();
    }
    running.stop().await.unwrap();
}

/// What it costs that systems never answer: every record changes again and again, and what was sent of it stays unconfirmed.
pub async fn unanswered(servers: &Servers, updates: u64) {
    let mut passes = Passes::begin(servers, updates).await;
    for pass in 1..=UNANSWERED {
        let measured = passes.change(servers, 0..updates, pass).await;
        if pass % 16 == 1 {
            println!("change {pass} of each record: {measured}");
        }
    }
    passes.end().await;
}

async fn watch_over(highest: Arc<Mutex<f64>>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let now = private_mib();
        {
            let mut highest = highest.lock().unwrap();
            *highest = highest.max(now);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An adapter that applies all it is sent and says so.
async fn answer(servers: Servers, system: String, count: u64) {
    let (connection, channel) = servers.channel().await;
    channel.basic_qos(500, BasicQosOptions::default()).await.unwrap();
    let queue = format!("{}.updates.{system}", servers.name);
    let exchange = format!("{}.inbound", servers.name);
    let consumer =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), lapin::types::FieldTable::default());
    let mut consumer = consumer.await.unwrap();
    for n in 0..count {
        let delivery = consumer.next().await.unwrap().unwrap();
        let sent: Value = serde_json::from_slice(&delivery.data).unwrap();
        let receipt = json!({"id": format!("r-{system}-{n}"), "system": system, "type": "device", "op": "receipt", "native_id": sent["native_id"],
            "canonical_id": sent["canonical_id"], "rev": sent["rev"], "status": "applied"});
        let key = format!("{system}.device.{}", sent["native_id"].as_str().unwrap());
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let body = serde_json::to_vec(&receipt).unwrap();
        let published =
            channel.basic_publish(exchange.as_str().into(), key.as_str().into(), BasicPublishOptions::default(), &body, properties);
        drop(published.await.unwrap());
        if n % 100 == 99 || n + 1 == count {
            channel.wait_for_confirms().await.unwrap();
            delivery.ack(BasicAckOptions { multiple: true }).await.unwrap();
        }
    }
    connection.close(200, "done".into()).await.unwrap();
}
