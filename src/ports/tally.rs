//! What is still to be done, counted: for health, metrics and people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::PortError;
use super::store::{Owed, Store};
use crate::domain::ids::{CanonicalId, EntityType, SystemName};

/// Rows read at once.
const PAGE: usize = 1_000;

/// How many rows of each kind there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Outbox rows by system and type of the record.
    pub owed: BTreeMap<(SystemName, EntityType), OwedTally>,
    /// Waiting updates by the code of what they wait for.
    pub waiting: BTreeMap<String, u64>,
    /// Dead letters by the code of their reason.
    pub dead_letters: BTreeMap<String, u64>,
}

/// Outbox rows by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwedTally {
    /// Still to be sent.
    pub pending: u64,
    /// Sent and not answered.
    pub unanswered: u64,
    /// Failed at least once since the last success.
    pub failing: u64,
}

impl OwedTally {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.pending + self.unanswered + self.failing
    }

    /// Counts one row.
    pub fn add(&mut self, owed: &Owed) {
        let count = if owed.attempts > 0 {
            &mut self.failing
        } else if owed.published >= owed.rev {
            &mut self.unanswered
        } else {
            &mut self.pending
        };
        *count += 1;
    }
}

impl Tally {
    /// The outbox rows of each system, whatever the type.
    #[must_use]
    pub fn by_system(&self) -> BTreeMap<SystemName, OwedTally> {
        let mut systems: BTreeMap<SystemName, OwedTally> = BTreeMap::new();
        for ((system, _), tally) in &self.owed {
            let sum = systems.entry(system.clone()).or_default();
            sum.pending += tally.pending;
            sum.unanswered += tally.unanswered;
            sum.failing += tally.failing;
        }
        systems
    }
}

/// How many there are of what is many: counted now and then, as a store may have to look at all of them for that.
#[derive(Debug, Default)]
pub struct RoughCount(Mutex<Option<(u64, Instant)>>);

impl RoughCount {
    /// More than these are many.
    const MANY: u64 = 10_000;
    /// How old an answer may be.
    const AGE: Duration = Duration::from_secs(60);

    /// What was counted lately, if that is many.
    #[must_use]
    pub fn lately(&self) -> Option<u64> {
        let counted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.filter(|(count, at)| *count > Self::MANY && at.elapsed() < Self::AGE).map(|(count, _)| count)
    }

    /// Remembers what was counted.
    pub fn note(&self, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((count, Instant::now()));
    }
}

/// Counts by reading every row, page by page: what a store does that can't count by itself.
pub async fn by_reading<S: Store + ?Sized>(store: &S) -> Result<Tally, PortError> {
    let mut tally = Tally { owed: owed_by_reading(store).await?, ..Tally::default() };
    let mut after = None;
    loop {
        let page = store.list_waiting(after, PAGE).await?;
        for waiting in &page {
            *tally.waiting.entry(waiting.waiting_for.code().to_owned()).or_default() += 1;
        }
        after = page.last().map(|waiting| waiting.arrival);
        if page.len() < PAGE {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = store.dead_letters(after.as_ref(), PAGE).await?;
        for letter in &page.items {
            *tally.dead_letters.entry(letter.reason.to_string()).or_default() += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(tally);
        }
    }
}

/// Counts what is owed by reading it.
pub async fn owed_by_reading<S: Store + ?Sized>(store: &S) -> Result<BTreeMap<(SystemName, EntityType), OwedTally>, PortError> {
    let mut counts: BTreeMap<(SystemName, EntityType), OwedTally> = BTreeMap::new();
    let mut after = Some(0);
    while let Some(position) = after {
        let page = store.owed(position, PAGE).await?;
        after = if page.len() < PAGE { None } else { page.last().map(|(position, _)| *position) };
        let ids: Vec<CanonicalId> = page.iter().map(|(_, owed)| owed.record).collect();
        let records = if ids.is_empty() { Vec::new() } else { store.records(&ids).await? };
        let types: BTreeMap<CanonicalId, EntityType> =
            records.into_iter().map(|versioned| (versioned.record.id, versioned.record.entity_type.clone())).collect();
        for (_, owed) in page {
            if let Some(entity_type) = types.get(&owed.record) {
                counts.entry((owed.system.clone(), entity_type.clone())).or_default().add(&owed);
            }
        }
    }
    Ok(counts)
}
