//! Recorded decisions, decided again by other rules: what would be otherwise. Nothing of it is stored.
//!
//! A decision row says what its source changed and what was proposed, so rules can be asked about it again, on top of what they
//! would have made of everything before it. Rows that no rule decided (a handler's, a person's, deletes, merges) have the effect
//! they had, and so have rows that don't say enough. Which record an update belongs to is taken from the row: identity is not
//! asked again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::change::{ChangeBody, NativeChange, Op, Record};
use super::conclude::conclude;
use super::decide::{Arrival, Footing, Situation, propose};
use super::decision::{ConflictBase, Decision, DecisionKind};
use super::explain;
use super::handler::Answer;
use super::ids::{CanonicalId, EntityType, NativeKey};
use super::link::Link;
use super::masks::{hides, is_mask};
use super::overlay::Overlay;
use super::provenance::{ByKind, DecidedBy, Source};
use super::rules::TypeRules;
use super::shadow::FieldChange;
use super::survivorship::Rule;
use super::time::Timestamp;
use super::value::{FieldPath, Leaves, same_held};

/// A decision that would be another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What it would be.
    pub decision: DecisionKind,
    /// Why, in a sentence.
    pub reason: String,
    /// The fields whose values would be others after it.
    pub fields: Vec<Otherwise>,
}

/// One field that would have another value.
#[derive(Clone, Debug, PartialEq)]
pub struct Otherwise {
    /// The field.
    pub field: FieldPath,
    /// What it became; `None`: nothing.
    pub was: Option<Value>,
    /// What it would become.
    pub would_be: Option<Value>,
}

/// One record's history, told a second time.
#[derive(Debug)]
pub struct Replay {
    /// As it was recorded.
    was: CanonicalRecord,
    /// As it would be.
    would_be: CanonicalRecord,
    deleted: bool,
    /// It was merged or split: which system each value came from is not told by its rows any more.
    regrouped: bool,
}

impl Replay {
    /// A record nobody has said anything about yet.
    #[must_use]
    pub fn new(id: CanonicalId, entity_type: EntityType, now: Timestamp) -> Self {
        let record = CanonicalRecord::new(id, entity_type, now);
        Self { was: record.clone(), would_be: record, deleted: false, regrouped: false }
    }

    /// The record as it was, and as it would be, after what was replayed so far.
    #[must_use]
    pub fn outcome(&self) -> (&Leaves, &Leaves) {
        (&self.was.data, &self.would_be.data)
    }

    /// Whether rules alone decided this row, and it says all they need to know, so that others can be asked about it.
    #[must_use]
    pub fn can_ask(&self, row: &Decision, types: &TypeRules) -> bool {
        let by_rules = matches!(row.decided_by.kind, ByKind::Default | ByKind::Rule);
        let decided = matches!(
            row.decision,
            DecisionKind::Accepted | DecisionKind::PartiallyAccepted | DecisionKind::Dropped | DecisionKind::Unchanged
        );
        let about_fields = matches!(row.op, Op::Upsert | Op::Patch) && !row.changed.is_empty() && row.native_id.is_some();
        let told = |proposed: &Leaves| row.changed.iter().all(|path| self.is_told(row, proposed, path, types));
        by_rules && decided && about_fields && !self.deleted && !self.regrouped && row.proposed_snapshot.as_ref().is_some_and(told)
    }

    /// Whether a change of a field is told: its value is kept, and what it was before, where a rule adds to that.
    fn is_told(&self, row: &Decision, proposed: &Leaves, path: &FieldPath, types: &TypeRules) -> bool {
        let kept = !hides(proposed, path) && proposed.get(path).is_none_or(|value| !is_mask(path, value));
        let combines = |rule: &Rule| match rule {
            Rule::Union | Rule::SumDelta => true,
            Rule::SourceOfTruth { fallback, .. } => fallback.iter().any(|rule| matches!(rule, Rule::Union | Rule::SumDelta)),
            _ => false,
        };
        let adds = types.chain(path).iter().any(combines);
        // A system that changes its own value again leaves no conflict behind, whatever it had seen of what others added.
        let own = || self.was.provenance.of(path).is_some_and(|source| source.system == row.source_system);
        let conflicts = || row.conflicts.iter().any(|conflict| conflict.field == *path);
        kept && !(adds && own() && !conflicts())
    }

    /// Takes a row as it is.
    pub fn follow(&mut self, row: &Decision) {
        let before = self.was.data.clone();
        self.record(row);
        let changed = before.differing(&self.was.data);
        let mut data = self.would_be.data.clone();
        for path in &changed {
            match self.was.data.get(path) {
                Some(value) => data.set(path.clone(), value.clone()),
                None => {
                    data.remove(path);
                }
            }
        }
        self.would_be.replace_data(data, &changed);
        for path in changed {
            if let Some(source) = self.was.provenance.of(&path).cloned() {
                self.would_be.provenance.set([path], &source);
            }
        }
        let data = &self.would_be.data;
        self.would_be.provenance.retain(|path| data.get(path).is_some());
        self.would_be.version = self.was.version;
        self.notice(row);
    }

    /// Decides a row again; `None`: it comes to the same.
    pub fn ask(&mut self, row: &Decision, situation: &Situation<'_>) -> Option<Difference> {
        let footing = footing(row);
        let (was_before, before) = (self.was.data.clone(), self.would_be.clone());
        let change = change_of(row)?;
        let arrival = arrival(&change, row);
        let changes = changes_of(row, &was_before, situation.types);
        let proposal = propose(&before, footing, changes, Vec::new(), &arrival, situation);
        let answer = Answer::nobody(proposal.ruled.clone());
        let again = conclude(&mut self.would_be, &before, &proposal, answer, &arrival, situation).decision;
        self.record(row);
        self.would_be.version = self.was.version;
        self.notice(row);
        let fields =
            self.otherwise(&was_before, &before.data, again.changed.iter().chain(&row.modified_fields).chain(&again.modified_fields));
        let differs = again.decision != row.decision || !fields.is_empty();
        differs.then_some(Difference { decision: again.decision, reason: again.reason, fields })
    }

    /// Leaves a row out, as an update that would not be taken; returns the fields that would have other values.
    pub fn leave_out(&mut self, row: &Decision) -> Vec<Otherwise> {
        let (was_before, before) = (self.was.data.clone(), self.would_be.data.clone());
        self.record(row);
        self.notice(row);
        self.otherwise(&was_before, &before, row.changed.iter().chain(&row.modified_fields))
    }

    /// Fields that this row made differ. Those that differed already, and that it touched in neither telling, were named before.
    fn otherwise<'a>(&self, was: &Leaves, would_be: &Leaves, paths: impl Iterator<Item = &'a FieldPath>) -> Vec<Otherwise> {
        let (is, would_become) = self.outcome();
        let differ = |path: &&FieldPath| {
            let touched = !same_held(was.get(path), is.get(path)) || !same_held(would_be.get(path), would_become.get(path));
            touched && !same_held(is.get(path), would_become.get(path))
        };
        let otherwise =
            |path: &FieldPath| Otherwise { field: path.clone(), was: is.get(path).cloned(), would_be: would_become.get(path).cloned() };
        paths.collect::<BTreeSet<_>>().into_iter().filter(differ).map(otherwise).collect()
    }

    fn notice(&mut self, row: &Decision) {
        self.regrouped |= matches!(row.op, Op::Merge | Op::Split);
        if let Some(native_id) = row.native_id.as_ref().filter(|_| self.would_be.link_with(&row.source_system).is_none()) {
            let nothing = Overlay::nothing(&self.would_be.data);
            self.would_be.links.push(Link::new(row.source_system.clone(), Some(native_id.clone()), nothing));
        }
        match row.op {
            Op::Delete => self.deleted |= row.decision == DecisionKind::Accepted,
            _ => self.deleted &= row.version_after == row.version_before,
        }
    }

    /// What a row made of the record.
    fn record(&mut self, row: &Decision) {
        let Some(snapshot) = row.accepted_snapshot.as_ref().filter(|_| row.version_after > row.version_before) else { return };
        let before = self.was.data.clone();
        let written = before.differing(snapshot);
        self.was.replace_data(snapshot.clone(), &written);
        self.was.version = row.version_after;
        let source = source_of(row);
        let data = &self.was.data;
        self.was.provenance.set(written.into_iter().filter(|path| data.get(path).is_some()), &source);
        self.was.provenance.retain(|path| data.get(path).is_some());
    }
}

/// How the native record stood to the canonical one. A system that joins is told so in the row's sentence.
fn footing(row: &Decision) -> Footing {
    if row.version_before == 0 {
        Footing::New
    } else if row.reason.contains(&explain::joins(&row.source_system)) {
        Footing::Joins
    } else {
        Footing::Linked
    }
}

fn source_of(row: &Decision) -> Source {
    Source {
        system: row.source_system.clone(),
        update: row.update.clone(),
        version: row.version_after,
        at: row.timestamp,
        occurred_at: None,
        by: DecidedBy { kind: row.decided_by.kind, name: row.decided_by.name.clone() },
    }
}

/// What the source changed. What it had before is what the conflict says; where there was none, what was canonical.
fn changes_of(row: &Decision, before: &Leaves, types: &TypeRules) -> Vec<FieldChange> {
    let Some(proposed) = &row.proposed_snapshot else { return Vec::new() };
    let change = |path: &FieldPath| {
        let canonical = || before.get(path).cloned();
        let conflict = row.conflicts.iter().find(|conflict| conflict.field == *path);
        let (base, assumed) = match conflict.map(|conflict| &conflict.base) {
            // What was proposed for a set is merged with the canonical one already.
            _ if types.sets.contains(path) => (canonical(), false),
            Some(Some(ConflictBase::Value(value))) => (Some(value.clone()), false),
            Some(Some(ConflictBase::Assumed(_))) => (canonical(), true),
            Some(None) => (None, false),
            None => (canonical(), false),
        };
        FieldChange { path: path.clone(), base, value: proposed.get(path).cloned().unwrap_or(Value::Null), assumed }
    };
    row.changed.iter().map(change).collect()
}

/// The update of a row, as far as it is recorded.
fn change_of(row: &Decision) -> Option<NativeChange> {
    let key = NativeKey { system: row.source_system.clone(), entity_type: row.entity_type.clone(), native_id: row.native_id.clone()? };
    Some(NativeChange {
        update: row.update.clone(),
        key,
        body: ChangeBody::Upsert(Record::new()),
        base: None,
        seq: None,
        occurred_at: None,
        canonical_id: None,
        trace: None,
        content_hash: 0,
    })
}

fn arrival<'a>(change: &'a NativeChange, row: &Decision) -> Arrival<'a> {
    Arrival {
        change,
        leaves: Leaves::new(),
        missing: Vec::new(),
        received_at: row.received_at,
        attempt: row.attempts,
        waited: None,
        overtaken: Vec::new(),
        approval: None,
        requeued: false,
        bases: Vec::new(),
        former_rev: 0,
        sent_through: u64::MAX,
    }
}
