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
    for text in said.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()) {
        for quoted in [format!("'{text}'"), format!("\"{text}\"")] {
            if row.reason.contains(&quoted) {
                row.reason = row.reason.replace(&quoted, "…");
            }
        }
    }
}

/// Fields without the values of redacted ones.
#[must_use]
pub fn redacted(leaves: &Leaves, types: &TypeRules) -> Leaves {
    Mask::Redacted.over(leaves, |path: &FieldPath| types.redacts(path))
}
