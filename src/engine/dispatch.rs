//! Keeps the relay going: what a commit made due at once, what failed or was forgotten by a scan.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::input::InputKind;
use super::pipeline::Committed;
use super::relay::{Pair, Relay};
use super::supervisor::stopped;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::error::PortError;

/// Messages sent in one round.
const ROUND: usize = 500;
/// Outbox rows looked at in one scan; the next one goes on where it stopped.
const SCANNED: usize = 5_000;
/// How often the outbox is scanned.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Pairs remembered; beyond, the scan finds them.
const REMEMBERED: usize = 50_000;
/// The wait after a system could not be sent something, doubled up to the last one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// What there is to send, between those who commit and the one who sends. Taking in never waits.
#[derive(Debug, Default)]
pub struct Wanted {
    inner: Mutex<Inner>,
    rings: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    pairs: VecDeque<Pair>,
    known: HashSet<Pair>,
    linked: Vec<(CanonicalId, SystemName)>,
    forgot: bool,
}

impl Wanted {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a commit made possible to send.
    pub fn note(&self, committed: &Committed) {
        if committed.due.is_empty() && committed.linked.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for pair in &committed.due {
            inner.add(pair.clone());
        }
        for (key, id) in &committed.linked {
            if inner.linked.len() < REMEMBERED {
                inner.linked.push((*id, key.system.clone()));
            } else {
                inner.forgot = true;
            }
        }
        drop(inner);
        self.rings.notify_one();
    }

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.pairs.is_empty() && inner.linked.is_empty()
    }

    fn take(&self, max: usize) -> (Vec<Pair>, Vec<(CanonicalId, SystemName)>) {
        let mut inner = self.inner();
        let count = inner.pairs.len().min(max);
        let pairs: Vec<Pair> = inner.pairs.drain(..count).collect();
        for pair in &pairs {
            inner.known.remove(pair);
        }
        (pairs, std::mem::take(&mut inner.linked))
    }

    fn add_all(&self, pairs: Vec<Pair>) {
        let mut inner = self.inner();
        for pair in pairs {
            inner.add(pair);
        }
    }
}

impl Inner {
    fn add(&mut self, pair: Pair) {
        if self.known.len() >= REMEMBERED {
            self.forgot = true;
        } else if self.known.insert(pair.clone()) {
            self.pairs.push_back(pair);
        }
    }
}

/// The one who sends.
#[derive(Debug)]
pub struct Dispatch {
    /// Sends.
    pub relay: Relay,
    /// What to send.
    pub wanted: Arc<Wanted>,
    /// Where a create that has to go without a reference is decided again.
    pub again: mpsc::Sender<InputKind>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where the next scan starts.
    pub position: u64,
    /// Systems that can't be sent anything for now: until when, and after how many failures.
    pub backoff: HashMap<SystemName, (Timestamp, u32)>,
}

impl Dispatch {
    /// Sends until told to stop; then sends what is still noted, and ends.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(SCAN_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let wanted = self.wanted.clone();
        loop {
            let stopping = *stop.borrow();
            if stopping && wanted.is_empty() {
                return;
            }
            if !stopping && wanted.is_empty() {
                tokio::select! {
                    () = wanted.rings.notified() => {}
                    _ = tick.tick() => self.scan().await,
                    () = stopped(&mut stop) => {}
                }
            }
            if let Err(error) = self.round().await {
                tracing::warn!(error = %error, "can't look for what is to be sent; trying again");
                if stopping {
                    return;
                }
                tokio::time::sleep(FIRST_WAIT).await;
            }
        }
    }

    /// Looks at the next part of the outbox.
    async fn scan(&mut self) {
        match self.relay.scan(self.position, SCANNED).await {
            Ok((pairs, next)) => {
                self.position = next.unwrap_or(0);
                self.wanted.add_all(pairs);
            }
            Err(error) => tracing::warn!(error = %error, "can't scan the outbox; trying again"),
        }
    }

    async fn round(&mut self) -> Result<(), PortError> {
        let (mut pairs, linked) = self.wanted.take(ROUND);
        for (record, system) in linked {
            pairs.extend(self.relay.unhold(record, &system));
        }
        let now = self.clock.now();
        self.backoff.retain(|_, (until, failures)| *until > now || *failures > 0);
        pairs.retain(|(_, system)| self.backoff.get(system).is_none_or(|(until, _)| *until <= now));
        if pairs.is_empty() {
            return Ok(());
        }
        let tried: HashSet<SystemName> = pairs.iter().map(|(_, system)| system.clone()).collect();
        let round = self.relay.send(pairs, now).await?;
        let failed: HashSet<SystemName> = round.failed.into_iter().map(|(_, system)| system).collect();
        for system in tried {
            if failed.contains(&system) {
                let failures = self.backoff.get(&system).map_or(0, |(_, failures)| *failures) + 1;
                let wait = FIRST_WAIT.saturating_mul(1 << failures.min(12)).min(LAST_WAIT);
                self.backoff.insert(system, (now.plus(wait), failures));
            } else {
                self.backoff.remove(&system);
            }
        }
        for (record, system, field) in round.omit {
            // If nobody takes it any more, the engine is stopping; the next scan after a start finds it again.
            let _ = self.again.send(InputKind::Resend { record, omit: Some((system, field)) }).await;
        }
        Ok(())
    }
}
