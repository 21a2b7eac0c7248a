//! The outbox of the reference store: what each system is owed, and what a receipt or a confirmation makes of it.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{CanonicalId, SystemName};
use crate::ports::store::{OutboxChange, Owed, Published};

/// What each system is owed of each record, in the order it became due.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    rows: HashMap<(CanonicalId, SystemName), (u64, Owed)>,
    order: BTreeMap<u64, (CanonicalId, SystemName)>,
    last: u64,
}

impl Outbox {
    pub fn get(&self, pair: &(CanonicalId, SystemName)) -> Option<&Owed> {
        self.rows.get(pair).map(|(_, owed)| owed)
    }

    /// Rows after a position, in order.
    pub fn after(&self, position: u64) -> impl Iterator<Item = (u64, Owed)> {
        let rows = self.order.range(position.saturating_add(1)..);
        rows.filter_map(|(position, pair)| self.get(pair).map(|owed| (*position, owed.clone())))
    }

    pub fn change(&mut self, record: CanonicalId, change: &OutboxChange) {
        match change {
            OutboxChange::Due { system, rev } => {
                let blank = || Owed { delivered: rev.saturating_sub(1), ..blank(record, system) };
                let mut owed = self.get(&(record, system.clone())).cloned().unwrap_or_else(blank);
                if owed.rev < *rev {
                    owed.rev = *rev;
                    self.put(owed);
                }
            }
            OutboxChange::Applied { system, rev } => self.settle(record, system, *rev, true),
            OutboxChange::Rejected { system, rev } => self.settle(record, system, *rev, false),
            OutboxChange::Failed { system, rev, retry_at } => {
                let mut owed = self.get(&(record, system.clone())).cloned().unwrap_or_else(|| blank(record, system));
                owed.rev = owed.rev.max(*rev);
                owed.published = 0;
                // The message did not arrive, so its fields are named again.
                owed.delivered = 0;
                owed.attempts += 1;
                owed.retry_at = Some(*retry_at);
                self.put(owed);
            }
        }
    }

    /// The system has answered `rev` for good: what is newer is still owed.
    fn settle(&mut self, record: CanonicalId, system: &SystemName, rev: u64, applied: bool) {
        let Some(mut owed) = self.get(&(record, system.clone())).cloned() else { return };
        if rev >= owed.rev {
            self.remove(&(record, system.clone()));
        } else if rev >= owed.published || !applied {
            owed.published = 0;
            owed.attempts = 0;
            owed.retry_at = None;
            if applied {
                owed.delivered = owed.delivered.max(rev);
            }
            self.put(owed);
        }
    }

    pub fn published(&mut self, message: &Published) {
        let pair = (message.record, message.system.clone());
        let Some((_, owed)) = self.rows.get_mut(&pair) else { return };
        if message.rev >= owed.rev && !message.awaits_receipt {
            self.remove(&pair);
        } else if message.rev > owed.delivered {
            // Else its receipt was faster than the broker's confirmation.
            owed.published = message.rev;
            owed.delivered = message.rev;
        }
    }

    /// Keeps the row at the end of the order: it became due again.
    fn put(&mut self, owed: Owed) {
        self.last += 1;
        let pair = (owed.record, owed.system.clone());
        self.remove(&pair);
        self.order.insert(self.last, pair.clone());
        self.rows.insert(pair, (self.last, owed));
    }

    fn remove(&mut self, pair: &(CanonicalId, SystemName)) {
        if let Some((position, _)) = self.rows.remove(pair) {
            self.order.remove(&position);
        }
    }
}

fn blank(record: CanonicalId, system: &SystemName) -> Owed {
    Owed { record, system: system.clone(), rev: 0, published: 0, delivered: 0, retry_at: None, attempts: 0 }
}
