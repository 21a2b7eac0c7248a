//! The outbox of the reference store.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{CanonicalId, SystemName};
use crate::ports::outbox::{Next, changed, confirmed};
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
        let pair = (record, change.system().clone());
        let next = changed(self.get(&pair).cloned(), record, change);
        self.put(pair, next);
    }

    pub fn published(&mut self, message: &Published) {
        let pair = (message.record, message.system.clone());
        if let Some(row) = self.get(&pair).cloned() {
            self.put(pair, confirmed(row, message));
        }
    }

    fn put(&mut self, pair: (CanonicalId, SystemName), next: Next) {
        match next {
            Next::Same => {}
            Next::Gone => self.remove(&pair),
            Next::Noted(owed) => {
                if let Some((_, row)) = self.rows.get_mut(&pair) {
                    *row = owed;
                }
            }
            Next::Due(owed) => {
                self.remove(&pair);
                self.last += 1;
                self.order.insert(self.last, pair.clone());
                self.rows.insert(pair, (self.last, owed));
            }
        }
    }

    fn remove(&mut self, pair: &(CanonicalId, SystemName)) {
        if let Some((position, _)) = self.rows.remove(pair) {
            self.order.remove(&position);
        }
    }
}
