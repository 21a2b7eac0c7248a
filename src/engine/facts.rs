//! What those are told who only listen: one small fact per decision (§2.1, `{prefix}.events`).
//!
//! Facts are published after the commit and before the messages they come from are acknowledged. A crash in between may
//! publish one twice, or leave out one whose message is only found to be decided when it comes again: for caches and search, not
//! for keeping a copy without the decision log beside it.

use serde_json::json;

use crate::domain::decision::Decision;
use crate::ports::broker::Fact;

/// The fact about a decision.
#[must_use]
pub fn fact(decision: &Decision) -> Fact {
    let body = json!({
        "update": decision.update, "timestamp": decision.timestamp, "type": decision.entity_type, "canonical_id": decision.canonical_id,
        "source_system": decision.source_system, "native_id": decision.native_id, "op": decision.op,
        "decision": decision.decision, "changed": decision.changed, "version": decision.version_after,
    });
    Fact {
        id: format!("{}@{}", decision.update, decision.timestamp.as_micros()),
        routing_key: format!("{}.{}", decision.entity_type, decision.decision.as_str()),
        body: body.to_string().into_bytes(),
    }
}
