//! A native record that belongs to another thing is taken out of its canonical record again, with what came from it (§1.10).
//!
//! What a link has brought is known: its system's whole record is in its shadow.

use std::collections::BTreeSet;

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::ids::{CanonicalId, NativeId, SystemName, UpdateId};
use super::link::{Link, LinkState};
use super::merge::rebased;
use super::provenance::{DecidedBy, Source};
use super::time::Timestamp;
use super::value::{FieldPath, Leaves};

/// Why a record can't be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CantSplit {
    /// It is not there as a record of its own.
    #[error("record {0} is deleted or part of another one")]
    NotLive(CanonicalId),
    /// The record has no such link.
    #[error("the record is not known in {0} as {1}")]
    NoLink(SystemName, NativeId),
    /// Nothing was named.
    #[error("name at least one native record to take out")]
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
    /// Fields of the one that was taken out.
    pub taken: Vec<FieldPath>,
    /// The native records that moved, former ids included.
    pub moved: Vec<(SystemName, NativeId)>,
    /// Messages nobody has to send any more: system and newest rev.
    pub closed: Vec<(SystemName, u64)>,
}

/// The record that the named links were before they became part of this one, if all of them were the same.
#[must_use]
pub fn former(record: &CanonicalRecord, natives: &[(SystemName, NativeId)]) -> Option<CanonicalId> {
    let from: BTreeSet<Option<CanonicalId>> =
        natives.iter().filter_map(|(system, id)| record.link_of(system, id)).map(|index| record.links[index].from).collect();
    let all: Vec<&Link> = record.links.iter().filter(|link| link.from.is_some() && from.contains(&link.from)).collect();
    match from.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(id)] if all.len() == natives.len() => Some(*id),
        _ => None,
    }
}

/// Takes links out of `record` and gives them to `out`: a new record, or the one they were before. Fields of `record` that came
/// from their systems fall back to what the systems that stay are known to hold.
pub fn split(
    record: &mut CanonicalRecord,
    out: &mut CanonicalRecord,
    natives: &[(SystemName, NativeId)],
    rows: [&UpdateId; 2],
    by: &DecidedBy,
    now: Timestamp,
) -> Result<Split, CantSplit> {
    let chosen = chosen(record, natives)?;
    let mut result = Split::default();
    let (mut staying, mut leaving) = (Vec::new(), Vec::new());
    for (index, link) in std::mem::take(&mut record.links).into_iter().enumerate() {
        if chosen.contains(&index) { leaving.push(link) } else { staying.push(link) }
    }
    let mut data = out.data.clone();
    for link in leaving.iter().rev() {
        for (path, value) in link.shadow.held.all(&record.data) {
            data.set(path.clone(), value.clone());
        }
    }
    result.taken = out.data.differing(&data);
    write(out, data, &result.taken, now);
    for path in &result.taken {
        let from = leaving.iter().find(|link| link.shadow.held.get(&record.data, path).is_some());
        let system = from.or(leaving.first()).map(|link| link.system.clone());
        out.provenance.set([path.clone()], &source(system, rows[1], out.version, by, now));
    }
    for link in leaving {
        result.closed.push((link.system.clone(), link.rev));
        result.moved.extend(link.native_id.iter().chain(&link.aliases).map(|id| (link.system.clone(), id.clone())));
        let mut link = rebased(link, &record.data, &out.data, record.id);
        link.from = None;
        out.links.push(link);
    }
    out.merged_into = None;
    record.absorbed.remove(&out.id);
    record.links = staying;
    result.changed = fall_back(record, &result.moved, rows[0], by, now);
    Ok(result)
}

fn chosen(record: &CanonicalRecord, natives: &[(SystemName, NativeId)]) -> Result<BTreeSet<usize>, CantSplit> {
    if !record.is_live() {
        return Err(CantSplit::NotLive(record.id));
    }
    if natives.is_empty() {
        return Err(CantSplit::Nothing);
    }
    let mut chosen = BTreeSet::new();
    for (system, id) in natives {
        chosen.insert(record.link_of(system, id).ok_or_else(|| CantSplit::NoLink(system.clone(), id.clone()))?);
    }
    let stays = |(index, link): (usize, &Link)| !chosen.contains(&index) && link.state == LinkState::Linked;
    if record.links.iter().enumerate().any(stays) { Ok(chosen) } else { Err(CantSplit::Everything) }
}

/// Fields that came from what was taken out become what the first of the others holds, or go.
fn fall_back(
    record: &mut CanonicalRecord,
    moved: &[(SystemName, NativeId)],
    row: &UpdateId,
    by: &DecidedBy,
    now: Timestamp,
) -> Vec<FieldPath> {
    let gone: BTreeSet<&SystemName> = moved.iter().map(|(system, _)| system).collect();
    let theirs: Vec<FieldPath> =
        record.provenance.iter().filter(|(_, source)| gone.contains(&source.system)).map(|(path, _)| path.clone()).collect();
    let mut data = record.data.clone();
    let mut from: Vec<(FieldPath, Option<SystemName>)> = Vec::new();
    for path in theirs {
        let held = record.links.iter().find_map(|link| Some((link.system.clone(), link.shadow.held.get(&record.data, &path)?.clone())));
        match held {
            Some((system, value)) => {
                data.set(path.clone(), value);
                from.push((path, Some(system)));
            }
            None => {
                data.set(path.clone(), Value::Null);
                from.push((path, None));
            }
        }
    }
    let data: Leaves = data
        .iter()
        .filter(|(path, value)| !(value.is_null() && from.iter().any(|(gone, system)| gone == *path && system.is_none())))
        .map(|(path, value)| (path.clone(), value.clone()))
        .collect();
    let changed = record.data.differing(&data);
    write(record, data, &changed, now);
    for (path, system) in from {
        record.provenance.set([path], &source(system, row, record.version, by, now));
    }
    let data = &record.data;
    record.provenance.retain(|path| data.get(path).is_some());
    changed
}

fn write(record: &mut CanonicalRecord, data: Leaves, changed: &[FieldPath], now: Timestamp) {
    record.version += 1;
    record.updated_at = now;
    record.replace_data(data, changed);
}

fn source(system: Option<SystemName>, update: &UpdateId, version: u64, by: &DecidedBy, at: Timestamp) -> Source {
    let system = system.unwrap_or_else(|| update.system.clone());
    Source { system, update: update.clone(), version, at, occurred_at: None, by: by.clone() }
}
