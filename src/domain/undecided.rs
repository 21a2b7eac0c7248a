//! What a system keeps of its own while nobody has decided about it, and what becomes of its change by then (§1.8, §1.4).

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::change::NativeChange;
use super::decide::{Arrival, Footing, Situation, knowledge};
use super::flat::Paths;
use super::ids::UpdateId;
use super::link::{Link, SendOp, Sent, Waits};
use super::overlay::Overlay;
use super::planted;
use super::representation::Equality;
use super::shadow::{Compared, FieldChange, Knowledge, expected_at, state_at};
use super::value::{FieldPath, Leaves, same_held};
use super::waiting::WaitingChange;

/// A change that waited until a newer record came.
#[derive(Clone, Debug)]
pub struct Overtaken {
    /// What it was.
    pub change: FieldChange,
    /// Its value is a native id of which nobody knows the record.
    pub unresolved: bool,
}

/// How often in a row a system is given something back. A field that it changes whenever it is sent anything, such as the time of
/// its last change, would go to and fro until somebody decides.
const GIVEN_BACK_MAX: u32 = 3;

/// Marks the fields of a waiting change in the source's link.
///
/// What is on its way to the source was recorded before and says otherwise: applied, it would overwrite what waits, and what it
/// said would not be what was recorded of it. A message that gives the source its own values back is recorded behind it.
pub fn keep_waiting(record: &mut CanonicalRecord, index: usize, change: &NativeChange, waiting: &WaitingChange, situation: &Situation<'_>) {
    let fields = waiting.fields.iter().map(|field| field.path.clone()).collect();
    let unresolved = waiting.unresolved.iter().cloned().collect();
    let CanonicalRecord { links, data, .. } = record;
    let link = &mut links[index];
    link.waits.push(Waits { update: change.update.clone(), fields, unresolved });
    let stored = std::mem::take(&mut link.shadow.stored);
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &stored };
    let overwritten = waiting.fields.iter().filter(|field| is_overwritten(link, data, equality, field));
    let overwritten: Vec<FieldPath> = overwritten.map(|field| field.path.clone()).collect();
    link.shadow.stored = stored;
    if !overwritten.is_empty() && !planted::fault("waiting_overwritten") {
        give_back(link, data, &overwritten, situation);
    }
}

/// Whether the system is expected to end with another value than the one it holds, or the one that waits.
fn is_overwritten(link: &Link, data: &Leaves, equality: Equality<'_>, field: &FieldChange) -> bool {
    let expected = expected_at(&link.shadow, data, equality, &field.path);
    let stays = same_held(expected, link.shadow.held.get(data, &field.path)) || same_held(expected, Some(&field.value));
    equality.side.takes(&field.path) && !stays
}

/// Records that the source is told what it holds in these fields.
fn give_back(link: &mut Link, data: &Leaves, fields: &[FieldPath], situation: &Situation<'_>) {
    let Some(newest) = link.shadow.sends.last().filter(|sent| sent.op != SendOp::Delete) else { return };
    if !newest.fresh {
        if newest.gives_back >= GIVEN_BACK_MAX {
            return;
        }
        link.rev += 1;
        let (fields, gives_back) = (Paths::new(), newest.gives_back);
        let next = Sent { rev: link.rev, at: situation.now, op: SendOp::Update, fields, fresh: true, gives_back, ..newest.clone() };
        link.shadow.sends.push(next);
    }
    let held = &link.shadow.held;
    let Some(next) = link.shadow.sends.last_mut() else { return };
    if !next.unannounced {
        (next.unannounced, next.gives_back) = (true, next.gives_back + 1);
    }
    for path in fields {
        next.values.set(data, path.clone(), held.get(data, path).cloned());
        next.unsaid.remove(path);
        next.fields.insert(path.clone());
    }
}

/// What a message recorded now says in the fields whose change waits: what the system is expected to hold by then.
#[must_use]
pub fn kept_values(record: &CanonicalRecord, link: &Link, equality: Equality<'_>) -> Overlay {
    let mut values = Overlay::new();
    let named = link.waits.iter().flat_map(|waits| &waits.fields);
    let shown = record.data.iter().map(|(path, _)| path).filter(|path| !link.waits.is_empty() && link.is_waiting(path));
    for path in named.chain(shown) {
        values.set(&record.data, path.clone(), expected_at(&link.shadow, &record.data, equality, path).cloned());
    }
    values
}

/// Whether a system says by a value more than what it is known to hold, or, where that has to be inferred, may hold by now.
#[must_use]
pub fn is_news(
    record: &CanonicalRecord,
    link: &Link,
    field: (&FieldPath, &Value),
    change: &NativeChange,
    situation: &Situation<'_>,
) -> bool {
    let knowledge = knowledge(change, link.rev, situation.source);
    let shadow = &link.shadow;
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &shadow.stored };
    let (path, said) = field;
    let says = |through| equality.holds(path, state_at(shadow, &record.data, equality, through, path), Some(said));
    match knowledge {
        Knowledge::Base(base) => !says(shadow.sends.iter().rposition(|sent| sent.rev <= base)),
        Knowledge::Receipts => !says(None),
        Knowledge::Inexact { .. } => !says(None) && !(0..shadow.sends.len()).any(|sent| says(Some(sent))),
    }
}

/// Nothing of a record waits for this update any more.
pub fn forget_wait(record: &mut CanonicalRecord, update: &UpdateId) {
    for link in &mut record.links {
        link.waits.retain(|waits| waits.update != *update);
    }
}

/// An update that waits will never be judged: its system is taken to hold what it held before, so that the update is compared
/// afresh if it comes again.
pub fn forget_report<'a>(link: &mut Link, data: &Leaves, update: &UpdateId, changes: impl IntoIterator<Item = &'a FieldChange>) {
    link.waits.retain(|waits| waits.update != *update);
    for change in changes {
        link.shadow.held.set(data, change.path.clone(), change.base.clone());
    }
}

/// A newer word of the system about a field takes that out of what waits.
pub(super) fn take_over(link: &mut Link, changes: &[FieldChange]) {
    let said = |field: &FieldPath| changes.iter().any(|change| field.is_within(&change.path) || change.path.is_within(field));
    link.waits.iter_mut().for_each(|waits| waits.fields.retain(|field| !said(field)));
}

/// A stored change, judged again: fields the source itself has moved on from are no longer meant.
pub(super) fn still_meant(record: &mut CanonicalRecord, index: usize, waited: &WaitingChange, arrival: &Arrival<'_>) -> Compared {
    let CanonicalRecord { links, data, .. } = record;
    let link = &mut links[index];
    let own = link.waits.iter().position(|waits| waits.update == arrival.change.update).map(|at| link.waits.remove(at));
    let is_meant = |path: &FieldPath| own.as_ref().is_some_and(|waits| waits.fields.contains(path));
    let mut changes = Vec::new();
    for change in waited.fields.iter().filter(|change| is_meant(&change.path)) {
        let mut change = change.clone();
        if waited.unresolved.contains(&change.path) {
            let Some(resolved) = arrival.leaves.get(&change.path) else { continue };
            let native = std::mem::replace(&mut change.value, resolved.clone());
            resolve(link, data, &change.path, &native, resolved);
        }
        changes.push(change);
    }
    Compared { changes, ..Compared::default() }
}

/// A reference that the system holds by an id of its own, or is given back by it, is the record that id has come to mean.
fn resolve(link: &mut Link, data: &Leaves, path: &FieldPath, native: &Value, resolved: &Value) {
    let by_own_id = |overlay: &Overlay| same_held(overlay.get(data, path), Some(native));
    let shadow = &mut link.shadow;
    for sent in shadow.sends.iter_mut().filter(|sent| by_own_id(&sent.values)) {
        sent.values.set(data, path.clone(), Some(resolved.clone()));
    }
    if by_own_id(&shadow.held) {
        shadow.held.write(data, path, resolved);
    }
}

/// Takes over the changes of waiting updates that this one overtakes: their fields are held already, so this record
/// repeating them would look untouched.
pub(super) fn overtake(
    mut changes: Vec<FieldChange>,
    overtaken: &[Overtaken],
    record: &CanonicalRecord,
    index: usize,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Vec<FieldChange> {
    let shadow = &record.links[index].shadow;
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &shadow.stored };
    for Overtaken { change: old, unresolved } in overtaken {
        let missing = arrival.missing.iter().any(|missing| missing.field == old.path);
        let now = expected_at(shadow, &record.data, equality, &old.path).cloned().unwrap_or(Value::Null);
        match changes.iter().position(|change| change.path == old.path) {
            Some(at) if same_held(old.base.as_ref(), Some(&changes[at].value)) => {
                changes.remove(at);
            }
            Some(at) => changes[at].base.clone_from(&old.base),
            // What it held then was overwritten by something we sent: that is no edit.
            None if !same_held(Some(&old.value), Some(&now)) => {}
            None if missing || *unresolved || same_held(old.base.as_ref(), Some(&now)) => {}
            None => changes.push(FieldChange { value: now, ..old.clone() }),
        }
    }
    changes
}

/// The change is stored; its fields are not corrected in the source until they are decided.
pub(super) fn wait_for_references(
    record: &mut CanonicalRecord,
    index: usize,
    arrival: &Arrival<'_>,
    footing: Footing,
    mut fields: Vec<FieldChange>,
    situation: &Situation<'_>,
) -> WaitingChange {
    let id = record.id;
    let mut unresolved = Vec::new();
    for missing in &arrival.missing {
        if unresolved.contains(&missing.field) {
            continue;
        }
        unresolved.push(missing.field.clone());
        if fields.iter().any(|change| change.path == missing.field) {
            continue;
        }
        // Said before, by an update this one overtakes: the base is what the system held before that.
        let earlier = arrival.overtaken.iter().map(|old| &old.change).find(|change| change.path == missing.field);
        let held = || record.links[index].shadow.held.get(&record.data, &missing.field).cloned();
        let base = earlier.map_or_else(held, |change| change.base.clone());
        let value = arrival.leaves.get(&missing.field).cloned().unwrap_or_else(|| Value::from(missing.key.native_id.as_str()));
        fields.push(FieldChange { path: missing.field.clone(), base, value, assumed: false });
    }
    let change = WaitingChange { canonical_id: id, fields, unresolved, joins: footing == Footing::Joins };
    keep_waiting(record, index, arrival.change, &change, situation);
    change
}
