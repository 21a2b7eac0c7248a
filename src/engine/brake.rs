//! The create brake: too many new records for one system at once wait for a person (§1.9).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::ids::{EntityType, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::hold::{Hold, HoldRow};

/// How many creates a system may be sent of one type, and within what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub count: usize,
    /// Within this time.
    pub window: Duration,
}

/// What is kept back in one round of sending. Counts anew after a start.
#[derive(Debug, Default)]
pub struct Brake {
    /// `None`: there is no limit.
    pub limit: Option<Limit>,
    sent: HashMap<(SystemName, EntityType), VecDeque<Timestamp>>,
    rows: HashMap<Hold, HoldRow>,
    /// Brakes pulled in this round, to be kept.
    pub pulled: Vec<HoldRow>,
}

impl Brake {
    /// Begins a round with what the store says is kept back.
    pub fn begin(&mut self, rows: Vec<HoldRow>) {
        self.rows = rows.into_iter().map(|row| (row.hold.clone(), row)).collect();
        self.pulled.clear();
    }

    /// Whether nothing may be sent to a system.
    #[must_use]
    pub fn is_paused(&self, system: &SystemName) -> bool {
        self.rows.get(&Hold::PauseOut { system: system.clone() }).is_some_and(|row| row.holds)
    }

    /// Whether a create may be sent; counts it, and pulls the brake if it is one too many. What was recorded before the
    /// last release goes uncounted: that is what was let go.
    pub fn admits(&mut self, system: &SystemName, entity_type: &EntityType, recorded_at: Timestamp, now: Timestamp) -> bool {
        let Some(limit) = self.limit else { return true };
        let hold = Hold::CreateBrake { system: system.clone(), entity_type: entity_type.clone() };
        let row = self.rows.get(&hold);
        if row.and_then(|row| row.released_at).is_some_and(|at| recorded_at <= at) {
            return true;
        }
        if row.is_some_and(|row| row.holds) {
            return false;
        }
        let sent = self.sent.entry((system.clone(), entity_type.clone())).or_default();
        while sent.front().is_some_and(|first| now.since(*first) >= limit.window) {
            sent.pop_front();
        }
        if sent.len() < limit.count {
            sent.push_back(now);
            return true;
        }
        sent.clear();
        let pulled = HoldRow::begin(hold.clone(), row, now);
        self.pulled.push(pulled.clone());
        self.rows.insert(hold, pulled);
        false
    }
}
