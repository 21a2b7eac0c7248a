//! Fields whose values are kept out of what is told about a record (`redact`): decisions say that they changed, not to what.

use serde_json::Value;

use super::decision::{ConflictBase, Decision};
use super::masks::Mask;
use super::rules::TypeRules;
use super::value::{FieldPath, Leaves};

/// A row without the values of redacted fields.
pub fn redact_row(row: &mut Decision, types: &TypeRules) {
    let mut said = Vec::new();
    for snapshot in [&mut row.proposed_snapshot, &mut row.accepted_snapshot].into_iter().flatten() {
        said.extend(snapshot.iter().filter(|(path, _)| types.redacts(path)).map(|(_, value)| value.clone()));
        *snapshot = redacted(snapshot, types);
    }
    for conflict in row.conflicts.iter_mut().filter(|conflict| types.redacts(&conflict.field)) {
        let mut hide = |value: &mut Value| said.push(std::mem::replace(value, Mask::Redacted.value()));
        hide(&mut conflict.ours);
        hide(&mut conflict.theirs);
        if let Some(ConflictBase::Value(base)) = &mut conflict.base {
            hide(base);
        }
    }
    // Our own sentences leave it out; a handler's may quote it.
    row.reason = without_quotes(std::mem::take(&mut row.reason), said.iter());
}

/// A sentence without quotations of the redacted fields among these.
#[must_use]
pub fn not_quoting(text: String, leaves: &Leaves, types: &TypeRules) -> String {
    without_quotes(text, leaves.iter().filter(|(path, _)| types.redacts(path)).map(|(_, value)| value))
}

fn without_quotes<'a>(mut text: String, said: impl Iterator<Item = &'a Value>) -> String {
    for value in said {
        let said = match value {
            Value::String(said) => said.clone(),
            Value::Number(said) => said.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        for quote in ['\'', '"', '`'] {
            let quoted = format!("{quote}{said}{quote}");
            if !said.is_empty() && text.contains(&quoted) {
                text = text.replace(&quoted, "…");
            }
        }
    }
    text
}

/// Fields without the values of redacted ones.
#[must_use]
pub fn redacted(leaves: &Leaves, types: &TypeRules) -> Leaves {
    Mask::Redacted.over(leaves, |path: &FieldPath| types.redacts(path))
}
