//! What a store can keep of one record.

use serde_json::Value;

use super::load::ChangeItem;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{DeadReason, Rejection};
use crate::domain::conclude::Outcome;
use crate::domain::identity::VALUES_MAX;
use crate::domain::rules::TypeRules;
use crate::domain::value::FieldPath;

/// Bytes of a record with what all systems hold of it and were sent, as a rough count that is seldom less. MongoDB takes 16 MiB.
const WHOLE_MAX: usize = 12 << 20;

/// A record may grow by many messages, each small enough. It has to stay something a store can keep with what systems hold of
/// it, and something that can be found by its keys. `most`: bytes of the record by itself.
pub(super) fn too_large(
    before: &CanonicalRecord,
    record: &CanonicalRecord,
    outcome: &Outcome,
    item: &ChangeItem,
    most: usize,
) -> Option<Rejection> {
    if outcome.decision.version_after == outcome.decision.version_before {
        return None;
    }
    let refuse = |detail: String| Some(Rejection::new(DeadReason::TooLarge, detail).at("/entity"));
    let key = &item.change.key;
    if let Some((bytes, sends, system)) = whole(record).filter(|(bytes, ..)| *bytes > before.weight()) {
        return refuse(format!(
            "record {key} would take {bytes} bytes with what systems hold of it and were sent, the limit is {WHOLE_MAX}; most of it are \
             {sends} messages to {system} that it has not confirmed: see that its adapter answers, then requeue this"
        ));
    }
    if item.woken.is_some() {
        // What waited was small enough when it came.
        return None;
    }
    let read = |path: &FieldPath| record.data.get(path);
    if let Some(wide) = too_wide(&item.types, &read, |key, count| format!("with this the key {key} has {count} values")) {
        return Some(wide);
    }
    // A rough count first, which is seldom less.
    let bytes = if record.data.weight() > most / 8 { record.data.bytes() } else { 0 };
    if bytes > most && bytes > before.data.bytes() {
        return refuse(format!("record {key} would have {bytes} bytes, the limit is {most} (twice [limits] message); send less"));
    }
    None
}

/// How many bytes all of a record takes, if that is too much, and who was sent most of it.
fn whole(record: &CanonicalRecord) -> Option<(usize, usize, &str)> {
    // A message says of a field what it was if that was another value: at most all of it.
    let copies: usize = record.links.iter().map(|link| 2 + link.shadow.sends.len()).sum();
    if record.data.weight().saturating_mul(2 + copies) <= WHOLE_MAX {
        return None;
    }
    let bytes = record.weight();
    let most = record.links.iter().max_by_key(|link| link.weight())?;
    (bytes > WHOLE_MAX).then(|| (bytes, most.shadow.sends.len(), most.system.as_str()))
}

/// The rejection of what gives a key more values than it can be looked up by; `says` words how many there are.
pub(super) fn too_wide<'a>(
    types: &TypeRules,
    read: &impl Fn(&FieldPath) -> Option<&'a Value>,
    says: fn(&str, usize) -> String,
) -> Option<Rejection> {
    let (key, count) = types.keys.iter().find_map(|key| Some((key, key.too_many(read)?)))?;
    let detail = format!("{}, the limit is {VALUES_MAX}; send fewer", says(&key.name, count));
    Some(Rejection::new(DeadReason::KeyTooLong, detail).at(format!("/entity/{}", key.fields[0])))
}
