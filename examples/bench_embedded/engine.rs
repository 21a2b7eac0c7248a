//! The engine itself: what the supervisor runs, with its own broker or with the embedded queues.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use syncline::app::{RandomIds, SystemClock};
use syncline::backends::embedded::{Embedded, Options};
use syncline::config::Config;
use syncline::domain::ids::SystemName;
use syncline::engine::handlers::Handlers;
use syncline::engine::settings::Settings;
use syncline::engine::supervisor::{self, Parts, Running};
use syncline::ports::broker::{Broker, Delivery, Inbox, LocalQueues, OutboundMessage};
use syncline::ports::clock::Clock;
use syncline::ports::error::PortError;
use tokio::sync::Notify;

use crate::machine::{private_mib, processor};
use crate::workload::{CONFIG, message, shuffled};

async fn start(embedded: &Embedded, broker: Arc<dyn Broker>, push: bool) -> Running {
    let mut config = Config::from_toml(CONFIG, "bench.toml").unwrap();
    config.orchestration.push_updates = push;
    let parts = Parts {
        store: embedded.store.clone(),
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
pub async fn idle(folder: &Path) {
    let embedded = Embedded::open(folder, &Options::default()).unwrap();
    let running = start(&embedded, embedded.broker.clone(), true).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    println!("idle: {:.1} MiB private memory", private_mib());
    running.stop().await.unwrap();
}

/// A broker without a queue: messages are made when they are received.
#[derive(Debug)]
struct Source {
    pass: AtomicU64,
    next: AtomicU64,
    count: u64,
    settled: AtomicU64,
    rings: Notify,
}

impl Source {
    fn new(count: u64) -> Self {
        Self { pass: AtomicU64::new(0), next: AtomicU64::new(u64::MAX / 2), count, settled: AtomicU64::new(0), rings: Notify::new() }
    }

    /// Hands out every record in its next state and waits until all are settled; returns updates per second.
    async fn pass(&self, pass: u64) -> f64 {
        let start = Instant::now();
        self.settled.store(0, Ordering::SeqCst);
        self.pass.store(pass, Ordering::SeqCst);
        self.next.store(0, Ordering::SeqCst);
        self.rings.notify_one();
        while self.settled.load(Ordering::SeqCst) < self.count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.count as f64 / start.elapsed().as_secs_f64()
    }
}

#[async_trait]
impl Broker for Source {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let pass = self.pass.load(Ordering::SeqCst);
        let first = self.next.fetch_add(max as u64, Ordering::SeqCst);
        if first >= self.count {
            let _ = tokio::time::timeout(wait, self.rings.notified()).await;
            return Ok(Vec::new());
        }
        let now = SystemClock.now();
        let delivery = |i| {
            let n = if pass == 0 { i } else { shuffled(i, self.count) };
            Delivery {
                tag: i,
                body: message(n, pass),
                message_id: None,
                received_at: now,
                deliveries: 1,
                origin: None,
                given_up: None,
                trace: None,
            }
        };
        Ok((first..(first + max as u64).min(self.count)).map(delivery).collect())
    }

    async fn give_again(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        self.settled.fetch_add(tags.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        messages.iter().map(|_| Ok(())).collect()
    }
}

/// Watches the private memory; the highest value is what counts.
fn watch_memory() -> Arc<Mutex<f64>> {
    let highest = Arc::new(Mutex::new(0.0_f64));
    let watched = highest.clone();
    tokio::spawn(async move {
        loop {
            let now = private_mib();
            raise(&watched, now);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    highest
}

fn raise(highest: &Mutex<f64>, now: f64) {
    let mut highest = highest.lock().unwrap();
    *highest = highest.max(now);
}

fn spent(before: [f64; 3], updates: u64) -> String {
    let now = processor();
    let each: Vec<f64> = now.iter().zip(before).map(|(now, before)| (now - before) / updates as f64 * 1e6).collect();
    format!("processor per update: writer {:.1} us, log {:.1} us, all else {:.1} us", each[0], each[1], each[2])
}

/// New records, then changes of known ones: canonical, decision and links are committed; there is no queue.
pub async fn batch_path(folder: &Path, updates: u64) {
    let embedded = Embedded::open(folder, &Options::default()).unwrap();
    let source = Arc::new(Source::new(updates));
    let running = start(&embedded, source.clone(), false).await;
    let highest = watch_memory();
    let before = processor();
    let fresh = source.pass(0).await;
    let spent_fresh = spent(before, updates);
    let (hits, misses) = running.caches.id_hits_and_misses();
    let before = processor();
    let changed = source.pass(1).await;
    let spent_changed = spent(before, updates);
    let (hits, misses) = {
        let now = running.caches.id_hits_and_misses();
        (now.0 - hits, now.1 - misses)
    };
    println!("batch path, new records: {fresh:.0} updates/s; {spent_fresh}");
    println!("batch path, known records in another order: {changed:.0} updates/s; {spent_changed}");
    println!("id cache on that second pass: {:.2} % hits", hits as f64 / (hits + misses) as f64 * 100.0);
    println!("at full load: {:.1} MiB private memory", *highest.lock().unwrap());
    running.stop().await.unwrap();
}

/// From a durable inbound row to an outbound message that its system has taken.
pub async fn queue_path(folder: &Path, updates: u64) {
    let embedded = Embedded::open(folder, &Options::default()).unwrap();
    let running = start(&embedded, embedded.broker.clone(), true).await;
    let highest = watch_memory();
    for (pass, what) in [(0, "new records"), (1, "known records")] {
        let before = processor();
        let start = Instant::now();
        let broker = embedded.broker.clone();
        let feed = tokio::spawn(async move {
            for first in (0..updates).step_by(500) {
                let order = |i| if pass == 0 { i } else { shuffled(i, updates) };
                let messages: Vec<_> = (first..(first + 500).min(updates)).map(|i| (None, message(order(i), pass))).collect();
                while broker.enqueue(messages.clone(), SystemClock.now()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        let taken = take(&embedded, updates).await;
        feed.await.unwrap();
        let rate = updates as f64 / start.elapsed().as_secs_f64();
        println!("queue path, {what}: {rate:.0} updates/s ({taken} messages taken); {}", spent(before, updates));
    }
    println!("at full load with queues: {:.1} MiB private memory", *highest.lock().unwrap());
    running.stop().await.unwrap();
}

/// The system takes what waits for it, and lets go of it, until every record's message was taken and the queues are empty.
async fn take(embedded: &Embedded, updates: u64) -> u64 {
    let oem = SystemName::new("oem").unwrap();
    let mut taken = 0;
    loop {
        let leased = embedded.broker.lease(&oem, 1000, Duration::from_secs(60), SystemClock.now()).await.unwrap();
        let gone: Vec<_> = leased.messages.iter().map(|message| (message.record, message.rev)).collect();
        taken += gone.len() as u64;
        if gone.is_empty() {
            let (inbound, _) = embedded.broker.depth().await.unwrap();
            if taken >= updates && inbound == 0 {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        } else {
            embedded.broker.release(&oem, &gone).await.unwrap();
        }
    }
}

/// Notes how long each update took from its arrival until its outcome was durable.
#[derive(Debug)]
struct Timed {
    inner: Arc<dyn Broker>,
    arrived: Mutex<std::collections::HashMap<u64, i64>>,
    took_us: Mutex<Vec<i64>>,
}

impl Timed {
    fn note(&self, tags: &[u64], now: i64) {
        let mut arrived = self.arrived.lock().unwrap();
        self.took_us.lock().unwrap().extend(tags.iter().filter_map(|tag| Some(now - arrived.remove(tag)?)));
    }
}

#[async_trait]
impl Broker for Timed {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        let deliveries = self.inner.receive(max, wait).await?;
        let mut arrived = self.arrived.lock().unwrap();
        arrived.extend(deliveries.iter().map(|delivery| (delivery.tag, delivery.received_at.as_micros())));
        Ok(deliveries)
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.inner.give_again().await
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        self.note(tags, SystemClock.now().as_micros());
        self.inner.settle(tags).await
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        self.inner.publish(messages).await
    }
}

/// A thousand updates a second, one by one, for ten seconds: from being handed in to being committed.
pub async fn latency(folder: &Path) {
    const UPDATES: u64 = 10_000;
    let embedded = Embedded::open(folder, &Options::default()).unwrap();
    let timed = Arc::new(Timed { inner: embedded.broker.clone(), arrived: Mutex::default(), took_us: Mutex::default() });
    let running = start(&embedded, timed.clone(), true).await;
    let begin = Instant::now();
    for n in 0..UPDATES {
        let due = begin + Duration::from_millis(n);
        tokio::time::sleep_until(due.into()).await;
        let broker = embedded.broker.clone();
        tokio::spawn(async move { broker.enqueue(vec![(None, message(n % 5_000, n / 5_000))], SystemClock.now()).await.unwrap() });
    }
    while timed.took_us.lock().unwrap().len() < UPDATES as usize {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut took = timed.took_us.lock().unwrap().clone();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "decision latency at 1,000/s, durable queue to commit: p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    running.stop().await.unwrap();
}
