//! What every test of the engine brings along in place of the world: a clock, ids in order, and an outbound side.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use syncline::domain::decision::Logging;
use syncline::domain::ids::{CanonicalId, EntityType};
use syncline::domain::time::Timestamp;
use syncline::engine::directory::Directory;
use syncline::engine::settings::Settings;
use syncline::ports::broker::{Broker, Delivery, OutboundMessage};
use syncline::ports::clock::{Clock, Ids};
use syncline::ports::error::PortError;
use syncline::ports::store::Store;
use syncline::views::verify::{Declared, Kept, verify};

/// A clock that goes when it is told to.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// It shows this many microseconds.
    pub const fn at(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    /// Time passes.
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Canonical ids one after the other.
#[derive(Debug)]
pub struct CountedIds {
    base: u128,
    next: AtomicU64,
}

impl CountedIds {
    /// The first is one more than `base`.
    pub const fn after(base: u128) -> Self {
        Self { base, next: AtomicU64::new(1) }
    }
}

impl Ids for CountedIds {
    fn canonical(&self, _: Timestamp) -> CanonicalId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        CanonicalId(uuid::Uuid::from_u128(self.base + u128::from(n)))
    }
}

/// Takes every outbound message, until somebody fetches them.
#[derive(Debug, Default)]
pub struct Mail(Mutex<Vec<OutboundMessage>>);

impl Mail {
    /// What has come since the last call.
    pub fn take(&self) -> Vec<OutboundMessage> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl Broker for Mail {
    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Delivery>, PortError> {
        Ok(Vec::new())
    }
    async fn give_again(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn settle(&self, _: &[u64]) -> Result<(), PortError> {
        Ok(())
    }
    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        let count = messages.len();
        self.0.lock().unwrap().extend(messages);
        (0..count).map(|_| Ok(())).collect()
    }
}

/// What `syncline verify` finds broken in a store.
pub async fn broken(store: &dyn Store, settings: &Settings, now: Timestamp) -> Vec<String> {
    let directory = Directory::new(settings.rules.clone(), store.facts().await.unwrap());
    let targets = |entity_type: &EntityType| directory.targets(entity_type);
    let declared = Declared { rules: &settings.rules, targets: &targets };
    let kept = Kept::at(now, settings.keep.others, settings.keep.deleted, settings.rules.logging != Logging::None);
    verify(store, Some(declared), kept).await.unwrap().broken
}
