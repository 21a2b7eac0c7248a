//! Decisions: what became of an update, and why. One row per update.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::Op;
use super::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use super::provenance::DecidedBy;
use super::time::Timestamp;
use super::value::{FieldPath, Leaves};

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Everything the system changed is now canonical.
    Accepted,
    /// Some of what it changed was refused or replaced.
    PartiallyAccepted,
    /// It changed something and none of it became canonical.
    Dropped,
    /// Canonical data stayed the same and nothing was refused.
    Unchanged,
    /// Nothing changed, and it is what the system was last sent.
    Echo,
    /// Overtaken, while it waited, by a newer update of the same native record.
    Superseded,
    /// Waits for a time.
    Deferred,
    /// Waits for something else.
    Parked,
}

impl DecisionKind {
    /// The name, as in rows and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::PartiallyAccepted => "partially_accepted",
            Self::Dropped => "dropped",
            Self::Unchanged => "unchanged",
            Self::Echo => "echo",
            Self::Superseded => "superseded",
            Self::Deferred => "deferred",
            Self::Parked => "parked",
        }
    }

    /// Every kind, in the order they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::PartiallyAccepted,
        Self::Dropped,
        Self::Unchanged,
        Self::Echo,
        Self::Superseded,
        Self::Deferred,
        Self::Parked,
    ];

    /// Whether the row will be replaced once what it waits for has come.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Deferred | Self::Parked)
    }
}

/// For how long a row is kept: rows of one kind share a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// As long as it waits.
    Waiting,
    /// As one that changed nothing and refused nothing.
    Unchanged,
    /// As an echo.
    Echo,
    /// As one that decided something.
    Decided,
}

impl Decision {
    /// For how long this row is kept. One that says why something was not applied is kept as one that decided something (§1.6).
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        match self.decision {
            DecisionKind::Deferred | DecisionKind::Parked => Keeping::Waiting,
            DecisionKind::Unchanged if self.not_applied.is_empty() => Keeping::Unchanged,
            DecisionKind::Echo if self.not_applied.is_empty() => Keeping::Echo,
            DecisionKind::Unchanged
            | DecisionKind::Echo
            | DecisionKind::Accepted
            | DecisionKind::PartiallyAccepted
            | DecisionKind::Dropped
            | DecisionKind::Superseded => Keeping::Decided,
        }
    }
}

/// Which rows are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logging {
    /// All of them.
    #[default]
    All,
    /// Those that made a new version, and those that say why something was not applied.
    Changes,
    /// None.
    None,
}

impl Logging {
    /// Whether a row is kept. One that waits always is: people act on it.
    #[must_use]
    pub fn keeps(self, row: &Decision) -> bool {
        match self {
            Self::All => true,
            Self::Changes => row.decision.is_waiting() || row.version_after != row.version_before || !row.not_applied.is_empty(),
            Self::None => row.decision.is_waiting(),
        }
    }
}

/// Whose value a field has after the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The canonical value stayed.
    Ours,
    /// The incoming value won.
    Theirs,
    /// Neither: a handler or a combining rule set it.
    Handler,
}

/// What a conflict is measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ConflictBase {
    /// Inferred: the source does not say what it had applied. Written `"assumed"`.
    Assumed(Assumed),
    /// The value both sides started from.
    Value(Value),
}

/// The word `assumed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assumed {
    /// The base was inferred.
    Assumed,
}

/// Two sides changed one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflict {
    /// The field.
    pub field: FieldPath,
    /// What it was before either changed it; absent on first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ConflictBase>,
    /// The canonical value.
    pub ours: Value,
    /// What the source says.
    pub theirs: Value,
    /// The system the canonical value came from.
    pub ours_from: Option<SystemName>,
    /// Who won.
    pub winner: Winner,
    /// What decided.
    pub rule: String,
}

/// Updates that were decided all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChangeSet {
    /// The id its sender gave it.
    pub id: String,
    /// Its updates, in order.
    pub updates: Vec<UpdateId>,
}

/// One row of the decision log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Decision {
    /// Which update.
    pub update: UpdateId,
    /// When it was decided.
    pub timestamp: Timestamp,
    /// The type of the record.
    pub entity_type: EntityType,
    /// The record; `None` while it is not known which.
    pub canonical_id: Option<CanonicalId>,
    /// Where it came from.
    pub source_system: SystemName,
    /// The record's id there; `None` only for receipts of creates that did not succeed.
    pub native_id: Option<NativeId>,
    /// What it did.
    pub op: Op,
    /// What became of it.
    pub decision: DecisionKind,
    /// Why, in a sentence.
    pub reason: String,
    /// Who chose.
    pub decided_by: DecidedBy,
    /// After the three-way merge, before rules.
    pub proposed_snapshot: Option<Leaves>,
    /// The canonical record after it, if it changed.
    pub accepted_snapshot: Option<Leaves>,
    /// The fields the source changed.
    pub changed: Vec<FieldPath>,
    /// The fields where the outcome differs from what it proposed.
    pub modified_fields: Vec<FieldPath>,
    /// The fields it named with a value that differs from the canonical one and was not taken, since nothing new was in it: its
    /// source had not seen what became canonical meanwhile. The reason says more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_applied: Vec<FieldPath>,
    /// Fields two sides changed.
    pub conflicts: Vec<Conflict>,
    /// The canonical version before it.
    pub version_before: u64,
    /// The canonical version after it.
    pub version_after: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Systems made pending by it.
    pub notified: Vec<SystemName>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// From arrival to decision, in microseconds.
    pub duration_us: u64,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// The updates it was decided together with, all or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_set: Option<Box<ChangeSet>>,
    /// Hash of the configuration and handlers that decided.
    pub config: String,
}
