//! When messages that have come are handed on to the one who decides.
//!
//! Every batch costs a few questions to the store, be it large or small. So messages are gathered while a commit is under way:
//! what they wait for then they would wait for decided, too. Without one nothing is gained by waiting. They are handed on when the
//! commit is expected to be nearly done, so that they are decided by then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ports::broker::{Broker, Delivery};
use crate::ports::error::PortError;

/// How long one look for messages lasts.
const LOOK: Duration = Duration::from_secs(1);
/// A commit that took longer, in microseconds, counts as this.
const COMMIT_MAX: u64 = 100_000;

/// Whether the one who decides has nothing else to do.
#[derive(Debug, Default)]
pub struct Demand {
    asks: AtomicBool,
    rings: Notify,
    /// How long a commit takes lately, in microseconds.
    commit_us: AtomicU64,
}

impl Demand {
    /// Says so.
    pub fn ask(&self) {
        if !self.asks.swap(true, Ordering::SeqCst) {
            self.rings.notify_one();
        }
    }

    /// It is busy again.
    pub fn withdraw(&self) {
        self.asks.store(false, Ordering::SeqCst);
    }

    /// Notes how long a commit took.
    pub fn took(&self, commit: Duration) {
        let took = u64::try_from(commit.as_micros()).unwrap_or(u64::MAX).min(COMMIT_MAX);
        let usual = self.commit_us.load(Ordering::Relaxed);
        self.commit_us.store(usual - usual / 4 + took / 4, Ordering::Relaxed);
    }

    /// How long what comes during a commit may wait for more.
    fn patience(&self) -> Duration {
        Duration::from_micros(self.commit_us.load(Ordering::Relaxed) * 3 / 5)
    }

    /// Waits until it is so. It is answered once for each time it is said.
    pub async fn asked(&self) {
        while !self.asks.swap(false, Ordering::SeqCst) {
            self.rings.notified().await;
        }
    }
}

type Look = Pin<Box<dyn Future<Output = Result<Vec<Delivery>, PortError>> + Send>>;

/// Gathers messages batch by batch.
pub struct Gathering {
    broker: Arc<dyn Broker>,
    demand: Arc<Demand>,
    /// Messages of a batch at most.
    size: usize,
    /// How long the first message of a batch waits for the others, unless the batch is asked for. Longer while commits take longer.
    timeout: Duration,
    /// The look for messages that is under way. It is not given up half-way: what it has taken would not come again before the
    /// next start.
    look: Option<Look>,
}

impl std::fmt::Debug for Gathering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathering").field("demand", &self.demand).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Gathering {
    /// From a broker, for whoever asks.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, demand: Arc<Demand>, size: usize, timeout: Duration) -> Self {
        Self { broker, demand, size, timeout, look: None }
    }

    /// The next batch; an empty one if nothing came for a while.
    pub async fn next(&mut self) -> Result<Vec<Delivery>, PortError> {
        let (mut gathered, mut until) = (Vec::new(), None);
        while gathered.len() < self.size {
            let room = self.size - gathered.len();
            let look = self.look.get_or_insert_with(|| {
                let broker = self.broker.clone();
                Box::pin(async move { broker.receive(room, LOOK).await })
            });
            tokio::select! {
                biased;
                found = look => {
                    self.look = None;
                    match found {
                        Ok(found) if found.is_empty() => break,
                        Ok(mut found) => gathered.append(&mut found),
                        Err(error) if gathered.is_empty() => return Err(error),
                        // The next look meets it again.
                        Err(_) => break,
                    }
                    until.get_or_insert_with(|| Instant::now() + self.timeout.max(self.demand.patience()));
                }
                () = ripe(&self.demand, until) => break,
            }
        }
        Ok(gathered)
    }

    /// What was handed on came to nothing.
    pub fn ask_again(&self) {
        self.demand.ask();
    }

    /// Forgets what is under way: everything that is not settled is given out once more.
    pub fn begin_anew(&mut self) {
        self.look = None;
    }
}

/// Waits until what is gathered is asked for, or has waited long enough; for ever where nothing is.
async fn ripe(demand: &Demand, until: Option<Instant>) {
    let Some(until) = until else { return std::future::pending().await };
    tokio::select! {
        () = demand.asked() => {}
        () = tokio::time::sleep_until(until) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    async fn waited(demand: &Demand, until: Option<Instant>) -> Duration {
        let began = Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(99), ripe(demand, until)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_does_not_wait() {
        let demand = Demand::default();
        demand.ask();
        assert_eq!(waited(&demand, Some(Instant::now() + LONG)).await, Duration::ZERO);
        assert_eq!(waited(&demand, Some(Instant::now() + LONG)).await, LONG, "it was answered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_waits_no_longer_than_it_may() {
        let demand = Demand::default();
        demand.ask();
        demand.withdraw();
        assert_eq!(waited(&demand, Some(Instant::now() + LONG)).await, LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_never_ripe() {
        let demand = Demand::default();
        demand.ask();
        assert_eq!(waited(&demand, None).await, Duration::from_secs(99));
    }
}
