//! The contract between the engine and the user's merge handlers: what they see and what they may answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::change::{Op, Record};
use super::decision::Conflict;
use super::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use super::provenance::Source;
use super::time::Timestamp;
use super::value::{FieldPath, Leaves};

/// What a merge handler decides about an update. The reason is stored with the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Take the proposed record, as the handler left it (the origin document's `Continue`).
    Accept {
        /// Why.
        reason: Option<String>,
    },
    /// Take nothing of it.
    Skip {
        /// Why.
        reason: String,
    },
    /// Judge it again later.
    Defer {
        /// Why.
        reason: String,
        /// How much later; `None`: as the retry policy says.
        after: Option<Duration>,
    },
    /// A person decides.
    Review {
        /// Why.
        reason: String,
    },
}

/// A reason, or none.
#[derive(Clone, Debug, Default)]
pub struct Reason(Option<String>);

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<&str>> for Reason {
    fn from(text: Option<&str>) -> Self {
        Self(text.map(str::to_owned))
    }
}

impl Verdict {
    /// Take the proposed record. `Verdict::accept(None)` gives no reason.
    pub fn accept(reason: impl Into<Reason>) -> Self {
        Self::Accept { reason: reason.into().0 }
    }

    /// Take nothing of it. The source is corrected, unless its direction is `in`.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into() }
    }

    /// Judge it again later; `after: None` lets the retry policy choose.
    pub fn defer(reason: impl Into<String>, after: impl Into<Option<Duration>>) -> Self {
        Self::Defer { reason: reason.into(), after: after.into() }
    }

    /// Let a person decide.
    pub fn review(reason: impl Into<String>) -> Self {
        Self::Review { reason: reason.into() }
    }
}

/// A person's decision about an update that was in review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What a handler may know about an update besides the record.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateMeta {
    pub(crate) update: UpdateId,
    pub(crate) entity_type: EntityType,
    pub(crate) native_id: NativeId,
    pub(crate) canonical_id: Option<CanonicalId>,
    pub(crate) op: Op,
    pub(crate) received_at: Timestamp,
    pub(crate) occurred_at: Option<Timestamp>,
    pub(crate) attempt: u32,
    pub(crate) changed: Vec<FieldPath>,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) provenance: BTreeMap<FieldPath, Source>,
    pub(crate) approval: Option<Approval>,
}

impl UpdateMeta {
    /// The system the update comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        self.update.system.as_str()
    }

    /// The system, as a typed name.
    #[must_use]
    pub fn system(&self) -> &SystemName {
        &self.update.system
    }

    /// The adapter that sent it; one adapter connects one system, so they share a name.
    #[must_use]
    pub fn adapter(&self) -> &str {
        self.source()
    }

    /// The update's id, `system:id`.
    #[must_use]
    pub fn update_id(&self) -> &UpdateId {
        &self.update
    }

    /// The type of the record.
    #[must_use]
    pub fn entity_type(&self) -> &EntityType {
        &self.entity_type
    }

    /// What the update does.
    #[must_use]
    pub const fn op(&self) -> Op {
        self.op
    }

    /// The record's id in its system.
    #[must_use]
    pub fn native_id(&self) -> &NativeId {
        &self.native_id
    }

    /// The canonical record it belongs to; `None` for a new one.
    #[must_use]
    pub const fn canonical_id(&self) -> Option<CanonicalId> {
        self.canonical_id
    }

    /// When it arrived.
    #[must_use]
    pub const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// When it happened in the source, if it says so.
    #[must_use]
    pub const fn occurred_at(&self) -> Option<Timestamp> {
        self.occurred_at
    }

    /// 1 on the first try.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The fields the source really changed.
    #[must_use]
    pub fn changed(&self) -> &[FieldPath] {
        &self.changed
    }

    /// Fields that another system changed as well.
    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// Where the canonical value of a field comes from.
    #[must_use]
    pub fn provenance(&self, field: &str) -> Option<&Source> {
        self.provenance.get(field)
    }

    /// Whether no system had this record before.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.canonical_id.is_none()
    }

    /// The person who approved it, if it was in review.
    #[must_use]
    pub const fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }
}

/// Lays what a handler did to its own view of a record over the record itself: only what differs between the view
/// before and after it is written, so fields the view does not name survive, and null stays apart from absent.
#[must_use]
pub fn lay_edit_over(record: &Leaves, before: &Record, after: &Record) -> Leaves {
    let (before, after) = (Leaves::open(before.clone()), Leaves::open(after.clone()));
    let mut edited = record.clone();
    for path in before.differing(&after) {
        match after.get(&path) {
            Some(value) => edited.set(path, value.clone()),
            None if after.has_inside(&path) => {}
            None => {
                edited.remove(&path);
            }
        }
    }
    edited
}

/// What the handlers of a type came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The proposed record as they left it.
    pub record: Leaves,
    /// The handler that decided; `None` if there is none.
    pub handler: Option<String>,
}

impl Answer {
    /// Nobody was asked.
    #[must_use]
    pub fn nobody(record: Leaves) -> Self {
        Self { verdict: Verdict::Accept { reason: None }, record, handler: None }
    }
}

/// A value as people read it in a sentence.
#[must_use]
pub fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    };
    if text.chars().count() > 60 { format!("{}…", text.chars().take(59).collect::<String>()) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_typed_handler_that_does_not_know_a_field_leaves_it_alone() {
        let open = |value: serde_json::Value| Leaves::open(value.as_object().cloned().unwrap());
        let object = |value: serde_json::Value| value.as_object().cloned().unwrap();
        let record = open(json!({"name": "Jon", "phone": null, "secret": 7}));
        let edited = lay_edit_over(&record, &object(json!({"name": "Jon", "mail": null})), &object(json!({"name": "John", "mail": null})));
        assert_eq!(serde_json::Value::Object(edited.close()), json!({"name": "John", "phone": null, "secret": 7}));
    }
}
