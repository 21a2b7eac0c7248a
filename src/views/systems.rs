//! What is known about the participating systems.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ViewError;
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::rules::Rules;
use crate::ports::broker::Inbox;
use crate::ports::error::PortErrorKind;
use crate::ports::store::{Store, SystemFacts};
use crate::ports::tally::Tally;

/// One system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemRow {
    /// Its name.
    pub system: SystemName,
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
pub async fn rows(store: &dyn Store, inbox: &dyn Inbox, rules: &Rules, tally: &Tally) -> Result<Vec<SystemRow>, ViewError> {
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
    for row in rows.values_mut() {
        row.types.sort();
        row.types.dedup();
    }
    Ok(rows.into_values().collect())
}

fn fresh(system: &SystemName) -> SystemRow {
    SystemRow {
        system: system.clone(),
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
