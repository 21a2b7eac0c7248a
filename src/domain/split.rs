//! A native record that belongs to another thing is taken out of its canonical record again, with what came from it (§1.10).
//!
//! What was a record of its own becomes that one again: as it was before the merge, with what its systems changed since. What
//! the merge made of the other record is taken back wherever nobody has changed it since. A link that never was a record of its
//! own becomes a new one: what its system is known to hold.

use std::collections::BTreeSet;

use super::canonical::CanonicalRecord;
use super::identity::{Claim, KeyRule, claims_of};
use super::ids::{CanonicalId, NativeId, SystemName, UpdateId};
use super::link::{Link, LinkState};
use super::merge::{Before, Undo, rebased};
use super::planted;
use super::provenance::{DecidedBy, Source};
use super::time::Timestamp;
use super::value::{FieldPath, Leaves};

/// Why a record can't be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CantSplit {
    /// It is not there as a record of its own.
    #[error("record {0} is deleted")]
    Deleted(CanonicalId),
    /// The record has no such link.
    #[error("the record is not known in {0} as {1}")]
    NoLink(SystemName, NativeId),
    /// Its system has let go of it, and it never was a record of its own.
    #[error("{0} has let go of {1}: there is nothing left of it to take out")]
    Gone(SystemName, NativeId),
    /// Nothing was named.
    #[error("name at least one native record to take out, as system:native_id")]
    Nothing,
    /// Nothing would be left.
    #[error("this would take out every native record; one has to stay")]
    Everything,
}

/// What a split did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    /// Fields that changed in the record that is left.
    pub changed: Vec<FieldPath>,
    /// Fields of the one that was taken out which were not the same in it before.
    pub taken: Vec<FieldPath>,
    /// The native records that moved, former ids included.
    pub moved: Vec<(SystemName, NativeId)>,
    /// Messages nobody has to send any more: system and newest rev.
    pub closed: Vec<(SystemName, u64)>,
}

/// How it is written down.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// The row of the record that is left.
    pub left: &'a UpdateId,
    /// The row of the one that is taken out.
    pub out: &'a UpdateId,
    /// Who wants it.
    pub by: &'a DecidedBy,
    /// When.
    pub at: Timestamp,
    /// What fields were before a system that leaves gave them their value, as far as that is still known.
    pub before: &'a Leaves,
    /// Key fields that do not become again what they were: that belongs to a third record by now.
    pub kept: &'a BTreeSet<FieldPath>,
}

impl Note<'_> {
    fn source(&self, row: &UpdateId, system: Option<SystemName>, version: u64) -> Source {
        let system = system.unwrap_or_else(|| row.system.clone());
        Source { system, update: row.clone(), version, at: self.at, occurred_at: None, by: self.by.clone() }
    }
}

/// The record that the named links were before they became part of this one, if they are all that came from it.
#[must_use]
pub fn former(record: &CanonicalRecord, natives: &[(SystemName, NativeId)]) -> Option<CanonicalId> {
    let named: BTreeSet<usize> = natives.iter().filter_map(|(system, id)| record.link_of(system, id)).collect();
    let id = record.links[*named.first()?].from?;
    let came_from_it: BTreeSet<usize> = (0..record.links.len()).filter(|index| record.links[*index].from == Some(id)).collect();
    (named == came_from_it).then_some(id)
}

/// What a key would make the two claim if all of it became what it was before a merge, or before a system that leaves said
/// otherwise.
#[must_use]
pub fn claims_restored(record: &CanonicalRecord, out: &CanonicalRecord, before: &Leaves, key: &KeyRule) -> BTreeSet<Claim> {
    let former = |path: &FieldPath| match out.undo.iter().flat_map(|undo| &undo.before).find(|before| before.field == *path) {
        Some(before) => before.value.as_ref(),
        None => before.get(path).or_else(|| record.data.get(path)),
    };
    let key = std::slice::from_ref(key);
    let mut claims = claims_of(key, former);
    claims.extend(claims_of(key, |path| out.data.get(path)));
    claims
}

/// Takes links out of `record` and gives them to `out`: a new record, or the one they were before.
pub fn split(
    record: &mut CanonicalRecord,
    out: &mut CanonicalRecord,
    natives: &[(SystemName, NativeId)],
    note: Note<'_>,
) -> Result<Split, CantSplit> {
    let chosen = chosen(record, natives, out.undo.is_some())?;
    let (mut staying, mut leaving) = (Vec::new(), Vec::new());
    for (index, link) in std::mem::take(&mut record.links).into_iter().enumerate() {
        if chosen.contains(&index) { leaving.push(link) } else { staying.push(link) }
    }
    record.links = staying;
    let undo = out.undo.take().map(|undo| *undo);
    let mut result = Split { taken: take_out(record, out, &leaving, undo.as_ref(), note), ..Split::default() };
    let systems: BTreeSet<SystemName> = leaving.iter().map(|link| link.system.clone()).collect();
    for link in leaving {
        result.closed.push((link.system.clone(), link.rev));
        result.moved.extend(link.native_id.iter().chain(&link.aliases).map(|id| (link.system.clone(), id.clone())));
        record.revs.insert(link.system.clone(), link.rev);
        let rev = link.rev.max(out.used_rev(&link.system));
        out.links.push(Link { rev, from: None, ..rebased(link, &record.data, &out.data, out.version) });
        out.links.last_mut().into_iter().for_each(Link::tell_again);
    }
    out.merged_into = None;
    record.absorbed.remove(&out.id);
    // What was taken out before is neither of the two.
    out.apart.extend(record.apart.iter().filter(|id| **id != out.id).copied());
    if !planted::fault("split_not_remembered") {
        record.apart.insert(out.id);
        out.apart.insert(record.id);
    }
    result.changed = take_back(record, &systems, undo, note);
    Ok(result)
}

/// The links that are meant. `was_one`: they were a record of their own.
fn chosen(record: &CanonicalRecord, natives: &[(SystemName, NativeId)], was_one: bool) -> Result<BTreeSet<usize>, CantSplit> {
    if record.tombstone.is_some() {
        return Err(CantSplit::Deleted(record.id));
    }
    if natives.is_empty() {
        return Err(CantSplit::Nothing);
    }
    let mut chosen = BTreeSet::new();
    for (system, id) in natives {
        let index = record.link_of(system, id).ok_or_else(|| CantSplit::NoLink(system.clone(), id.clone()))?;
        if record.links[index].state == LinkState::Detached && !was_one {
            return Err(CantSplit::Gone(system.clone(), id.clone()));
        }
        chosen.insert(index);
    }
    let stays = |(index, link): (usize, &Link)| !chosen.contains(&index) && link.state == LinkState::Linked;
    if record.links.iter().enumerate().any(stays) { Ok(chosen) } else { Err(CantSplit::Everything) }
}

/// Makes the record that is taken out; returns the fields in which it is not what it was.
fn take_out(record: &CanonicalRecord, out: &mut CanonicalRecord, leaving: &[Link], undo: Option<&Undo>, note: Note<'_>) -> Vec<FieldPath> {
    let version = out.version + 1;
    let mut data = out.data.clone();
    let mut from: Vec<(FieldPath, Source)> = Vec::new();
    for link in leaving {
        let own = |path: &FieldPath| record.provenance.of(path).filter(|source| source.system == link.system);
        let since = |source: &Source| undo.is_none_or(|undo| undo.is_followed_by(source));
        let said = record.data.iter().filter_map(|(path, value)| Some((path, value, own(path).filter(|source| since(source))?.clone())));
        // What it merely holds may be what it was sent; that is all there is where it never was a record of its own.
        let holds = holds(link, &record.data);
        let held = holds.iter().filter(|(path, _)| undo.is_none() && own(path).is_none());
        let kept = holds.iter().filter(|(path, _)| undo.is_some() && note.kept.contains(*path));
        let held = held.chain(kept).map(|(path, value)| (path, value, note.source(note.out, Some(link.system.clone()), version)));
        for (path, value, source) in said.chain(held) {
            // Of two systems that are taken out together, the first one's word counts.
            if from.iter().all(|(taken, _)| taken != path) {
                data.set(path.clone(), value.clone());
                from.push((path.clone(), Source { version, ..source }));
            }
        }
    }
    let changed = out.data.differing(&data);
    out.version = version;
    out.updated_at = note.at;
    out.replace_data(data, &changed);
    for (path, source) in from.into_iter().filter(|(path, _)| changed.contains(path)) {
        out.provenance.set([path], &source);
    }
    let data = &out.data;
    out.provenance.retain(|path| data.get(path).is_some());
    changed
}

/// Takes back what was brought by those that left. What was known before them comes back; else a field becomes what the first of
/// the others holds, or goes.
fn take_back(record: &mut CanonicalRecord, gone: &BTreeSet<SystemName>, undo: Option<Undo>, note: Note<'_>) -> Vec<FieldPath> {
    let (merged_at, before) = undo.map_or((None, Vec::new()), |undo| (Some(undo.version), undo.before));
    let of = |path: &FieldPath| record.provenance.of(path);
    // A value the merge put together, or one of theirs: whoever else has spoken since keeps the word.
    let theirs = |path: &FieldPath| of(path).is_none_or(|source| gone.contains(&source.system) || Some(source.version) == merged_at);
    let restored: Vec<Before> = before.into_iter().filter(|before| theirs(&before.field) && !note.kept.contains(&before.field)).collect();
    let is_restored = |path: &FieldPath| restored.iter().any(|before| before.field == *path);
    let brought = record.provenance.iter().filter(|(path, source)| gone.contains(&source.system) && !is_restored(path));
    let brought: Vec<FieldPath> = brought.map(|(path, _)| path.clone()).collect();
    let mut data = record.data.clone();
    for before in &restored {
        put(&mut data, &before.field, before.value.clone());
    }
    let mut holders = Vec::new();
    for path in &brought {
        if let Some(known) = note.before.get(path).filter(|_| !note.kept.contains(path)) {
            put(&mut data, path, Some(known.clone()));
            holders.push(None);
            continue;
        }
        let linked = record.links.iter().filter(|link| link.state == LinkState::Linked);
        let mut held = linked.filter_map(|link| Some((link.system.clone(), holds(link, &record.data).get(path)?.clone())));
        let holder = held.next();
        put(&mut data, path, holder.as_ref().map(|(_, value)| value.clone()));
        holders.push(holder.map(|(system, _)| system));
    }
    let changed = record.data.differing(&data);
    record.version += 1;
    record.updated_at = note.at;
    record.replace_data(data, &changed);
    for before in restored {
        let unknown = || note.source(note.left, None, record.version);
        record.provenance.set([before.field], &before.source.unwrap_or_else(unknown));
    }
    for (path, system) in brought.into_iter().zip(holders) {
        record.provenance.set([path], &note.source(note.left, system, record.version));
    }
    let data = &record.data;
    record.provenance.retain(|path| data.get(path).is_some());
    changed
}

/// What a system has: what it said, and what it answered since that it has applied.
fn holds(link: &Link, canonical: &Leaves) -> Leaves {
    let mut state: Leaves = link.shadow.held.all(canonical).map(|(path, value)| (path.clone(), value.clone())).collect();
    for sent in link.shadow.sends.iter().filter(|sent| sent.rev <= link.shadow.answered_rev) {
        if sent.whole {
            state = sent.values.all(canonical).map(|(path, value)| (path.clone(), value.clone())).collect();
            continue;
        }
        for path in &sent.fields {
            put(&mut state, path, sent.values.get(canonical, path).cloned());
        }
    }
    // What it says and nobody has decided about is not taken for granted by moving it.
    for path in link.waits.iter().flat_map(|waits| &waits.fields) {
        put(&mut state, path, canonical.get(path).cloned());
    }
    state
}

fn put(data: &mut Leaves, path: &FieldPath, value: Option<serde_json::Value>) {
    match value {
        Some(value) => data.set(path.clone(), value),
        None => {
            data.remove(path);
        }
    }
}
