//! A native record is taken out of its canonical record again (§1.10): both records are written together, each with a row of
//! its own.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Decider, due_from};
use super::merging::{Cause, own_id};
use super::unit::{Owner, Unit, Work};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::explain;
use crate::domain::identity::{Claim, KeyRule, TypedClaim};
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::link::{Link, LinkState};
use crate::domain::overlay::Overlay;
use crate::domain::provenance::Source;
use crate::domain::rules::TypeRules;
use crate::domain::sending::shares_keys;
use crate::domain::split::{CantSplit, Note, Split, claims_restored, former, split};
use crate::domain::value::{FieldPath, Leaves};
use crate::ports::error::PortError;
use crate::ports::store::{DecisionWrite, OutboxChange};

/// An adapter that finds by key what it is to create would take the one for the other. So a record is not made in these systems:
/// until such a system sends it by itself, it has let go of it.
fn keep_apart(record: &mut CanonicalRecord, systems: impl Iterator<Item = (SystemName, u64)>) {
    for (system, rev) in systems {
        if record.links.iter().any(|link| link.system == system) {
            continue;
        }
        let rev = rev.max(record.used_rev(&system));
        let link = Link::new(system, None, Overlay::nothing(&record.data));
        record.links.push(Link { state: LinkState::Detached, unlinked: true, rev, ..link });
    }
}

impl Decider {
    /// Takes native records out of a record; returns the rows about both, that of the record that is left first. Nothing is
    /// changed if that can't be.
    pub(super) async fn split_record(
        &mut self,
        unit: &mut Unit,
        position: usize,
        id: CanonicalId,
        natives: &[(SystemName, NativeId)],
        cause: &Cause,
    ) -> Result<Result<[UpdateId; 2], CantSplit>, PortError> {
        self.load_ids(unit, [id]).await?;
        let of = |unit: &Unit, draft: usize| unit.drafts[draft].work.as_ref().map(|work| work.record.clone());
        let known = unit.draft_of(id).and_then(|draft| Some((draft, of(unit, draft)?)));
        let Some((from, mut record)) = known else { return Ok(Err(CantSplit::Deleted(id))) };
        let now = self.clock.now();
        let types = self.settings.rules.of_type(&record.entity_type);
        let earlier = former(&record, natives);
        self.load_ids(unit, earlier).await?;
        let earlier = earlier.and_then(|id| unit.record(id).cloned()).filter(|out| out.merged_into == Some(record.id));
        let mut out = earlier.unwrap_or_else(|| CanonicalRecord::new(self.ids.canonical(now), record.entity_type.clone(), now));
        let versions = [record.version, out.version];
        let rows = [own_id(self.ids.as_ref(), Op::Split, now), own_id(self.ids.as_ref(), Op::Split, now)];
        let before = self.before_those(&record, natives).await?;
        let kept = self.keys_of_others(unit, &record, &out, &before, &types).await?;
        let note = Note { left: &rows[0], out: &rows[1], by: &cause.by, at: now, before: &before, kept: &kept };
        let done = match split(&mut record, &mut out, natives, note) {
            Ok(done) => done,
            Err(refused) => return Ok(Err(refused)),
        };
        let into = unit.draft_of(out.id).unwrap_or_else(|| {
            let record = CanonicalRecord::new(out.id, out.entity_type.clone(), now);
            unit.add_draft(Work::of(record, None))
        });
        for draft in [into, from] {
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].depends.extend([into, from].into_iter().filter(|other| *other != draft));
        }
        self.move_out(unit, into, from, &out, &done);
        self.claim_what_is_free(unit, from, &mut record, &types).await?;
        self.claim_what_is_free(unit, into, &mut out, &types).await?;
        // What they have is the other one now, and may be found under this record's id until they are told.
        keep_apart(&mut record, done.closed.iter().cloned());
        if shares_keys(&out, &types.keys) {
            let elsewhere: Vec<_> = self.directory.targets(&out.entity_type).iter().map(|target| (target.system.clone(), 0)).collect();
            keep_apart(&mut out, elsewhere.into_iter());
        }
        let out_id = out.id;
        for part in [&mut record, &mut out] {
            let twins = self.of_twins(unit, part, [id, out_id], &types).await?;
            keep_apart(part, twins.into_iter());
        }
        let moved = explain::list(done.moved.iter().map(|(system, native_id)| format!("{system}'s {native_id}")));
        let given = cause.reason.as_str();
        let whys = [
            format!("{moved} is another thing and is record {} from now on: {given}", out.id),
            format!("{moved} was taken out of record {id}: {given}"),
        ];
        let parts = [(from, record, done.changed), (into, out, done.taken)];
        for ((((draft, mut record, changed), why), row), before) in parts.into_iter().zip(whys).zip(&rows).zip(versions) {
            let due = self.plan_sends(&mut record, &types, now, None);
            let mut decision = self.own_row(Op::Split, row.clone(), &record, before, cause, why, now);
            decision.changed = changed;
            decision.notified = due.iter().map(|due| due.system.clone()).collect();
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                work.record = record;
                work.outbox.extend(due.into_iter().map(|due| due_from(due, None)));
            }
            unit.put_row(draft, DecisionWrite { decision, content_hash: 0, replaces: false, place: 0 });
        }
        Ok(Ok(rows))
    }

    /// The systems in which others that a record is kept apart from have its key: who finds it there by that would find them.
    async fn of_twins(
        &self,
        unit: &mut Unit,
        record: &CanonicalRecord,
        halves: [CanonicalId; 2],
        types: &TypeRules,
    ) -> Result<Vec<(SystemName, u64)>, PortError> {
        self.load_ids(unit, record.apart.iter().copied()).await?;
        let due = record.claims_due(&types.keys);
        let others = record.apart.iter().map(|id| unit.meant(*id)).filter(|id| !halves.contains(id)).filter_map(|id| unit.record(id));
        let twins = others.filter(|other| other.is_live() && !other.claims_due(&types.keys).is_disjoint(&due));
        let linked = twins.flat_map(|twin| &twin.links).filter(|link| link.state == LinkState::Linked);
        Ok(linked.map(|link| (link.system.clone(), 0)).collect())
    }

    /// What the fields that came from these systems were before, as far as the decisions still tell.
    async fn before_those(&self, record: &CanonicalRecord, natives: &[(SystemName, NativeId)]) -> Result<Leaves, PortError> {
        let theirs = |source: &Source| natives.iter().any(|(system, _)| *system == source.system);
        let mut fields: BTreeMap<u64, Vec<FieldPath>> = BTreeMap::new();
        for (path, source) in record.provenance.iter().filter(|(_, source)| theirs(source) && source.version > 1) {
            fields.entry(source.version - 1).or_default().push(path.clone());
        }
        let mut before = Leaves::new();
        for (version, fields) in fields {
            let Some(snapshot) = self.snapshot(record.id, version).await? else { continue };
            for field in fields {
                if let Some(value) = snapshot.get(&field) {
                    before.set(field, value.clone());
                }
            }
        }
        Ok(before)
    }

    /// The key fields of which a third record has by now what they would become again.
    async fn keys_of_others(
        &mut self,
        unit: &mut Unit,
        record: &CanonicalRecord,
        out: &CanonicalRecord,
        before: &Leaves,
        types: &TypeRules,
    ) -> Result<BTreeSet<FieldPath>, PortError> {
        let restored = types.keys.iter().map(|key| (key, claims_restored(record, out, before, key))).collect();
        self.owned_by_others(unit, &[record, out], restored).await
    }

    /// The fields of those keys of which others than these records have values, unless a person has said that they are two.
    pub(super) async fn owned_by_others(
        &mut self,
        unit: &mut Unit,
        own: &[&CanonicalRecord],
        keys: Vec<(&KeyRule, BTreeSet<Claim>)>,
    ) -> Result<BTreeSet<FieldPath>, PortError> {
        let Some(entity_type) = own.first().map(|record| &record.entity_type) else { return Ok(BTreeSet::new()) };
        let typed = |claim: &Claim| TypedClaim { entity_type: entity_type.clone(), claim: claim.clone() };
        let all: Vec<TypedClaim> = keys.iter().flat_map(|(_, claims)| claims).map(typed).collect();
        let owners = self.owners(unit, &all).await?;
        self.load_ids(unit, owners.values().filter_map(|owner| owner.id)).await?;
        let is_others = |claim: &Claim| {
            let owner = owners.get(&typed(claim)).and_then(|owner| owner.id).filter(|id| own.iter().all(|record| record.id != *id));
            let apart = |owner: &CanonicalRecord| own.iter().any(|record| owner.is_kept_apart_from(record));
            owner.and_then(|id| unit.record(id)).is_some_and(|owner| !apart(owner))
        };
        let taken = keys.into_iter().filter(|(_, claims)| claims.iter().any(is_others));
        Ok(taken.flat_map(|(key, _)| key.fields.iter().cloned()).collect())
    }

    fn move_out(&self, unit: &mut Unit, into: usize, from: usize, out: &CanonicalRecord, done: &Split) {
        let key = |(system, native_id): &(SystemName, NativeId)| NativeKey {
            system: system.clone(),
            entity_type: out.entity_type.clone(),
            native_id: native_id.clone(),
        };
        let keys: Vec<NativeKey> = done.moved.iter().map(key).collect();
        if let Some(work) = unit.drafts[from].work.as_mut() {
            // One that was linked in this very unit was never stored.
            let stored: Vec<NativeKey> = keys.iter().filter(|key| !work.links_added.contains(key)).cloned().collect();
            work.links_added.retain(|key| !keys.contains(key));
            work.links_removed.extend(stored);
            let stays = |system: &SystemName| done.closed.iter().all(|(gone, _)| gone != system);
            work.outbox.retain(|change| change.answered().is_some() || stays(change.system()));
            work.outbox.extend(done.closed.iter().map(|(system, rev)| OutboxChange::Rejected { system: system.clone(), rev: *rev }));
        }
        if let Some(work) = unit.drafts[into].work.as_mut() {
            work.links_added.extend(keys.iter().cloned());
        }
        for key in keys {
            unit.links.insert(key, Owner { id: Some(out.id), made_by: Some(into) });
        }
    }

    /// Gives a record the key values it should have, except those that belong to another one: they stay there until somebody
    /// corrects one of the two.
    pub(super) async fn claim_what_is_free(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        record: &mut CanonicalRecord,
        types: &TypeRules,
    ) -> Result<(), PortError> {
        let due = record.claims_due(&types.keys);
        let gone: Vec<_> = record.claims.difference(&due).cloned().collect();
        self.release_claims(unit, draft, record, gone);
        let typed = |claim| TypedClaim { entity_type: record.entity_type.clone(), claim };
        let wanted: Vec<TypedClaim> = due.difference(&record.claims).cloned().map(typed).collect();
        let owners = self.owners(unit, &wanted).await?;
        for claim in wanted {
            if owners.get(&claim).is_none_or(|owner| owner.id.is_none_or(|id| id == record.id)) {
                let released_by = owners.get(&claim).and_then(|owner| owner.made_by).filter(|maker| *maker != draft);
                unit.drafts[draft].depends.extend(released_by);
                record.claims.insert(claim.claim.clone());
                unit.claims.insert(claim, Owner { id: Some(record.id), made_by: Some(draft) });
            }
        }
        Ok(())
    }
}
