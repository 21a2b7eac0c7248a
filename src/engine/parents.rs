//! What a system means by the references it reports. It can only repeat what it was told: null, or a shorter list, where it has no
//! native record of its own to name; and an id that leads to one record may be another one than canonical data has for it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::decide::Decider;
use super::load::ChangeItem;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::ChangeBody;
use crate::domain::decide::{Arrival, knowledge};
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::link::LinkState;
use crate::domain::orphans::lacks_it;
use crate::domain::representation::Equality;
use crate::domain::shadow::{Knowledge, state_at};
use crate::domain::value::FieldPath;
use crate::ports::error::PortError;

/// A value of a reference.
struct Known {
    value: Value,
    /// Whether the system was told of it.
    told: bool,
    /// Whether it is only what is canonical: nothing says that the system has it.
    canonical: bool,
}

impl Decider {
    /// Reads the references of an update as what its system was told, where it could not be told more, or says the same by
    /// another id. Then nothing differs.
    pub(super) async fn read_references(
        &mut self,
        unit: &mut Unit,
        item: &ChangeItem,
        arrival: &mut Arrival<'_>,
        id: CanonicalId,
    ) -> Result<(), PortError> {
        let clears = item.source.side.absent_clears && matches!(item.change.body, ChangeBody::Upsert(_));
        for field in item.types.references.keys() {
            if arrival.missing.iter().any(|missing| missing.field == *field) {
                // By ids of the system's own, that nobody knows yet.
                continue;
            }
            let said = match arrival.leaves.get(field) {
                Some(said) => said.clone(),
                // It was told nothing there, so a whole record leaves it out.
                None if clears => Value::Null,
                None => continue,
            };
            let omits = self.directory.omits(&item.types, field, &item.change.key.system);
            let known = known_values(unit, item, field, id, omits);
            let cleared = unit.record(id).is_some_and(|record| record.data.held(field).is_none());
            if said.is_null() && cleared || known.first().is_none_or(|known| known.value == said) {
                // It was cleared, and the null says just that; or it says what it holds.
                continue;
            }
            let named: BTreeSet<CanonicalId> = known.iter().flat_map(|known| ids_of(&known.value)).collect();
            self.look_at_parents(unit, id, named).await?;
            if let Some(meant) = self.meant_by(unit, &said, &known, &item.change.key) {
                arrival.leaves.set(field.clone(), meant);
            }
        }
        Ok(())
    }

    /// Loads records that are referred to, as they are now: one may have been deleted by somebody else since it was remembered, and
    /// what is said is younger than that.
    async fn look_at_parents(&mut self, unit: &mut Unit, child: CanonicalId, parents: BTreeSet<CanonicalId>) -> Result<(), PortError> {
        for parent in parents.iter().filter(|parent| !unit.by_record.contains_key(*parent)) {
            self.caches.forget_record(*parent);
            unit.loaded.remove(parent);
        }
        self.load_ids(unit, parents.iter().copied()).await?;
        // This unit may have decided about one by what was remembered: then both are decided again.
        let makers: Vec<usize> = parents.iter().filter_map(|parent| unit.by_record.get(parent).copied()).collect();
        if let Some(draft) = unit.draft_of(child) {
            unit.drafts[draft].relied_on.extend(parents);
            unit.drafts[draft].depends.extend(makers.into_iter().filter(|maker| *maker != draft));
        }
        Ok(())
    }

    /// The value that a system repeats by what it says, if it does.
    fn meant_by(&self, unit: &Unit, said: &Value, known: &[Known], key: &NativeKey) -> Option<Value> {
        let without = |id: CanonicalId, told: bool| self.is_sent_as_null(unit, unit.meant(id), key, told);
        let same = |a: &Value, b: &Value| match (id_of(a), id_of(b)) {
            (Some(a), Some(b)) => unit.meant(a) == unit.meant(b),
            (_, _) => a == b,
        };
        let one = |known: &&Known| match said {
            Value::Null => id_of(&known.value).is_some_and(|id| without(id, known.told)),
            said => same(said, &known.value),
        };
        if let Some(known) = known.iter().filter(|known| !known.value.is_array()).find(one) {
            return Some(known.value.clone());
        }
        let items = match said {
            Value::Array(items) => items.as_slice(),
            Value::Null => &[],
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return None,
        };
        let left_out = |item: &Value, told: bool| id_of(item).is_some_and(|id| without(id, told));
        let lists: Vec<List<'_>> = known
            .iter()
            .filter_map(|known| {
                let all = known.value.as_array()?;
                let told = all.iter().filter(|item| !left_out(item, known.told)).collect();
                Some(List { all, told, canonical: known.canonical })
            })
            .collect();
        let repeats = |list: &&List<'_>| list.told.len() == items.len() && list.told.iter().zip(items).all(|(told, said)| same(told, said));
        if let Some(list) = lists.iter().find(repeats) {
            return Some(Value::Array(list.all.clone()));
        }
        // An edit of the list it was told; the one it differs from least, where that is not known.
        let differs = |list: &&List<'_>| {
            let lacks = list.told.iter().filter(|told| !items.iter().any(|said| same(told, said))).count();
            let adds = items.iter().filter(|said| !list.told.iter().any(|told| same(told, said))).count();
            (list.canonical, lacks + adds)
        };
        let edited = put_back(lists.iter().min_by_key(differs)?, items, same);
        (!(said.is_null() && edited.is_empty())).then_some(Value::Array(edited))
    }

    /// Whether a system is sent null where it would be told of this record: it is deleted, or the system has let go of it or never
    /// had it. Where it was `told` of it before, it is without it until it has it, and records of this type were looked at.
    fn is_sent_as_null(&self, unit: &Unit, id: CanonicalId, key: &NativeKey, told: bool) -> bool {
        let Some(record) = unit.record(id) else { return false };
        let let_go = record.links.iter().any(|link| link.system == key.system && link.state == LinkState::Detached);
        let without = match record.link_with(&key.system).map(|index| &record.links[index]) {
            // Told of one it never had, it was told without it.
            None => let_go || told,
            Some(link) => {
                let lacked = |was: &CanonicalRecord| lacks_it(was, link, &key.entity_type, &self.settings.rules);
                let again = link.reuniting.contains(&key.entity_type) || unit.was(id).is_some_and(lacked);
                told && (let_go && link.is_open_create() || again)
            }
        };
        record.tombstone.is_some() || without
    }
}

/// A list of references a system has or may have, and those of them it was told of.
struct List<'a> {
    all: &'a Vec<Value>,
    told: Vec<&'a Value>,
    canonical: bool,
}

/// An edited list with those its system could not be told of in their places.
fn put_back(list: &List<'_>, items: &[Value], same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    let mut edited: Vec<Value> = items.iter().map(|said| list.all.iter().find(|item| same(item, said)).unwrap_or(said).clone()).collect();
    let mut place = 0;
    for item in list.all {
        match edited.iter().position(|said| said == item) {
            Some(at) => place = at + 1,
            None if !list.told.contains(&item) => {
                edited.insert(place.min(edited.len()), item.clone());
                place += 1;
            }
            None => {}
        }
    }
    edited
}

/// What a system has in a reference when it says this, as far as that is known, and what is canonical. `omits`: what it is sent comes
/// without what it lacks, instead of being held back.
fn known_values(unit: &Unit, item: &ChangeItem, field: &FieldPath, id: CanonicalId, omits: bool) -> Vec<Known> {
    let Some(record) = unit.record(id) else { return Vec::new() };
    let key = &item.change.key;
    let link = record.link_of(&key.system, &key.native_id).or_else(|| record.link_with(&key.system)).map(|index| &record.links[index]);
    let mut known = Vec::new();
    if let Some(link) = link {
        let shadow = &link.shadow;
        let equality = Equality { types: &item.types, side: &item.source.side, stored: &shadow.stored };
        let state = |through| state_at(shadow, &record.data, equality, through, field).cloned();
        let states: Vec<(Option<Value>, bool)> = match knowledge(&item.change, link.rev, &item.source) {
            Knowledge::Base(base) => vec![(state(shadow.sends.iter().rposition(|sent| sent.rev <= base)), true)],
            Knowledge::Receipts => vec![(state(None), true)],
            Knowledge::Inexact { .. } => {
                let later = (0..shadow.sends.len()).map(|index| (state(Some(index)), omits));
                std::iter::once((state(None), true)).chain(later).collect()
            }
        };
        known.extend(states.into_iter().filter_map(|(value, told)| Some(Known { value: value?, told, canonical: false })));
    }
    known.extend(record.data.held(field).map(|value| Known { value: value.clone(), told: false, canonical: true }));
    known
}

fn id_of(value: &Value) -> Option<CanonicalId> {
    value.as_str().and_then(|text| CanonicalId::parse(text).ok())
}

/// The ids in a reference.
fn ids_of(value: &Value) -> Vec<CanonicalId> {
    match value {
        Value::Array(items) => items.iter().filter_map(id_of).collect(),
        value => id_of(value).into_iter().collect(),
    }
}
