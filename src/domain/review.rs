//! The last word about an update that waits for one: a person's, or that of the time that ran out. Pure.

use serde::{Deserialize, Serialize};

use super::change::Record;
use super::conclude::Outcome;
use super::decision::DecisionKind;
use super::explain;
use super::handler::{Answer, Approval, Verdict};
use super::provenance::{ByKind, DecidedBy};
use super::time::Timestamp;
use super::value::{FieldPath, Leaves};

/// What was said. It stays with the update where that must wait once more: nobody is asked twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// What becomes of it.
    pub says: Says,
    /// Who said it; `None`: nobody did in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What becomes of an update that waited for a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It is taken, unless a handler skips it.
    Approved {
        /// The native record as the person wants it, where that is not what the source said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edited: Option<Record>,
    },
    /// Nothing of it is taken.
    Rejected,
    /// Nothing of it is taken, since something else that belongs to it was refused.
    Withdrawn {
        /// What that is.
        why: String,
    },
}

/// A person's edit in canonical names and ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What the source said.
    pub said: Leaves,
    /// What the person made of it.
    pub meant: Leaves,
}

impl Edit {
    /// The fields the person wants otherwise.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldPath> {
        self.said.differing(&self.meant)
    }

    /// Lays the edit over an outcome. A field the person took out is not said at all: the canonical value stays.
    fn lay_over(&self, outcome: &mut Leaves, canonical: &Leaves) {
        for path in self.fields() {
            match self.meant.get(&path).or_else(|| canonical.get(&path)) {
                Some(value) => outcome.set(path, value.clone()),
                None if self.meant.has_inside(&path) => {}
                None => {
                    outcome.remove(&path);
                }
            }
        }
    }
}

impl Word {
    /// What handlers may know of it.
    #[must_use]
    pub fn approval(&self) -> Option<Approval> {
        match (&self.says, &self.by) {
            (Says::Approved { .. }, Some(by)) => Some(Approval { by: by.clone(), at: self.at }),
            (Says::Approved { .. }, None) | (Says::Rejected | Says::Withdrawn { .. }, _) => None,
        }
    }

    /// Whether the handlers are not even asked.
    #[must_use]
    pub const fn asks_nobody(&self) -> bool {
        matches!(self.says, Says::Rejected | Says::Withdrawn { .. })
    }

    /// Who decided by it.
    #[must_use]
    pub fn decided_by(&self) -> DecidedBy {
        match &self.by {
            Some(by) => DecidedBy::named(ByKind::Person, by.clone()),
            None if matches!(self.says, Says::Withdrawn { .. }) => DecidedBy::SYSTEM,
            None => DecidedBy { kind: ByKind::Timeout, name: None },
        }
    }

    /// Who said what, in a sentence.
    #[must_use]
    pub fn sentence(&self, edit: Option<&Edit>) -> String {
        let who = match (&self.says, &self.by) {
            (Says::Approved { .. }, Some(by)) => format!("approved by {by}"),
            (Says::Rejected, Some(by)) => format!("rejected by {by}"),
            (Says::Approved { .. }, None) => "nobody reviewed it in time, so it is accepted".to_owned(),
            (Says::Rejected, None) => "nobody reviewed it in time, so it is skipped".to_owned(),
            (Says::Withdrawn { why }, _) => why.clone(),
        };
        let edited = edit.map(Edit::fields).filter(|fields| !fields.is_empty());
        let edited = edited.map(|fields| format!(", who edited {}", explain::fields(&fields))).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{who}{edited}{reason}")
    }

    /// What the handlers said, after this word. An approved update is not reviewed or put off once more; only a skip is
    /// final, since the handler knew that it was approved.
    #[must_use]
    pub fn over(&self, answer: Answer, canonical: &Leaves, edit: Option<&Edit>) -> Answer {
        let sentence = self.sentence(edit);
        if self.asks_nobody() {
            let verdict = Verdict::Skip { reason: sentence };
            return Answer { verdict, record: answer.record, by: Some(self.decided_by()) };
        }
        let given = match answer.verdict {
            Verdict::Skip { reason } => {
                return Answer { verdict: Verdict::Skip { reason: format!("{reason} ({sentence})") }, ..answer };
            }
            Verdict::Accept { reason } => reason,
            Verdict::Defer { .. } | Verdict::Review { .. } => None,
        };
        let reason = given.map_or_else(|| sentence.clone(), |given| format!("{sentence}; {given}"));
        let mut record = answer.record;
        if let Some(edit) = edit {
            edit.lay_over(&mut record, canonical);
        }
        Answer { verdict: Verdict::Accept { reason: Some(reason) }, record, by: Some(self.decided_by()) }
    }

    /// What is left to decide where nothing of the update is meant any more.
    pub fn about_nothing(&self, outcome: &mut Outcome) {
        let decision = &mut outcome.decision;
        if self.asks_nobody() {
            decision.decision = DecisionKind::Dropped;
        }
        decision.decided_by = self.decided_by();
        decision.reason = format!("{}; {}", self.sentence(None), decision.reason);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leaves(value: &serde_json::Value) -> Leaves {
        Leaves::open(value.as_object().cloned().unwrap())
    }

    #[test]
    fn an_edit_changes_only_what_the_person_changed() {
        let edit = Edit {
            said: leaves(&json!({"name": "Jon", "phone": "5", "mail": "a", "plan": "old"})),
            meant: leaves(&json!({"name": "John", "mail": "a", "city": "Bern"})),
        };
        let canonical = leaves(&json!({"name": "J", "phone": "1", "mail": "c"}));
        let mut outcome = leaves(&json!({"name": "Jon", "phone": "5", "mail": "by a rule", "plan": "old"}));
        edit.lay_over(&mut outcome, &canonical);
        assert_eq!(
            serde_json::Value::Object(outcome.close()),
            json!({"name": "John", "phone": "1", "mail": "by a rule", "city": "Bern"}),
            "what is taken out is not said, so the canonical value stays"
        );
    }

    #[test]
    fn a_word_reads_as_a_sentence() {
        let word = |says: Says, by: Option<&str>, reason: Option<&str>| Word {
            says,
            by: by.map(str::to_owned),
            at: Timestamp::from_micros(0),
            reason: reason.map(str::to_owned),
        };
        assert_eq!(word(Says::Rejected, Some("anna"), Some("wrong plant")).sentence(None), "rejected by anna: wrong plant");
        assert_eq!(word(Says::Rejected, None, None).sentence(None), "nobody reviewed it in time, so it is skipped");
        let edit = Edit { said: leaves(&json!({"name": "Jon"})), meant: leaves(&json!({"name": "John"})) };
        let approved = word(Says::Approved { edited: None }, Some("anna"), None);
        assert_eq!(approved.sentence(Some(&edit)), "approved by anna, who edited name");
        assert_eq!(approved.approval().map(|approval| approval.by), Some("anna".to_owned()));
    }
}
