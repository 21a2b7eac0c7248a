//! The values of a record are erased, as a person may ask for (§1.12). What stays says that there was a record, where, and what
//! was done about it, but not what it said: ids, field names, times, and who decided.

use super::canonical::CanonicalRecord;
use super::decision::{ConflictBase, Decision};
use super::delete::{Tombstone, entomb};
use super::ids::UpdateId;
use super::link::{Link, Sent};
use super::masks::Mask;
use super::overlay::Overlay;
use super::provenance::{DecidedBy, Provenance, Source};
use super::rules::TypeRules;
use super::time::Timestamp;
use super::value::Leaves;

/// What stands in the place of a text.
const REASON: &str = "erased, with the values of the record";

/// A record without its values. References stay, since they are ids; so does null.
#[must_use]
pub fn without_values(leaves: &Leaves, types: &TypeRules) -> Leaves {
    Mask::Erased.over(leaves, |path| !types.references.contains_key(path))
}

/// Erases the values of a record: a new version. One that is not deleted yet is, everywhere: a system that still had it would
/// bring the values back.
pub fn erase(record: &mut CanonicalRecord, update: &UpdateId, by: &DecidedBy, types: &TypeRules, now: Timestamp) {
    record.version += 1;
    record.updated_at = now;
    record.data = without_values(&record.data, types);
    let (system, version) = (update.system.clone(), record.version);
    let source = Source { system: system.clone(), update: update.clone(), version, at: now, occurred_at: None, by: by.clone() };
    record.provenance = Provenance::default();
    record.provenance.set(record.data.iter().map(|(path, _)| path.clone()), &source);
    let CanonicalRecord { links, data, .. } = record;
    links.iter_mut().for_each(|link| forget_values(link, data));
    if record.tombstone.is_none() {
        entomb(record, system, update, now);
    }
    if let Some(tombstone) = record.tombstone.as_deref_mut() {
        *tombstone = Tombstone { erased: true, ..tombstone.clone() };
    }
}

/// Erases the values of a record that is part of one whose values are erased.
pub fn erase_part(record: &mut CanonicalRecord, types: &TypeRules) {
    record.data = without_values(&record.data, types);
    let data = &record.data;
    record.provenance.retain(|path| data.get(path).is_some());
    record.undo.iter_mut().for_each(|undo| undo.outlives());
}

/// What a system holds is not known any more; which messages are open still is.
fn forget_values(link: &mut Link, data: &Leaves) {
    let shadow = &mut link.shadow;
    shadow.held = Overlay::nothing(data);
    (shadow.said, shadow.held_is_sent) = (None, false);
    shadow.disputed.clear();
    shadow.stored.clear();
    let forget = |sent: &mut Sent| sent.values = Overlay::default();
    shadow.messages_mut().for_each(forget);
    link.waits.clear();
    link.flips.clear();
}

/// A row about it without values: what was decided, about which fields, by whom. The sentence goes, as it may quote them.
pub fn erase_row(row: &mut Decision, types: &TypeRules) {
    for snapshot in [&mut row.proposed_snapshot, &mut row.accepted_snapshot].into_iter().flatten() {
        *snapshot = without_values(snapshot, types);
    }
    for conflict in &mut row.conflicts {
        let known = |base: &mut ConflictBase| {
            if let ConflictBase::Value(value) = base {
                *value = Mask::Erased.value();
            }
        };
        conflict.base.iter_mut().for_each(known);
        (conflict.ours, conflict.theirs) = (Mask::Erased.value(), Mask::Erased.value());
    }
    REASON.clone_into(&mut row.reason);
}

/// The text in the place of a message that names the record.
#[must_use]
pub fn erased_body() -> String {
    Mask::Erased.value().to_string()
}

/// The sentence in the place of one that may quote values.
#[must_use]
pub fn erased_detail() -> String {
    REASON.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::value::FieldPath;

    fn leaves(value: Value) -> Leaves {
        let Value::Object(record) = value else { panic!("a record") };
        Leaves::open(record)
    }

    #[test]
    fn values_go_and_ids_stay() {
        let mut types = TypeRules::default();
        types.references.insert(FieldPath::name("parent_id"), crate::domain::ids::EntityType::new("site").unwrap());
        let said = json!({"name": "Anna", "home": {"city": "Bonn"}, "tags": ["a"], "gone": null, "parent_id": "0190"});
        let left = without_values(&leaves(said), &types);
        let erased = json!({"erased": true});
        let expected = json!({"name": erased, "home": {"city": erased}, "tags": erased, "gone": null, "parent_id": "0190"});
        assert_eq!(Value::Object(left.close()), expected);
        assert_eq!(without_values(&left, &types), left, "once is enough");
    }
}
