//! What a batch came to, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::domain::decision::DecisionKind;
use crate::domain::ids::{EntityType, SystemName};

/// `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Updates fed in by this run, receipts of `--apply` among them.
    pub updates: u64,
    /// Rows by kind.
    pub decisions: BTreeMap<DecisionKind, u64>,
    /// Records by type.
    pub canonical: BTreeMap<EntityType, u64>,
    /// Messages by system.
    pub outbound: BTreeMap<SystemName, u64>,
    /// Updates that wait.
    pub parked: u64,
    /// Messages that can't be processed.
    pub dead_letters: u64,
    /// From the first line to the last commit; 0 in a seeded run.
    pub seconds: f64,
    /// Updates over seconds; 0 in a seeded run.
    pub updates_per_second: f64,
}

impl Summary {
    /// Fills in the rate.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn with_rate(mut self) -> Self {
        if self.seconds > 0.0 {
            self.updates_per_second = (self.updates as f64 / self.seconds).round();
            self.seconds = (self.seconds * 1000.0).round() / 1000.0;
        }
        self
    }

    /// For people.
    #[must_use]
    pub fn table(&self, out: &Path) -> String {
        let mut text = String::new();
        let mut row = |label: &str, what: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{label:<14}{what}");
        };
        row("updates", self.updates.to_string());
        let kinds = self.decisions.iter().filter(|(_, count)| **count > 0);
        row("decisions", listed(kinds.map(|(kind, count)| format!("{count} {}", kind.as_str().replace('_', " ")))));
        row("records", listed(self.canonical.iter().map(|(kind, count)| format!("{count} {kind}"))));
        row("outbound", listed(self.outbound.iter().map(|(system, count)| format!("{count} to {system}"))));
        row("waiting", self.parked.to_string());
        row("dead letters", self.dead_letters.to_string());
        if self.seconds > 0.0 {
            row("time", format!("{:.2} s ({:.0} updates a second)", self.seconds, self.updates_per_second));
        }
        row("written to", out.display().to_string());
        text.trim_end().to_owned()
    }
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
