//! Keeps the relay going: what a commit made due at once, what failed or was forgotten by a scan.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::activity::Activity;
use super::input::InputKind;
use super::pipeline::Committed;
use super::relay::{Pair, Relay};
use super::supervisor::stopped;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::error::PortError;

/// Messages sent in one round.
const ROUND: usize = 1_000;
/// Outbox rows looked at in one scan; the next one goes on where it stopped.
const SCANNED: usize = 2_000;
/// How often the outbox is scanned.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// Pairs remembered; beyond, a scan finds them.
const REMEMBERED: usize = 4_000;
/// How long what was sent waits to be noted as sent, as long as a commit may bring more: noting many at once costs little more than one.
const MARK_WITHIN: Duration = Duration::from_millis(50);
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
    /// By the time at which they may be sent.
    later: BTreeSet<(Timestamp, Pair)>,
    forgot: bool,
}

impl Wanted {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a commit made possible to send.
    pub fn note(&self, committed: &Committed) {
        if committed.due.is_empty() && committed.linked.is_empty() && committed.due_later.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for (at, pair) in &committed.due_later {
            inner.add_later(*at, pair.clone());
        }
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

    /// Waits until something is noted.
    async fn noted(&self) {
        while self.is_empty() {
            self.rings.notified().await;
        }
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

    /// Whether something could not be remembered since this was last asked.
    fn forgot(&self) -> bool {
        std::mem::take(&mut self.inner().forgot)
    }

    /// Moves what may be sent by now to what is to be sent; returns when the next one may.
    fn ripen(&self, now: Timestamp) -> Option<Timestamp> {
        let mut inner = self.inner();
        while inner.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, pair)) = inner.later.pop_first() {
                inner.add(pair);
            }
        }
        inner.later.first().map(|(at, _)| *at)
    }

    fn add_later(&self, at: Timestamp, pairs: Vec<Pair>) {
        let mut inner = self.inner();
        for pair in pairs {
            inner.add_later(at, pair);
        }
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

    fn add_later(&mut self, at: Timestamp, pair: Pair) {
        // Beyond the bound a scan finds it, some time after it may be sent.
        if self.later.len() < REMEMBERED {
            self.later.insert((at, pair));
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
    /// Where is decided what has to be before more can be sent, or noted as sent.
    pub again: mpsc::Sender<InputKind>,
    /// Where is seen that it works.
    pub activity: Arc<Activity>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where the next scan starts.
    pub position: u64,
    /// Systems that can't be sent anything for now: until when, and after how many failures.
    pub backoff: HashMap<SystemName, (Timestamp, u32)>,
    /// When what was sent is noted as sent at the latest; the engine does not rest before.
    pub mark_by: Option<Instant>,
    /// Whether there are others who look through the outbox: what is not noted they would send again.
    pub others: Arc<AtomicBool>,
}

impl Dispatch {
    /// Sends until told to stop; then sends what is still noted, and ends.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(SCAN_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (wanted, activity) = (self.wanted.clone(), self.activity.clone());
        // What was owed before this start is not noted anywhere.
        wanted.inner().forgot = true;
        loop {
            let stopping = *stop.borrow();
            let mut looks = 0;
            let ripe = wanted.ripen(self.clock.now());
            if stopping && wanted.is_empty() {
                self.mark(true).await;
                return;
            }
            if !stopping && wanted.is_empty() && wanted.forgot() {
                self.scan().await;
                // A page may not have been all of it.
                wanted.inner().forgot |= self.position != 0;
            } else if !stopping {
                let next = ripe.map_or(SCAN_EVERY, |at| at.since(self.clock.now()));
                // The tick comes first: what was held or not remembered is looked at however much is noted.
                tokio::select! {
                    biased;
                    _ = tick.tick() => self.scan().await,
                    asked = activity.sender_is_to_look() => looks = asked,
                    () = wanted.noted() => {}
                    () = tokio::time::sleep(next), if ripe.is_some() => continue,
                    () = tokio::time::sleep_until(self.mark_by.unwrap_or_else(Instant::now)), if self.mark_by.is_some() => {}
                    () = stopped(&mut stop) => {}
                }
            }
            // Busy before anything is taken from what is noted: whoever waits for rest sees one or the other.
            let _busy = activity.busy(looks);
            if looks > 0 {
                wanted.ripen(self.clock.now());
                self.scan().await;
            }
            if let Err(error) = self.round().await {
                tracing::warn!(error = %error, "can't look for what is to be sent; trying again");
                if stopping {
                    self.mark(true).await;
                    return;
                }
                tokio::time::sleep(FIRST_WAIT).await;
            }
            self.mark(stopping).await;
        }
    }

    /// Notes what was sent, if it is time.
    async fn mark(&mut self, at_once: bool) {
        if !self.relay.is_marked() {
            if self.mark_by.is_none() {
                self.activity.begin();
            }
            let by = *self.mark_by.get_or_insert_with(|| Instant::now() + MARK_WITHIN);
            if !at_once && self.activity.is_committing() && Instant::now() < by {
                return;
            }
            if let Err(error) = self.relay.mark_sent().await {
                tracing::warn!(error = %error, "can't note what was sent; it is sent once more");
            }
        }
        if self.mark_by.take().is_some() {
            self.activity.end(1);
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
        pairs.retain(|(record, system)| {
            let until = self.backoff.get(system).map(|(until, _)| *until).filter(|until| *until > now);
            if let Some(until) = until {
                self.wanted.add_later(until, vec![(*record, system.clone())]);
            }
            until.is_none()
        });
        if pairs.is_empty() {
            return Ok(());
        }
        let tried: HashSet<SystemName> = pairs.iter().map(|(_, system)| system.clone()).collect();
        self.relay.marks_later = !self.others.load(Ordering::Relaxed);
        let sent = self.relay.send(pairs.clone(), now).await;
        // Nobody else would look at them before a scan comes by, which may be long.
        let round = sent.inspect_err(|_| self.wanted.add_all(pairs))?;
        for system in tried {
            let failed: Vec<Pair> = round.failed.iter().filter(|pair| pair.1 == system).cloned().collect();
            if !failed.is_empty() {
                let failures = self.backoff.get(&system).map_or(0, |(_, failures)| *failures) + 1;
                let until = now.plus(FIRST_WAIT.saturating_mul(1 << failures.min(12)).min(LAST_WAIT));
                self.wanted.add_later(until, failed);
                self.backoff.insert(system, (until, failures));
            } else {
                self.backoff.remove(&system);
            }
        }
        for (record, what) in round.again {
            self.activity.begin();
            // If nobody takes it any more, the engine is stopping; the next scan after a start finds it again.
            let _ = self.again.send(InputKind::Resend { record, what }).await;
        }
        Ok(())
    }
}
