//! Updates that wait: for a parent, for a time, for a person.

use serde::{Deserialize, Serialize};

use super::ids::{CanonicalId, NativeKey, UpdateId};
use super::review::Word;
use super::shadow::FieldChange;
use super::tag::state_tag;
use super::time::Timestamp;
use super::value::FieldPath;

/// What an update waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitingFor {
    /// Records that are not known yet.
    MissingReference {
        /// Those records, as the source names them.
        references: Vec<MissingReference>,
        /// It queues behind this update of the same native record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<UpdateId>,
    },
    /// Its key values belong to records that are not the same one.
    MatchCollision {
        /// Those records.
        records: Vec<CanonicalId>,
        /// The key values in question.
        keys: Vec<String>,
    },
    /// The record its key leads to already has a record of this very system.
    DuplicateInSystem {
        /// The canonical record.
        record: CanonicalId,
        /// The native record that has it.
        native_id: String,
    },
    /// A key is required and there is none.
    NoIdentity,
    /// Only a part of a record nobody knows: waits for a whole one.
    NoBase,
    /// Its system has creates of ours to answer, and this may be one of them coming back.
    OpenCreate {
        /// When the answer is waited for no longer.
        until: Timestamp,
    },
    /// A person.
    Review,
    /// Too many deletes of its type came from its system at once: a person lets them go.
    Brake {
        /// The brake, as it is named where it is let go.
        id: String,
    },
    /// A time.
    Time,
}

impl WaitingFor {
    /// The code, as in rows and filters.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingReference { .. } => "missing_reference",
            Self::MatchCollision { .. } => "match_collision",
            Self::DuplicateInSystem { .. } => "duplicate_in_system",
            Self::NoIdentity => "no_identity",
            Self::NoBase => "no_base",
            Self::OpenCreate { .. } => "open_create",
            Self::Review => "review",
            Self::Brake { .. } => "brake",
            Self::Time => "time",
        }
    }

    /// The records that have its key values, or its native record. One that lets go of any may be in its way no more.
    #[must_use]
    pub fn in_its_way(&self) -> &[CanonicalId] {
        match self {
            Self::MatchCollision { records, .. } => records,
            Self::DuplicateInSystem { record, .. } => std::slice::from_ref(record),
            Self::MissingReference { .. }
            | Self::NoIdentity
            | Self::NoBase
            | Self::OpenCreate { .. }
            | Self::Review
            | Self::Brake { .. }
            | Self::Time => &[],
        }
    }

    /// Whether it waits for a time; what waits for anything else is parked.
    #[must_use]
    pub const fn is_deferral(&self) -> bool {
        match self {
            Self::OpenCreate { .. } | Self::Time => true,
            Self::MissingReference { .. }
            | Self::MatchCollision { .. }
            | Self::DuplicateInSystem { .. }
            | Self::NoIdentity
            | Self::NoBase
            | Self::Brake { .. }
            | Self::Review => false,
        }
    }
}

/// A record an update refers to and nobody knows yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MissingReference {
    /// The reference field.
    pub field: FieldPath,
    /// The record it names.
    #[serde(flatten)]
    pub key: NativeKey,
}

/// One waiting update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which update.
    pub update: UpdateId,
    /// Its native record.
    pub key: NativeKey,
    /// What it waits for.
    pub waiting_for: WaitingFor,
    /// Since when.
    pub since: Timestamp,
    /// When it is looked at again, if a time is set.
    pub retry_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The place in arrival order; what is healed together is healed in this order.
    pub arrival: u64,
    /// The message as it came.
    pub message: serde_json::Value,
    /// For records that are known: what it changed. Its shadow has moved on already, so it can't be compared again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<WaitingChange>,
    /// What a person has said about it already: it waits for something else by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<Word>,
}

impl Waiting {
    /// Names this very state of it: whoever decides about it can say which one they looked at.
    #[must_use]
    pub fn tag(&self) -> String {
        state_tag(self)
    }
}

/// The stored change of a waiting update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingChange {
    /// The record it belongs to.
    pub canonical_id: CanonicalId,
    /// The fields, what the source had before, and what it says. References that are not known yet are native ids.
    pub fields: Vec<FieldChange>,
    /// Which of the fields hold such a native id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<FieldPath>,
    /// It is the first its system says of the record, which others knew before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joins: bool,
}
