//! From a proposal and an answer to the decision and the record it leaves behind. Pure.

use std::time::Duration;

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::decide::{Arrival, Footing, Proposal, Situation, trusted_time};
use super::decision::{Decision, DecisionKind, Winner};
use super::explain;
use super::handler::{Answer, Verdict};
use super::ids::CanonicalId;
use super::planted;
use super::provenance::{ByKind, DecidedBy, Source};
use super::representation::same_set;
use super::rules::TypeRules;
use super::shadow::FieldChange;
use super::survivorship::{Rule, outranks};
use super::undecided::keep_waiting;
use super::value::{FieldPath, Leaves, same_held};
use super::waiting::{WaitingChange, WaitingFor};

/// What became of a change.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The decision row.
    pub decision: Decision,
    /// What it waits for, if it does.
    pub waits: Option<Waits>,
}

/// What a change waits for, and how it comes back.
#[derive(Clone, Debug)]
pub struct Waits {
    /// What for.
    pub waiting_for: WaitingFor,
    /// How much later it is tried again; `None`: when what it waits for comes.
    pub retry_after: Option<Option<Duration>>,
    /// The stored change, where the record is known.
    pub change: Option<WaitingChange>,
    /// Whether the record stays as it was before the change, its shadow included.
    pub untouched: bool,
}

/// Decides a proposal by the handlers' answer. `before` is the record as it was loaded.
pub fn conclude(
    record: &mut CanonicalRecord,
    before: &CanonicalRecord,
    proposal: &Proposal,
    answer: Answer,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Outcome {
    let mut decision = blank(arrival, situation, Some(record.id));
    decision.version_before = before.version;
    decision.version_after = before.version;
    decision.changed = proposal.changes.iter().map(|change| change.path.clone()).collect();
    decision.conflicts.clone_from(&proposal.conflicts);
    decision.proposed_snapshot = Some(proposal.proposed.clone());
    if let Some(by) = &answer.by {
        decision.decided_by.clone_from(by);
    } else if let Some(approval) = &arrival.approval {
        decision.decided_by = DecidedBy::named(ByKind::Person, approval.by.clone());
    }
    match answer.verdict {
        Verdict::Accept { reason } => {
            accept(record, before, proposal, answer.record, reason, &mut decision, arrival, situation);
            Outcome { decision, waits: None }
        }
        Verdict::Skip { reason } => {
            decision.decision = DecisionKind::Dropped;
            decision.modified_fields.clone_from(&decision.changed);
            for conflict in &mut decision.conflicts {
                conflict.winner = Winner::Ours;
                conflict.rule = answer.by.as_ref().and_then(|by| by.name.clone()).unwrap_or_else(|| "skip".to_owned());
            }
            decision.reason = reason;
            Outcome { decision, waits: None }
        }
        Verdict::Defer { reason, after } => {
            wait(record, before, proposal, decision, reason, WaitingFor::Time, Some(after), arrival, situation)
        }
        Verdict::Review { reason } => wait(record, before, proposal, decision, reason, WaitingFor::Review, None, arrival, situation),
    }
}

/// A decision row about an arrival that says nothing yet.
#[must_use]
pub fn blank(arrival: &Arrival<'_>, situation: &Situation<'_>, canonical_id: Option<CanonicalId>) -> Decision {
    let change = arrival.change;
    Decision {
        update: change.update.clone(),
        timestamp: situation.now,
        entity_type: change.key.entity_type.clone(),
        canonical_id,
        source_system: change.key.system.clone(),
        native_id: Some(change.key.native_id.clone()),
        op: change.op(),
        decision: DecisionKind::Unchanged,
        reason: String::new(),
        decided_by: DecidedBy::DEFAULT,
        proposed_snapshot: None,
        accepted_snapshot: None,
        changed: Vec::new(),
        modified_fields: Vec::new(),
        not_applied: Vec::new(),
        conflicts: Vec::new(),
        version_before: 0,
        version_after: 0,
        attempts: arrival.attempt,
        notified: Vec::new(),
        received_at: arrival.received_at,
        duration_us: u64::try_from(situation.now.since(arrival.received_at).as_micros()).unwrap_or(u64::MAX),
        trace_id: arrival.change.trace.map(|trace| trace.trace_id()),
        change_set: None,
        config: situation.rules.config_hash.to_string(),
    }
}

#[allow(clippy::too_many_arguments)]
fn wait(
    record: &mut CanonicalRecord,
    before: &CanonicalRecord,
    proposal: &Proposal,
    mut decision: Decision,
    reason: String,
    waiting_for: WaitingFor,
    retry_after: Option<Option<Duration>>,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Outcome {
    decision.decision = if retry_after.is_some() { DecisionKind::Deferred } else { DecisionKind::Parked };
    decision.reason = reason;
    // A deleted record stays as it is until it is brought back.
    let known = before.tombstone.is_none() && (matches!(proposal.footing, Footing::Linked | Footing::Binds) || arrival.waited.is_some());
    let change = known.then(|| {
        let change = WaitingChange {
            canonical_id: record.id,
            fields: proposal.changes.clone(),
            unresolved: Vec::new(),
            joins: proposal.footing == Footing::Joins,
        };
        if let Some(index) = record.link_of(&arrival.change.key.system, &arrival.change.key.native_id) {
            keep_waiting(record, index, arrival.change, &change, situation);
        }
        change
    });
    if !known {
        decision.canonical_id = None;
    }
    Outcome { decision, waits: Some(Waits { waiting_for, retry_after, change, untouched: !known }) }
}

#[allow(clippy::too_many_arguments)]
fn accept(
    record: &mut CanonicalRecord,
    before: &CanonicalRecord,
    proposal: &Proposal,
    outcome: Leaves,
    reason: Option<String>,
    decision: &mut Decision,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) {
    let by_handler = proposal.ruled.differing(&outcome);
    let written = before.data.differing(&outcome);
    let is_set = |path: &FieldPath| situation.types.sets.contains(path);
    let taken = |path: &FieldPath, value: &Value| match outcome.get(path) {
        Some(now) => same_held(Some(now), Some(value)) || is_set(path) && same_set(now, value),
        None => value.is_null() && !outcome.has_inside(path) || super::value::is_empty_object(value),
    };
    decision.modified_fields =
        proposal.changes.iter().filter(|change| !taken(&change.path, &change.value)).map(|change| change.path.clone()).collect();
    let refused = decision.modified_fields.clone();
    decision.modified_fields.extend(by_handler.iter().filter(|path| !decision.changed.contains(path)).cloned());
    for conflict in decision.conflicts.iter_mut().filter(|conflict| by_handler.contains(&conflict.field)) {
        conflict.winner = Winner::Handler;
        conflict.rule = decision.decided_by.name.clone().unwrap_or_default();
    }
    let revived = before.tombstone.is_some();
    let grew = !written.is_empty() || before.version == 0 || revived;
    decision.decision = match (grew, decision.modified_fields.is_empty(), refused.is_empty()) {
        (true, true, _) => DecisionKind::Accepted,
        (true, false, _) => DecisionKind::PartiallyAccepted,
        (false, _, false) => DecisionKind::Dropped,
        (false, _, true) => DecisionKind::Unchanged,
    };
    if decision.decided_by == DecidedBy::DEFAULT
        && let Some(rule) = refused.iter().find_map(|field| proposal.rules.get(field))
    {
        decision.decided_by = DecidedBy::named(ByKind::Rule, rule.clone());
    }
    decision.not_applied = super::decide::names(&proposal.stale);
    decision.reason = accepted_reason(before, &outcome, proposal, reason, &refused, decision, arrival, situation.types);
    let confirmed = confirmed(before, proposal, &written, situation);
    if grew {
        write(record, outcome, &written, &by_handler, proposal, decision, arrival, situation);
        decision.accepted_snapshot = Some(record.data.clone());
        decision.version_after = record.version;
    }
    for (path, rule) in confirmed {
        // Which update brought the value stays: it may have to be taken back.
        let mut source =
            record.provenance.of(&path).cloned().unwrap_or_else(|| from_here(DecidedBy::DEFAULT, record.version, arrival, situation));
        source.by = DecidedBy::named(ByKind::Rule, format!("{rule}: {} says the same as {}", arrival.change.key.system, source.system));
        source.system = arrival.change.key.system.clone();
        record.provenance.set([path], &source);
    }
}

/// Where a value comes from that this update brings.
fn from_here(by: DecidedBy, version: u64, arrival: &Arrival<'_>, situation: &Situation<'_>) -> Source {
    Source {
        system: arrival.change.key.system.clone(),
        update: arrival.change.update.clone(),
        version,
        at: situation.now,
        occurred_at: trusted_time(arrival, situation),
        by,
    }
}

/// The fields whose value a system confirms that a rule ranks above the one it is from, and that rule: they are its own from now on.
fn confirmed(
    before: &CanonicalRecord,
    proposal: &Proposal,
    written: &[FieldPath],
    situation: &Situation<'_>,
) -> Vec<(FieldPath, &'static str)> {
    let chain = |path: &FieldPath| situation.types.chain(path);
    let confirms = |change: &&FieldChange| {
        let from = before.provenance.of(&change.path).map(|from| &from.system);
        let same = !written.contains(&change.path) && same_held(before.data.get(&change.path), Some(&change.value));
        same && outranks(chain(&change.path), &situation.source.system, from)
    };
    let rule = |path: &FieldPath| chain(path).first().map_or("", Rule::name);
    proposal.changes.iter().filter(confirms).map(|change| (change.path.clone(), rule(&change.path))).collect()
}

#[allow(clippy::too_many_arguments)]
fn write(
    record: &mut CanonicalRecord,
    outcome: Leaves,
    written: &[FieldPath],
    by_handler: &[FieldPath],
    proposal: &Proposal,
    decision: &Decision,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) {
    record.version += 1;
    record.updated_at = situation.now;
    if planted::fault("not_rebased") {
        record.data = outcome;
    } else {
        record.replace_data(outcome, written);
    }
    let version = record.version;
    let source = |by: DecidedBy| from_here(by, version, arrival, situation);
    let gone = |path: &FieldPath| record.data.get(path).is_none();
    let mut plain = Vec::new();
    for path in written.iter().filter(|path| !gone(path)) {
        if by_handler.contains(path) {
            record.provenance.set([path.clone()], &source(decision.decided_by.clone()));
        } else if let Some(rule) = proposal.rules.get(path) {
            record.provenance.set([path.clone()], &source(DecidedBy::named(ByKind::Rule, rule.clone())));
        } else {
            plain.push(path.clone());
        }
    }
    if !plain.is_empty() {
        let by = arrival.approval.as_ref().map_or(DecidedBy::DEFAULT, |approval| DecidedBy::named(ByKind::Person, approval.by.clone()));
        record.provenance.set(plain, &source(by));
    }
    let data = &record.data;
    record.provenance.retain(|path| data.get(path).is_some());
}

#[allow(clippy::too_many_arguments)]
fn accepted_reason(
    before: &CanonicalRecord,
    after: &Leaves,
    proposal: &Proposal,
    given: Option<String>,
    refused: &[FieldPath],
    decision: &Decision,
    arrival: &Arrival<'_>,
    types: &TypeRules,
) -> String {
    let source = &arrival.change.key.system;
    let taken: Vec<FieldPath> = decision.changed.iter().filter(|path| !refused.contains(path)).cloned().collect();
    let mut parts: Vec<String> = given.into_iter().collect();
    if let Some(tombstone) = &before.tombstone {
        parts.push(format!("the record is back: {source} has it, {} had deleted it", tombstone.system));
    }
    match proposal.footing {
        Footing::New => parts.push(format!("a new record from {source}")),
        Footing::Joins => {
            parts.push(format!("the same thing as in {}: {}", explain::holders(before), explain::joins(source)));
        }
        Footing::Binds => parts.push(format!("{source} made the record it was sent")),
        Footing::Linked => {}
    }
    if !taken.is_empty() && proposal.footing != Footing::New {
        let verb = if decision.version_after == before.version && decision.decision == DecisionKind::Unchanged {
            "agreed already"
        } else {
            "taken"
        };
        parts.push(format!("{verb}: {}", explain::fields(&taken)));
    }
    let truth = proposal.rules.iter().filter(|(path, rule)| !refused.contains(path) && rule.contains("has not spoken"));
    parts.extend(truth.map(|(path, rule)| format!("{path} by {rule}")));
    if !refused.is_empty() {
        let rule = |path: &FieldPath| match (&decision.decided_by, proposal.rules.get(path)) {
            (_, Some(rule)) => Some(rule.clone()),
            (DecidedBy { kind: ByKind::Handler, name: Some(name) }, None) => Some(format!("handler {name}")),
            (DecidedBy { kind: ByKind::Person, name: Some(name) }, None) => Some(format!("edited by {name}")),
            _ => None,
        };
        parts.push(explain::refused(refused, before, after, &rule, types));
    }
    explain::with_stale(&parts.join("; "), &proposal.stale, before, types)
}
