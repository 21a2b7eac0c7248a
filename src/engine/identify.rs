//! Which canonical record is this, and which key values are its own? The answers of the match keys and the claims (§1.3).

use std::collections::{BTreeSet, HashMap};

use super::decide::Decider;
use super::load::ChangeItem;
use super::unit::{Owner, Unit};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::ChangeBody;
use crate::domain::decide::{Arrival, Footing, came_before, old_copy};
use crate::domain::delete;
use crate::domain::identity::{Claim, Match, TypedClaim, claims_of, match_owners};
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, SystemName};
use crate::domain::link::LinkState;
use crate::domain::rules::{Duplicates, TypeRules};
use crate::domain::waiting::WaitingFor;
use crate::ports::error::PortError;
use crate::ports::store::Lookup;

/// How an update found its record.
pub(super) enum Located {
    /// This is it.
    At(CanonicalId, Footing),
    /// Nobody has it.
    Unknown,
    /// It can't be known without help.
    Stuck(WaitingFor),
}

impl Decider {
    /// Which canonical record is this? In the order of §1.3.
    pub(super) async fn locate(&mut self, unit: &mut Unit, item: &ChangeItem, arrival: &Arrival<'_>) -> Result<Located, PortError> {
        let key = &item.change.key;
        if let Some(id) = unit.linked(key).filter(|id| unit.record(*id).is_some_and(|record| record.tombstone.is_some())) {
            // Its keys may be those of a new thing by now.
            return Ok(Located::At(id, Footing::Linked));
        }
        let back = unit.linked(key).and_then(|id| unit.record(id)).filter(|record| is_back(record, arrival));
        if back.is_some() && matches!(item.change.body, ChangeBody::Patch(_)) {
            return Ok(Located::Unknown);
        }
        // It says nothing about who has its key by now.
        if let Some(id) = unit.linked(key).filter(|id| unit.record(*id).is_some_and(|record| is_old(record, arrival))) {
            return Ok(Located::At(id, Footing::Linked));
        }
        // What its system has another one of by now is looked for like any other.
        let double = back.and_then(|record| duplicate_of(record, key));
        if let Some(id) = unit.linked(key).filter(|id| double.is_none() && unit.record(*id).is_some()) {
            return Ok(self.keys_agree(unit, item, arrival, id).await?.unwrap_or(Located::At(id, Footing::Linked)));
        }
        let named =
            item.change.canonical_id.and_then(|id| unit.record(unit.meant(id))).filter(|record| record.entity_type == key.entity_type);
        match named.map(|record| of_this_system(record, item)) {
            Some(found @ (Located::At(..) | Located::Stuck(_))) => return Ok(noted(unit, item, found)),
            Some(Located::Unknown) | None => {}
        }
        let claims: BTreeSet<_> = claims_of(&item.types.keys, |path| arrival.leaves.get(path));
        if claims.is_empty() {
            // No key says that it is another thing than it was.
            let double = double.filter(|_| item.types.duplicates == Duplicates::Park);
            let lacks = item.types.key_required.then_some(WaitingFor::NoIdentity);
            return Ok(double.or(lacks).map_or(Located::Unknown, Located::Stuck));
        }
        let typed: Vec<_> = claims.iter().map(|claim| TypedClaim { entity_type: key.entity_type.clone(), claim: claim.clone() }).collect();
        let owners = self.owners_loaded(unit, &typed).await?;
        let id = match match_owners(owners.values().filter_map(|owner| owner.id)) {
            Match::Nobody => return Ok(Located::Unknown),
            Match::Several(records) => {
                let keys = claims.iter().map(|claim| item.types.told(claim)).collect();
                return Ok(Located::Stuck(WaitingFor::MatchCollision { records, keys }));
            }
            Match::Owner(id) => id,
        };
        self.load_ids(unit, [id]).await?;
        let Some(record) = unit.record(id) else { return Ok(Located::Unknown) };
        if record.link_with(&key.system).is_none() {
            return Ok(Located::At(id, Footing::Joins));
        }
        let found = of_this_system(record, item);
        Ok(noted(unit, item, found))
    }

    /// Who owns these claims, with their records. Between the two looks somebody else may have moved a key value on: an owner is
    /// believed only if its record says so, as a link is (§1.3).
    async fn owners_loaded(&mut self, unit: &mut Unit, claims: &[TypedClaim]) -> Result<HashMap<TypedClaim, Owner>, PortError> {
        let owners = self.owners(unit, claims).await?;
        self.load_ids(unit, owners.values().filter_map(|owner| owner.id)).await?;
        let says_no = |(claim, owner): &(&TypedClaim, &Owner)| {
            let record = owner.id.filter(|_| owner.made_by.is_none()).and_then(|id| unit.record(id));
            record.is_some_and(|record| !record.claims.contains(&claim.claim))
        };
        let moved: Vec<TypedClaim> = owners.iter().filter(says_no).map(|(claim, _)| claim.clone()).collect();
        if moved.is_empty() {
            return Ok(owners);
        }
        let lookup = Lookup { claims: moved, ..Lookup::default() };
        let found = self.store.look_up(&lookup).await?;
        self.note(unit, &lookup, found);
        let owners = self.owners(unit, claims).await?;
        self.load_ids(unit, owners.values().filter_map(|owner| owner.id)).await?;
        Ok(owners)
    }

    /// What its system had let go of, and has another one of by now, is another thing than it was. Returns the last `rev` it was
    /// sent as what it was.
    pub(super) fn part_ways(&mut self, unit: &mut Unit, position: usize, item: &ChangeItem) -> u64 {
        let key = &item.change.key;
        let Some(draft) = unit.linked(key).and_then(|id| unit.draft_of(id)) else { return 0 };
        let Some(record) = unit.drafts[draft].work.as_mut().map(|work| &mut work.record) else { return 0 };
        let used_rev = record.link_of(&key.system, &key.native_id).map_or(0, |index| record.links[index].rev);
        let given_up = delete::forget(record, key);
        unit.drafts[draft].inputs.insert(position);
        self.give_up(unit, draft, given_up);
        used_rev
    }

    /// A linked record whose new key value belongs to another record is parked, link or not.
    async fn keys_agree(
        &mut self,
        unit: &mut Unit,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        id: CanonicalId,
    ) -> Result<Option<Located>, PortError> {
        let Some(record) = unit.record(id).filter(|_| !item.types.keys.is_empty()) else { return Ok(None) };
        let due = claims_of(&item.types.keys, |path| arrival.leaves.get(path).or_else(|| record.data.get(path)));
        let new: Vec<TypedClaim> = due
            .into_iter()
            .filter(|claim| !record.claims.contains(claim))
            .map(|claim| TypedClaim { entity_type: item.change.key.entity_type.clone(), claim })
            .collect();
        let natives = natives_of(record);
        let mut owners = self.owners_loaded(unit, &new).await?;
        let ceded = self.ceded(unit, &item.types, id, &natives, &owners).await?;
        owners.retain(|claim, _| !ceded.contains(claim));
        Ok(collision(id, &owners, &item.types).map(Located::Stuck))
    }

    /// Makes the record's claims what they should be; says who is in the way, if someone is.
    pub(super) async fn claim(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        item: &ChangeItem,
        record: &mut CanonicalRecord,
    ) -> Result<Option<WaitingFor>, PortError> {
        if item.types.keys.is_empty() {
            return Ok(None);
        }
        let typed = |claim: &Claim| TypedClaim { entity_type: record.entity_type.clone(), claim: claim.clone() };
        let mut due = record.claims_due(&item.types.keys);
        let mut new: Vec<TypedClaim> = due.difference(&record.claims).map(typed).collect();
        let mut owners = self.owners_loaded(unit, &new).await?;
        let mut ceded = self.ceded(unit, &item.types, record.id, &natives_of(record), &owners).await?;
        if record.links.iter().any(|link| !link.waits.is_empty()) {
            // A key value that only a waiting change has is claimed if it is free; if not, that change waits for it.
            let decided = record.claims_decided(&item.types.keys);
            ceded.extend(new.iter().filter(|claim| !decided.contains(&claim.claim) && others(record.id, &owners, claim)).cloned());
        }
        new.retain(|claim| !ceded.contains(claim));
        owners.retain(|claim, _| !ceded.contains(claim));
        for claim in ceded {
            due.remove(&claim.claim);
        }
        if let Some(waiting_for) = collision(record.id, &owners, &item.types) {
            return Ok(Some(waiting_for));
        }
        for owner in owners.values() {
            unit.drafts[draft].depends.extend(owner.made_by.filter(|maker| *maker != draft));
        }
        let gone: Vec<_> = record.claims.difference(&due).cloned().collect();
        self.release_claims(unit, draft, record, gone);
        for claim in new {
            unit.claims.insert(claim, Owner { id: Some(record.id), made_by: Some(draft) });
        }
        record.claims = due;
        Ok(None)
    }

    /// The key values that stay with another record: a person has said that they are two; or, with `duplicates = "separate"`,
    /// some system has both and so says it.
    async fn ceded(
        &mut self,
        unit: &mut Unit,
        types: &TypeRules,
        id: CanonicalId,
        natives: &[(SystemName, NativeId)],
        owners: &HashMap<TypedClaim, Owner>,
    ) -> Result<BTreeSet<TypedClaim>, PortError> {
        let taken: Vec<&TypedClaim> = owners.keys().filter(|claim| others(id, owners, claim)).collect();
        self.load_ids(unit, taken.iter().filter_map(|claim| owners[*claim].id)).await?;
        let by_person = |claim: &&TypedClaim| {
            let owner = owners[*claim].id.and_then(|owner| unit.record(owner));
            unit.record(id).zip(owner).is_some_and(|(record, owner)| record.is_kept_apart_from(owner))
        };
        let split: BTreeSet<TypedClaim> = taken.iter().copied().filter(by_person).cloned().collect();
        match types.duplicates {
            Duplicates::Park => return Ok(split),
            Duplicates::Separate => {}
        }
        let apart = |other: &CanonicalRecord| natives.iter().any(|(system, own)| other.native_id(system).is_some_and(|id| id != own));
        let ceded = taken.into_iter().filter(|claim| owners[*claim].id.and_then(|id| unit.record(id)).is_some_and(apart));
        Ok(ceded.cloned().chain(split).collect())
    }

    /// Lets go of the key values that neither the record nor any system has any more.
    pub(super) fn release_undue(&self, unit: &mut Unit, draft: usize, record: &mut CanonicalRecord, types: &TypeRules) {
        let due = record.claims_due(&types.keys);
        let gone = record.claims.difference(&due).cloned().collect();
        self.release_claims(unit, draft, record, gone);
    }

    /// Lets go of key values.
    pub(super) fn release_claims(&self, unit: &mut Unit, draft: usize, record: &mut CanonicalRecord, gone: Vec<Claim>) {
        for claim in gone {
            record.claims.remove(&claim);
            let claim = TypedClaim { entity_type: record.entity_type.clone(), claim };
            if !record.apart.is_empty() {
                unit.freed.push((draft, claim.clone(), record.apart.clone()));
            }
            unit.claims.insert(claim, Owner { id: None, made_by: Some(draft) });
        }
    }
}

/// Whether a record that a key or a canonical id leads to has just this native record, waits for it, or has another one
/// of its system.
fn of_this_system(record: &CanonicalRecord, item: &ChangeItem) -> Located {
    let Some(index) = record.link_with(&item.change.key.system) else { return Located::Unknown };
    match (&record.links[index].native_id, item.types.duplicates) {
        (None, Duplicates::Park | Duplicates::Separate) => Located::At(record.id, Footing::Binds),
        (Some(own), Duplicates::Park | Duplicates::Separate) if *own == item.change.key.native_id => {
            Located::At(record.id, Footing::Linked)
        }
        (Some(_), Duplicates::Separate) => Located::Unknown,
        (Some(other), Duplicates::Park) => {
            Located::Stuck(WaitingFor::DuplicateInSystem { record: record.id, native_id: other.to_string() })
        }
    }
}

/// Whether a native record that its system had let go of is there again. An old copy does not say so.
fn is_back(record: &CanonicalRecord, arrival: &Arrival<'_>) -> bool {
    let Some(index) = record.link_of(&arrival.change.key.system, &arrival.change.key.native_id) else { return false };
    let former = &record.links[index];
    former.state == LinkState::Detached && matches!(old_copy(&mut former.clone(), arrival), Ok(None))
}

/// Whether it is an old copy of what its record has said.
pub(super) fn is_old(record: &CanonicalRecord, arrival: &Arrival<'_>) -> bool {
    let index = record.link_of(&arrival.change.key.system, &arrival.change.key.native_id);
    arrival.waited.is_none() && index.is_some_and(|index| came_before(&record.links[index], arrival))
}

/// What it waits for, where its system has another one for the record by now.
fn duplicate_of(record: &CanonicalRecord, key: &NativeKey) -> Option<WaitingFor> {
    let other = record.known_instead(key)?;
    Some(WaitingFor::DuplicateInSystem { record: record.id, native_id: other.to_string() })
}

/// A link that another process made after this unit had looked for it in vain.
fn noted(unit: &mut Unit, item: &ChangeItem, found: Located) -> Located {
    if let Located::At(id, Footing::Linked) = found {
        unit.links.insert(item.change.key.clone(), Owner { id: Some(id), made_by: None });
    }
    found
}

fn natives_of(record: &CanonicalRecord) -> Vec<(SystemName, NativeId)> {
    record.links.iter().filter_map(|link| Some((link.system.clone(), link.native_id.clone()?))).collect()
}

/// Whether a key value belongs to another record.
fn others(id: CanonicalId, owners: &HashMap<TypedClaim, Owner>, claim: &TypedClaim) -> bool {
    owners.get(claim).is_some_and(|owner| owner.id.is_some_and(|owner| owner != id))
}

/// Who is in the way of claiming key values for a record.
fn collision(id: CanonicalId, owners: &HashMap<TypedClaim, Owner>, types: &TypeRules) -> Option<WaitingFor> {
    let in_the_way: BTreeSet<CanonicalId> = owners.values().filter_map(|owner| owner.id).filter(|owner| *owner != id).collect();
    if in_the_way.is_empty() {
        return None;
    }
    let mut keys: Vec<String> = owners.keys().filter(|claim| others(id, owners, claim)).map(|claim| types.told(&claim.claim)).collect();
    keys.sort();
    Some(WaitingFor::MatchCollision { records: std::iter::once(id).chain(in_the_way).collect(), keys })
}
