//! An accepted change that a target refuses is taken back (§1.11): an accepted change is a small saga over its targets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::ids::{SystemName, UpdateId};
use super::link::Link;
use super::masks::{hides, is_mask};
use super::planted;
use super::provenance::{ByKind, DecidedBy, Source};
use super::sending::Due;
use super::time::Timestamp;
use super::value::{FieldPath, Leaves, same_held};

/// What a target's refusal means for the change it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReject {
    /// The change stays; the target keeps what it has.
    #[default]
    Keep,
    /// A person says.
    Review,
    /// The change is taken back everywhere.
    Compensate,
}

/// A change that is to be taken back, and what its record was before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// The update.
    pub update: UpdateId,
    /// What it changed.
    pub fields: Vec<FieldPath>,
    /// The record before it; `None` where that is not stored any more.
    pub before: Option<Leaves>,
    /// Key fields among them whose former values belong to another record by now.
    pub kept: BTreeSet<FieldPath>,
    /// The systems the former values came from, as far as that is known: rules go on by them.
    pub former: BTreeMap<FieldPath, SystemName>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compensated {
    /// Fields that are again what they were.
    pub restored: Vec<FieldPath>,
    /// Fields somebody has changed since: they stay.
    pub changed_since: Vec<FieldPath>,
    /// Key fields that stay, as what they were belongs to another record by now.
    pub kept: Vec<FieldPath>,
    /// Fields of which nobody knows any more what they were: they stay.
    pub unknown: Vec<FieldPath>,
}

/// The updates that a refused message carries: those its system was never known to have applied.
#[must_use]
pub fn carried(record: &CanonicalRecord, link: &Link, rev: u64) -> BTreeSet<UpdateId> {
    let Some(refused) = link.shadow.sends.iter().find(|sent| sent.rev == rev) else { return BTreeSet::new() };
    // What earlier messages were to change and nobody has confirmed is in this one as well.
    let open = link.shadow.sends.iter().filter(|sent| sent.rev <= rev);
    // What it is given back as its own is nobody else's change.
    let shown = |field: &&FieldPath| same_held(refused.values.get(&record.data, field), record.data.get(field));
    // What took the place of a field, or of the object it was, says where its going came from.
    let places = |field: &FieldPath| record.data.around(field).into_iter().chain(record.data.inside(field)).chain([field.clone()]);
    let sources = open.flat_map(|sent| &sent.fields).filter(shown).flat_map(places).filter_map(|field| record.provenance.of(&field));
    let new =
        |source: &&Source| source.version <= refused.version && source.version > link.shadow.known_version && source.system != link.system;
    let taken_back = link.shadow.sends.iter().filter(|sent| sent.rev <= rev && sent.rev > link.shadow.answered_rev);
    let taken_back = taken_back.flat_map(|sent| &sent.takes_back).filter(|_| !planted::fault("taken_back_forgotten"));
    sources.filter(new).map(|source| &source.update).chain(taken_back).cloned().collect()
}

/// Notes in what the commit being prepared sends that it tells of a compensation.
pub fn note_compensation(record: &mut CanonicalRecord, due: &[Due], compensation: &UpdateId) {
    for link in record.links.iter_mut().filter(|link| due.iter().any(|due| due.system == link.system)) {
        for sent in link.shadow.sends.iter_mut().filter(|sent| sent.fresh) {
            sent.takes_back.insert(compensation.clone());
        }
    }
}

/// Whether an update is itself a compensation.
#[must_use]
pub fn is_compensation(update: &UpdateId) -> bool {
    update.system.as_str() == "syncline" && update.id.as_str().starts_with("compensate:")
}

/// Whether a snapshot has the values of all there is in a field.
fn tells_all_of(snapshot: &Leaves, field: &FieldPath) -> bool {
    snapshot.inside(field).iter().all(|path| snapshot.get(path).is_none_or(|value| !is_mask(path, value)))
}

/// The leaves inside and around a field.
fn around_and_inside(leaves: &Leaves, field: &FieldPath) -> Vec<(FieldPath, Value)> {
    let paths = leaves.around(field).into_iter().chain(leaves.inside(field));
    paths.filter_map(|path| Some((path.clone(), leaves.get(&path)?.clone()))).collect()
}

/// Takes a change back, by the last of `rows`; the others took back later changes for the same refusal. `held` is what the refusing
/// system is known to hold: what is known of the record where nothing else is.
pub fn compensate(record: &mut CanonicalRecord, undone: &Undone, held: &Leaves, rows: &[UpdateId], now: Timestamp) -> Compensated {
    let Some(row) = rows.last() else { return Compensated::default() };
    let mut done = Compensated::default();
    let mut data = record.data.clone();
    for field in &undone.fields {
        let is_its_own = |source: &Source| source.update == undone.update || rows.contains(&source.update);
        if !record.provenance.of(field).is_some_and(is_its_own) {
            done.changed_since.push(field.clone());
            continue;
        }
        if undone.kept.contains(field) {
            done.kept.push(field.clone());
            continue;
        }
        let known = match &undone.before {
            // A snapshot that does not say it is none.
            Some(before) if hides(before, field) => held.get(field).map(|value| Some(value.clone())),
            Some(before) => Some(before.get(field).cloned()),
            None => held.get(field).map(|value| Some(value.clone())),
        };
        match known {
            Some(Some(value)) => data.set(field.clone(), value),
            Some(None) => {
                data.remove(field);
                // It was an object, or lay within a value: what the change took away with it.
                let told = undone.before.as_ref().filter(|before| tells_all_of(before, field));
                for (path, value) in around_and_inside(told.unwrap_or(held), field) {
                    data.set(path, value);
                }
            }
            None => {
                done.unknown.push(field.clone());
                continue;
            }
        }
        done.restored.push(field.clone());
    }
    if done.restored.is_empty() {
        return done;
    }
    let changed = record.data.differing(&data);
    record.version += 1;
    record.updated_at = now;
    record.replace_data(data, &changed);
    let source = |system: &SystemName| Source {
        system: system.clone(),
        update: row.clone(),
        version: record.version,
        at: now,
        occurred_at: None,
        by: DecidedBy::named(ByKind::System, format!("compensates update {}", undone.update)),
    };
    let restored = |path: &FieldPath| done.restored.iter().any(|field| path.is_within(field) || field.is_within(path));
    let also = changed.into_iter().filter(|path| !done.restored.contains(path) && restored(path));
    let mut by_system: BTreeMap<&SystemName, Vec<FieldPath>> = BTreeMap::new();
    for path in done.restored.iter().cloned().chain(also) {
        by_system.entry(undone.former.get(&path).unwrap_or(&row.system)).or_default().push(path);
    }
    for (system, paths) in by_system {
        record.provenance.set(paths, &source(system));
    }
    let data = &record.data;
    record.provenance.retain(|path| data.get(path).is_some());
    done
}
