//! What is known about the participating systems.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ViewError;
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::ports::broker::Inbox;
use crate::ports::error::PortErrorKind;
use crate::ports::hold::Hold;
use crate::ports::store::{Store, SystemFacts};
use crate::ports::tally::Tally;

/// Outbox rows read at once.
const PAGE: usize = 1_000;

/// How a system stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Sending some records to it fails again and again.
    Failing,
    /// Somebody has paused it.
    Paused,
    /// It is only looked at (`mode = "observe"`).
    Observed,
    /// It is still to be sent something, or to answer.
    CatchingUp,
    /// It is known to hold everything as it should.
    InSync,
}

/// One system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemRow {
    /// Its name.
    pub system: SystemName,
    /// How it stands.
    pub health: Health,
    /// For how many seconds it has lacked what it lacks longest; 0: it lacks nothing.
    pub lag: u64,
    /// Records it is not known to hold as they should be, for whatever reason.
    pub drift: u64,
    /// Whether it has a section of its own in the configuration.
    pub configured: bool,
    /// Types it is configured for or was seen with.
    pub types: Vec<EntityType>,
    /// It has answered what it was sent.
    pub receipts_seen: bool,
    /// It has said what it had applied.
    pub base_seen: bool,
    /// Records about which it is still to be sent something.
    pub pending: u64,
    /// Records about which it was sent something that it has not answered.
    pub unanswered: u64,
    /// Records whose sending fails again and again.
    pub failing: u64,
    /// Messages that wait for it in its queue; `null` where that is not known.
    pub queued: Option<u64>,
}

/// Every system that is configured or was seen, by name; `tally` is what the store counts.
pub async fn rows(store: &dyn Store, inbox: &dyn Inbox, rules: &Rules, tally: &Tally, now: Timestamp) -> Result<Vec<SystemRow>, ViewError> {
    let mut rows: BTreeMap<SystemName, SystemRow> = BTreeMap::new();
    for (name, system) in &rules.systems {
        let mut row = SystemRow { configured: true, ..fresh(name) };
        row.types.extend(system.types.keys().cloned());
        rows.insert(name.clone(), row);
    }
    for SystemFacts { system, types, receipts_seen, base_seen } in store.facts().await? {
        let row = rows.entry(system.clone()).or_insert_with(|| fresh(&system));
        row.types.extend(types);
        (row.receipts_seen, row.base_seen) = (receipts_seen, base_seen);
    }
    for (system, tally) in tally.by_system() {
        let row = rows.entry(system.clone()).or_insert_with(|| fresh(&system));
        (row.pending, row.unanswered, row.failing) = (tally.pending, tally.unanswered, tally.failing);
    }
    let depths: BTreeMap<SystemName, u64> = match inbox.depth().await {
        Ok((_, depths)) => depths.into_iter().collect(),
        // The rest is known all the same.
        Err(error) if error.kind == PortErrorKind::Unavailable => BTreeMap::new(),
        Err(error) => return Err(error.into()),
    };
    for row in rows.values_mut() {
        let none = inbox.queue_of(&row.system).is_none().then_some(0);
        row.queued = depths.get(&row.system).copied().or(none);
    }
    let paused: Vec<Hold> = store.holds().await?.into_iter().filter(|row| row.holds).map(|row| row.hold).collect();
    let lags = lags(store, tally.by_system().len(), now).await?;
    for row in rows.values_mut() {
        row.types.sort();
        row.types.dedup();
        row.lag = lags.get(&row.system).copied().unwrap_or(0);
        row.drift = row.pending + row.unanswered + row.failing;
        let holds = [Hold::PauseIn { system: row.system.clone() }, Hold::PauseOut { system: row.system.clone() }];
        row.health = match () {
            () if row.failing > 0 => Health::Failing,
            () if holds.iter().any(|hold| paused.contains(hold)) => Health::Paused,
            () if rules.systems.get(&row.system).is_some_and(|rules| rules.defaults.observed) => Health::Observed,
            () if row.drift > 0 => Health::CatchingUp,
            () => Health::InSync,
        };
    }
    Ok(rows.into_values().collect())
}

/// For how many seconds each of the systems that lack something has lacked what it lacks longest.
async fn lags(store: &dyn Store, systems: usize, now: Timestamp) -> Result<BTreeMap<SystemName, u64>, ViewError> {
    let (mut first, mut after) = (BTreeMap::new(), 0);
    while first.len() < systems {
        let page = store.owed(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, owed) in page {
            first.entry(owed.system).or_insert(owed.record);
        }
    }
    let ids: Vec<_> = first.values().copied().collect();
    let records = if ids.is_empty() { Vec::new() } else { store.records(&ids).await? };
    let changed = |id| records.iter().find(|found| found.record.id == id).map(|found| found.record.updated_at);
    Ok(first.into_iter().filter_map(|(system, id)| Some((system, now.since(changed(id)?).as_secs()))).collect())
}

fn fresh(system: &SystemName) -> SystemRow {
    SystemRow {
        system: system.clone(),
        health: Health::InSync,
        lag: 0,
        drift: 0,
        configured: false,
        types: Vec::new(),
        receipts_seen: false,
        base_seen: false,
        pending: 0,
        unanswered: 0,
        failing: 0,
        queued: None,
    }
}
