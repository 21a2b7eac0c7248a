//! The invariants of §4.4 and the guarantees of §1.4, checked on a world at rest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::change::Op;
use syncline::domain::decision::{Decision, DecisionKind};
use syncline::domain::ids::{CanonicalId, SystemName};
use syncline::domain::link::{Link, LinkState};
use syncline::domain::waiting::WaitingFor;
use syncline::ports::store::{DecisionFilter, Store};

use crate::history::kind_of;
use crate::system::{Outgoing, Profile};
use crate::world::World;

pub async fn records(world: &World) -> Vec<CanonicalRecord> {
    world.store.list_records(None, None, 10_000).await.unwrap().into_iter().map(|versioned| (*versioned.record).clone()).collect()
}

pub async fn versions(world: &World) -> BTreeMap<CanonicalId, u64> {
    records(world).await.into_iter().map(|record| (record.id, record.version)).collect()
}

/// Every row in a line, oldest first.
pub async fn rows(world: &World) -> Vec<String> {
    let mut rows = world.store.decisions(&DecisionFilter::default(), None, 100_000).await.unwrap().items;
    rows.reverse();
    rows.iter().map(|row| format!("{} {:?} {}: {}", row.update, row.decision, row.version_after, row.reason)).collect()
}

pub async fn everything(world: &World) -> Result<(), String> {
    let records = records(world).await;
    let decisions = world.store.decisions(&DecisionFilter::default(), None, 100_000).await.unwrap().items;
    each_update_has_one_row(world, &decisions).await?;
    versions_follow(&records, &decisions)?;
    nothing_waits_or_is_owed(world).await?;
    links_and_keys_are_unique(world, &records)?;
    systems_hold_their_projection(world, &records, &decisions)?;
    edits_were_judged_rightly(world, &decisions)?;
    no_foreign_ids(world)?;
    match world.verified().await {
        broken if broken.is_empty() => Ok(()),
        broken => Err(format!("verify finds {broken:#?}")),
    }
}

/// A part of what its system had deleted already waits for a whole record that will not come.
fn is_part_of_gone(world: &World, decision: &Decision) -> bool {
    let system = world.systems.iter().find(|system| system.name == decision.source_system.as_str());
    let native = decision.native_id.as_ref().map(ToString::to_string).unwrap_or_default();
    decision.op == Op::Patch && system.is_some_and(|system| !system.rows.contains_key(&native))
}

async fn each_update_has_one_row(world: &World, decisions: &[Decision]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for decision in decisions {
        if !seen.insert(decision.update.to_string()) {
            return Err(format!("{} has two rows", decision.update));
        }
        if decision.decision.is_waiting() && !is_part_of_gone(world, decision) {
            return Err(format!("{} still waits at rest: {}", decision.update, decision.reason));
        }
    }
    let dead = world.store.dead_letters(None, 100).await.unwrap().items;
    if let Some(dead) = dead.first() {
        return Err(format!("a dead letter: {dead:?}"));
    }
    match world.published.keys().find(|id| !seen.contains(*id)) {
        Some(lost) => Err(format!("{lost} was published and never decided")),
        None => Ok(()),
    }
}

fn versions_follow(records: &[CanonicalRecord], decisions: &[Decision]) -> Result<(), String> {
    for record in records {
        let mut of_record: Vec<&Decision> = decisions.iter().filter(|decision| decision.canonical_id == Some(record.id)).collect();
        of_record.retain(|decision| decision.version_after > decision.version_before);
        of_record.sort_by_key(|decision| decision.version_after);
        let versions: Vec<u64> = of_record.iter().map(|decision| decision.version_after).collect();
        let expected: Vec<u64> = (1..=record.version).collect();
        if versions != expected {
            return Err(format!("record {} is at version {}, its decisions made {versions:?}", record.id, record.version));
        }
        for pair in of_record.windows(2) {
            let fold = pair[1].version_before == pair[0].version_after;
            if !fold {
                return Err(format!("{} does not follow on {}", pair[1].update, pair[0].update));
            }
        }
        let last = of_record.last().and_then(|decision| decision.accepted_snapshot.as_ref());
        if last != Some(&record.data) {
            return Err(format!("record {} is not what its last decision made it: {last:?} {:?}", record.id, record.data));
        }
    }
    Ok(())
}

async fn nothing_waits_or_is_owed(world: &World) -> Result<(), String> {
    let owed = world.store.owed(0, 10).await.unwrap();
    if let Some((_, owed)) = owed.first() {
        return Err(format!("still owed at rest: {owed:?}"));
    }
    let waiting = world.store.list_waiting(None, 100).await.unwrap();
    let parts = waiting.iter().filter(|waiting| matches!(waiting.waiting_for, WaitingFor::NoBase)).count();
    if parts < waiting.len() { Err(format!("still waiting at rest: {waiting:?}")) } else { Ok(()) }
}

fn links_and_keys_are_unique(world: &World, records: &[CanonicalRecord]) -> Result<(), String> {
    let mut links = BTreeSet::new();
    let mut claims = BTreeSet::new();
    for record in records {
        for link in &record.links {
            if let Some(native) = &link.native_id
                && !links.insert((link.system.clone(), record.entity_type.clone(), native.clone()))
            {
                return Err(format!("{native} of {} belongs to two records", link.system));
            }
        }
        for claim in &record.claims {
            if !claims.insert((record.entity_type.clone(), claim.clone())) {
                return Err(format!("{claim} belongs to two records"));
            }
        }
    }
    for system in &world.systems {
        let name = SystemName::new(&system.name).unwrap();
        for native in system.rows.keys() {
            let linked = links.iter().any(|(system, _, id)| *system == name && id.as_str() == native);
            if !linked {
                return Err(format!("{native} of {name} belongs to no record"));
            }
        }
    }
    Ok(())
}

fn systems_hold_their_projection(world: &World, records: &[CanonicalRecord], decisions: &[Decision]) -> Result<(), String> {
    for system in &world.systems {
        let name = SystemName::new(&system.name).unwrap();
        for record in records {
            let gone = |link: &Link| link.system == name && link.native_id.as_ref().is_some_and(|id| system.rows.contains_key(id.as_str()));
            if record.tombstone.is_some() {
                if let Some(link) = record.links.iter().find(|link| gone(link)) {
                    return Err(format!("{name} still has {:?}, which is deleted (link {link:?})", link.native_id));
                }
                continue;
            }
            let Some(link) = record.links.iter().find(|link| link.system == name && link.state == LinkState::Linked) else { continue };
            let native = link.native_id.as_ref().map(ToString::to_string).unwrap_or_default();
            let Some(row) = system.rows.get(&native) else { return Err(format!("{name} lost {native}")) };
            for (path, value) in record.data.iter() {
                let expected = reference(records, &name, path.as_str(), value);
                let held = row.fields.get(&unescaped(path.as_str())).unwrap_or(&Value::Null);
                // A child keeps what it says of a parent that is deleted, until it is sent anything.
                let orphan = REFERENCES.contains(&path.as_str()) && deleted(records, value);
                let former = REFERENCES.contains(&path.as_str()) && is_former(records, &name, value, held);
                // What was refused is not sent again, whatever else it would have put right.
                let kept = link.rejected.is_some() && !taken_back(decisions, record, link);
                let refused = kept || system.refused.get(&native).is_some_and(|fields| fields.contains(&unescaped(path.as_str())));
                let same = orphan
                    || former
                    || refused
                    || held == &expected
                    || system.traits.trims && held.as_str().map(str::trim) == expected.as_str().map(str::trim);
                if !same {
                    return Err(format!("{name} holds {path} = {held} in {native}, canonical is {expected} (link {link:?})"));
                }
            }
            let extra = row
                .fields
                .iter()
                .filter(|(field, _)| !system.refused.get(&native).is_some_and(|fields| fields.contains(*field)))
                .find(|(field, value)| !value.is_null() && record.data.get(&syncline::domain::value::FieldPath::name(field)).is_none());
            if let Some((field, value)) = extra {
                return Err(format!("{name} holds {field} = {value} in {native}, the canonical record knows nothing of it"));
            }
        }
    }
    Ok(())
}

/// Whether what a system refused was taken back, so that it is to hold what everybody holds. A correction is nobody's change.
fn taken_back(decisions: &[Decision], record: &CanonicalRecord, link: &Link) -> bool {
    let refused = format!("{} refused rev {} ", link.system, link.rev);
    decisions.iter().any(|row| row.canonical_id == Some(record.id) && row.op == Op::Compensate && row.reason.starts_with(&refused))
}

/// The record a reference leads to: what was merged away is the surviving one.
fn meant<'r>(records: &'r [CanonicalRecord], value: &Value) -> Option<&'r CanonicalRecord> {
    let id = CanonicalId::parse(value.as_str()?).ok()?;
    let survives = |record: &&CanonicalRecord| record.merged_into.is_none() && record.absorbed.contains(&id);
    records.iter().find(survives).or_else(|| records.iter().find(|record| record.id == id))
}

fn deleted(records: &[CanonicalRecord], value: &Value) -> bool {
    meant(records, value).is_some_and(|record| record.tombstone.is_some())
}

/// Whether a reference is to an id its record had before: it still leads there.
fn is_former(records: &[CanonicalRecord], system: &SystemName, value: &Value, held: &Value) -> bool {
    let parent = meant(records, value);
    let mut links = parent.into_iter().flat_map(|parent| &parent.links).filter(|link| link.system == *system);
    links.any(|link| {
        let let_go = link.native_id.iter().filter(|_| link.state == LinkState::Detached);
        link.aliases.iter().chain(let_go).any(|id| Some(id.as_str()) == held.as_str())
    })
}

/// Fields that hold the id of a thing.
const REFERENCES: [&str; 2] = ["thing_id", "peer_id"];

fn unescaped(path: &str) -> String {
    path.replace("\\.", ".")
}

fn reference(records: &[CanonicalRecord], system: &SystemName, path: &str, value: &Value) -> Value {
    if !REFERENCES.contains(&path) {
        return value.clone();
    }
    meant(records, value).and_then(|parent| parent.native_id(system)).map_or(Value::Null, |native| Value::from(native.as_str()))
}

/// For exact adapters: what the decision says was changed is just what a user changed. For silent patches: every field.
fn edits_were_judged_rightly(world: &World, decisions: &[Decision]) -> Result<(), String> {
    for decision in decisions {
        let Some(outgoing) = world.published.get(&decision.update.to_string()) else { continue };
        let grew = decision.version_after > decision.version_before;
        if grew && world.said_untouched.contains(&decision.update.to_string()) {
            return Err(format!("{} says what it always said, the decision takes {:?}", decision.update, decision.changed));
        }
        let Some(truth) = &outgoing.truth else { continue };
        let system = world.systems.iter().find(|system| system.name == decision.source_system.as_str()).unwrap();
        let exact = matches!(system.traits.profile, Profile::Base | Profile::Receipts | Profile::SilentPatches);
        let first = ["joins it", "a new record", "a new link", "has the record again"].iter().any(|told| decision.reason.contains(told));
        let judged = !matches!(decision.decision, DecisionKind::Superseded | DecisionKind::Parked | DecisionKind::Deferred) && !first;
        // What it overtook while that waited is its own change now.
        let overtook = format!("overtaken by {},", decision.update);
        let judged = judged && !decisions.iter().any(|other| other.reason.starts_with(&overtook));
        // A copy may come before what it is a copy of, which has waited: then that is the copy.
        let same = |other: &Outgoing| ["native_id", "seq"].iter().all(|field| other.body[field] == outgoing.body[field]);
        let original = |other: &Decision| world.published.get(&other.update.to_string()).is_some_and(same);
        let first_of_two = decisions.iter().any(|other| other.reason.contains("old copy") && original(other));
        if !exact
            || !judged
            || first_of_two
            || decision.reason.contains("made the record")
            || decision.reason.contains("old copy")
            || decision.reason.contains("deleted")
            || decision.attempts > 1
        {
            continue;
        }
        let mut said: BTreeSet<String> = decision.changed.iter().map(|path| unescaped(path.as_str())).collect();
        // A create that leaves a reference out may find a record that has it: it is heard of here for the first time.
        if decision.decision == DecisionKind::Unchanged && !truth.iter().any(|field| field == "peer_id") {
            said.remove("peer_id");
        }
        // So may one that has kept a reference to what was deleted and is back, and refuses to be told of it again.
        if world.brought_back {
            let null = |field: &String| outgoing.body["entity"].get(field).is_none_or(Value::is_null);
            let counts = |field: &String| decision.decision != DecisionKind::Unchanged && null(field);
            said.retain(|field| !REFERENCES.contains(&field.as_str()) || truth.contains(field) || counts(field));
        }
        let meant: BTreeSet<String> = truth.iter().cloned().collect();
        if said != meant {
            return Err(format!("{}: a user changed {meant:?}, the decision says {said:?} ({})", decision.update, decision.reason));
        }
    }
    Ok(())
}

fn no_foreign_ids(world: &World) -> Result<(), String> {
    for system in &world.systems {
        for (native, row) in &system.rows {
            for parent in REFERENCES.iter().filter_map(|field| row.fields.get(*field)?.as_str()) {
                if !parent.starts_with(&system.name) || kind_of(parent) != "thing" {
                    return Err(format!("{native} of {} refers to {parent}, which is not one of its ids", system.name));
                }
            }
        }
    }
    Ok(())
}
