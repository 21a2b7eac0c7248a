//! What is told of decisions whose updates belong to a trace.

use super::decide::Decider;
use super::unit::{Sealed, Unit};
use crate::domain::decision::Decision;
use crate::domain::trace::TraceParent;
use crate::telemetry::Span;

impl Decider {
    /// Notes what is to be told once a row is committed. A waiting update is told when it is decided: one span, not two of one id.
    pub(super) fn note_span(&self, unit: &mut Unit, row: &Decision, trace: Option<TraceParent>) {
        if let Some(parent) = trace.filter(|_| self.settings.spans && !row.decision.is_waiting()) {
            unit.spans.insert(row.update.clone(), span(row, parent));
        }
    }
}

impl Sealed {
    /// A span for each row of the commit that belongs to a trace.
    pub(super) fn told(&self) -> Vec<Span> {
        if self.spans.is_empty() {
            return Vec::new();
        }
        let rows = self.batch.plans.iter().flat_map(|plan| &plan.decisions);
        rows.filter_map(|row| self.spans.get(&row.decision.update).cloned()).collect()
    }
}

fn span(row: &Decision, parent: TraceParent) -> Span {
    let mut attributes = vec![
        ("syncline.update", row.update.to_string()),
        ("syncline.system", row.source_system.to_string()),
        ("syncline.type", row.entity_type.to_string()),
        ("syncline.op", row.op.as_str().to_owned()),
        ("syncline.decision", row.decision.as_str().to_owned()),
    ];
    attributes.extend(row.canonical_id.map(|id| ("syncline.record", id.to_string())));
    Span { own: parent.decided(&row.update), parent, name: "decide", inbound: true, start: row.received_at, end: row.timestamp, attributes }
}
