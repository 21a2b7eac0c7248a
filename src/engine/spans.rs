//! What is told of a commit's decisions where their updates belong to a trace.

use std::collections::HashMap;
use std::sync::Arc;

use super::input::{Input, InputKind};
use super::unit::Sealed;
use crate::domain::change::Inbound;
use crate::domain::decision::Decision;
use crate::domain::ids::UpdateId;
use crate::domain::trace::TraceParent;
use crate::telemetry::Span;

impl Sealed {
    /// A span for each decision about an update that named a trace.
    pub(super) fn spans(&self) -> Vec<Span> {
        if !cfg!(feature = "otel") {
            return Vec::new();
        }
        let mut traces = HashMap::new();
        self.inputs.iter().flatten().for_each(|input| note(input, &mut traces));
        if traces.is_empty() {
            return Vec::new();
        }
        let rows = self.batch.plans.iter().flat_map(|plan| &plan.decisions).map(|row| &row.decision);
        rows.filter_map(|row| Some(span(row, *traces.get(&row.update)?))).collect()
    }
}

fn note(input: &Input, traces: &mut HashMap<UpdateId, TraceParent>) {
    match &input.kind {
        InputKind::Message(message) => note_message(message, traces),
        InputKind::Awake(waiting) => {
            let trace = waiting.message.get("traceparent").and_then(|text| text.as_str()).and_then(|text| text.parse().ok());
            traces.extend(trace.map(|trace| (waiting.update.clone(), trace)));
        }
        InputKind::Broken(_) | InputKind::Resend { .. } | InputKind::Step(_) | InputKind::Act(_) => {}
    }
}

fn note_message(message: &Arc<Inbound>, traces: &mut HashMap<UpdateId, TraceParent>) {
    fn one(message: &Inbound, traces: &mut HashMap<UpdateId, TraceParent>) {
        match message {
            Inbound::Change(change) => traces.extend(change.trace.map(|trace| (change.update.clone(), trace))),
            Inbound::Receipt(receipt) => traces.extend(receipt.trace.map(|trace| (receipt.update.clone(), trace))),
            Inbound::ChangeSet { updates, .. } => updates.iter().for_each(|update| one(update, traces)),
        }
    }
    one(message, traces);
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
