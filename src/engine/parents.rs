//! What a system means by the references it reports. It can only repeat what it was told: null, or a shorter list, where it has no
//! native record of its own to name; and an id that leads to one record may be another one than canonical data has for it.

use serde_json::Value;

use super::decide::Decider;
use super::load::ChangeItem;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::ChangeBody;
use crate::domain::decide::Arrival;
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::link::{LinkState, SendOp};
use crate::domain::orphans::lacks_it;
use crate::domain::rules::MissingTarget;
use crate::domain::value::FieldPath;
use crate::ports::error::PortError;

/// A value a reference had or was to have, and whether the system was told of it.
type Known = (Value, bool);

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
        for (field, parents) in &item.types.references {
            let said = match arrival.leaves.get(field) {
                Some(said) => said.clone(),
                // It was told nothing there, so a whole record leaves it out.
                None if clears && arrival.missing.iter().all(|missing| missing.field != *field) => Value::Null,
                None => continue,
            };
            let system = &item.change.key.system;
            let omits = item.types.missing_target == MissingTarget::Omit || !self.settings.rules.side(system, parents).outbound;
            let known = known_values(unit, &item.change.key, field, id, omits);
            let cleared = unit.record(id).is_some_and(|record| record.data.held(field).is_none());
            if said.is_null() && cleared || known.first().is_none_or(|(held, _)| *held == said) {
                // It was cleared, and the null says just that; or it says what it holds.
                continue;
            }
            for parent in known.iter().flat_map(|(value, _)| ids_of(value)) {
                self.look_at_parent(unit, id, parent).await?;
            }
            if let Some(meant) = self.meant_by(unit, &said, &known, &item.change.key) {
                arrival.leaves.set(field.clone(), meant);
            }
        }
        Ok(())
    }

    /// Loads a record that is referred to, as it is now: it may have been deleted by somebody else since it was remembered, and
    /// what is said is younger than that.
    async fn look_at_parent(&mut self, unit: &mut Unit, child: CanonicalId, parent: CanonicalId) -> Result<(), PortError> {
        if !unit.by_record.contains_key(&parent) {
            self.caches.forget_record(parent);
            unit.loaded.remove(&parent);
        }
        self.load_ids(unit, [parent]).await?;
        // This unit may have decided about it by what was remembered: then both are decided again.
        let maker = unit.by_record.get(&parent).copied();
        if let Some(draft) = unit.draft_of(child) {
            unit.drafts[draft].relied_on.insert(parent);
            unit.drafts[draft].depends.extend(maker.filter(|maker| *maker != draft));
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
        let one = |(value, told): &&Known| match said {
            Value::Null => id_of(value).is_some_and(|id| without(id, *told)),
            said => same(said, value),
        };
        if let Some((value, _)) = known.iter().filter(|(value, _)| !value.is_array()).find(one) {
            return Some(value.clone());
        }
        let items = match said {
            Value::Array(items) => items.as_slice(),
            Value::Null => &[],
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return None,
        };
        let lists: Vec<(&Vec<Value>, bool)> = known.iter().filter_map(|(value, told)| Some((value.as_array()?, *told))).collect();
        let left_out = |item: &Value, told: bool| id_of(item).is_some_and(|id| without(id, told));
        let repeated = lists.iter().find(|(list, told)| {
            let told_of: Vec<&Value> = list.iter().filter(|item| !left_out(item, *told)).collect();
            told_of.len() == items.len() && told_of.iter().zip(items).all(|(told, said)| same(told, said))
        });
        if let Some((list, _)) = repeated {
            return Some(Value::Array((*list).clone()));
        }
        // An edit of the list it was told: what it could not be told of stays.
        let (list, told) = lists.first()?;
        let mut meant: Vec<Value> = items.iter().map(|said| list.iter().find(|item| same(item, said)).unwrap_or(said).clone()).collect();
        let mut place = 0;
        for item in *list {
            match meant.iter().position(|said| said == item) {
                Some(at) => place = at + 1,
                None if left_out(item, *told) => {
                    meant.insert(place.min(meant.len()), item.clone());
                    place += 1;
                }
                None => {}
            }
        }
        (!(said.is_null() && meant.is_empty())).then_some(Value::Array(meant))
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

/// What a system is known to hold in a reference, what it was sent since, and what is canonical, the best known first. `omits`: what
/// it was sent came without what it lacked, instead of being held back.
fn known_values(unit: &Unit, key: &NativeKey, field: &FieldPath, id: CanonicalId, omits: bool) -> Vec<Known> {
    let Some(record) = unit.record(id) else { return Vec::new() };
    let link = record.link_of(&key.system, &key.native_id).or_else(|| record.link_with(&key.system));
    let mut known: Vec<Known> = Vec::new();
    if let Some(shadow) = link.map(|index| &record.links[index].shadow) {
        let sends = shadow.sends.iter().filter(|sent| sent.op != SendOp::Delete).map(|sent| (&sent.values, omits));
        let values = std::iter::once((&shadow.held, true)).chain(sends);
        known.extend(values.filter_map(|(values, told)| Some((values.get(&record.data, field)?.clone(), told))));
    }
    known.extend(record.data.held(field).map(|value| (value.clone(), false)));
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
