//! A native record is taken out of its canonical record again (§1.10): both records are written together, each with a row of
//! its own.

use super::decide::{Decider, due_from};
use super::merging::{Cause, own_id};
use super::unit::{Owner, Unit, Work};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::identity::TypedClaim;
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, SystemName};
use crate::domain::rules::TypeRules;
use crate::domain::split::{CantSplit, Split, former, split};
use crate::ports::error::PortError;
use crate::ports::store::{DecisionWrite, OutboxChange};

impl Decider {
    /// Takes native records out of a record; returns the record they are now. Nothing is changed if that can't be.
    pub(super) async fn split_record(
        &mut self,
        unit: &mut Unit,
        position: usize,
        id: CanonicalId,
        natives: &[(SystemName, NativeId)],
        cause: Cause,
    ) -> Result<Result<CanonicalId, CantSplit>, PortError> {
        self.load_ids(unit, [id]).await?;
        let of = |unit: &Unit, draft: usize| unit.drafts[draft].work.as_ref().map(|work| work.record.clone());
        let known = unit.draft_of(id).and_then(|draft| Some((draft, of(unit, draft)?)));
        let Some((from, mut record)) = known else { return Ok(Err(CantSplit::NotLive(id))) };
        let now = self.clock.now();
        let types = self.settings.rules.of_type(&record.entity_type);
        let before = record.version;
        let earlier = former(&record, natives);
        self.load_ids(unit, earlier).await?;
        let earlier = earlier.and_then(|id| unit.record(id).cloned()).filter(|out| out.merged_into == Some(record.id));
        let mut out = earlier.unwrap_or_else(|| CanonicalRecord::new(self.ids.canonical(now), record.entity_type.clone(), now));
        let before_out = out.version;
        let rows = [own_id(self.ids.as_ref(), Op::Split, now), own_id(self.ids.as_ref(), Op::Split, now)];
        let done = match split(&mut record, &mut out, natives, [&rows[0], &rows[1]], &cause.by, now) {
            Ok(done) => done,
            Err(refused) => return Ok(Err(refused)),
        };
        let into = unit.draft_of(out.id).unwrap_or_else(|| {
            let record = CanonicalRecord::new(out.id, out.entity_type.clone(), now);
            unit.add_draft(Work { record, before: None, links_added: Vec::new(), links_removed: Vec::new(), outbox: Vec::new() })
        });
        for draft in [into, from] {
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].depends.extend([into, from].into_iter().filter(|other| *other != draft));
        }
        self.move_out(unit, into, from, &out, &done);
        self.share_claims(unit, from, &mut record, into, &mut out, &types).await?;
        let [one, two] = rows;
        let moved = done.moved.iter().map(|(system, native_id)| format!("{system}'s {native_id}")).collect::<Vec<_>>().join(", ");
        let sends = [self.plan_sends(&mut record, &types, now, None), self.plan_sends(&mut out, &types, now, None)];
        let whys = [
            format!("{moved} is another thing and was taken out: {}", cause.reason),
            format!("taken out of record {id}: {}", cause.reason),
        ];
        let parts = [(from, record, one, before, done.changed), (into, out, two, before_out, done.taken)];
        let id = parts[1].1.id;
        for (((draft, record, row, before, changed), due), why) in parts.into_iter().zip(sends).zip(whys) {
            let mut decision = self.own_row(Op::Split, row, &record, before, &cause, why, now);
            decision.changed = changed;
            decision.notified = due.iter().map(|due| due.system.clone()).collect();
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                work.record = record;
                work.outbox.extend(due.into_iter().map(|due| due_from(due, None)));
            }
            unit.put_row(draft, DecisionWrite { decision, content_hash: 0, replaces: false, place: 0 });
        }
        Ok(Ok(id))
    }

    fn move_out(&self, unit: &mut Unit, into: usize, from: usize, out: &CanonicalRecord, done: &Split) {
        let key = |(system, native_id): &(SystemName, NativeId)| NativeKey {
            system: system.clone(),
            entity_type: out.entity_type.clone(),
            native_id: native_id.clone(),
        };
        let keys: Vec<NativeKey> = done.moved.iter().map(key).collect();
        if let Some(work) = unit.drafts[from].work.as_mut() {
            let stored: Vec<NativeKey> = keys.iter().filter(|key| !work.links_added.contains(key)).cloned().collect();
            work.links_added.retain(|key| !keys.contains(key));
            work.links_removed.extend(stored);
            work.outbox.extend(done.closed.iter().map(|(system, rev)| OutboxChange::Rejected { system: system.clone(), rev: *rev }));
        }
        if let Some(work) = unit.drafts[into].work.as_mut() {
            work.links_added.extend(keys.iter().cloned());
        }
        for key in keys {
            unit.links.insert(key, Owner { id: Some(out.id), made_by: Some(into) });
        }
    }

    /// Each owns the keys it has; one that both have stays where it is, until somebody corrects it.
    async fn share_claims(
        &mut self,
        unit: &mut Unit,
        from: usize,
        record: &mut CanonicalRecord,
        into: usize,
        out: &mut CanonicalRecord,
        types: &TypeRules,
    ) -> Result<(), PortError> {
        let due = record.claims_due(&types.keys);
        let gone: Vec<_> = record.claims.difference(&due).cloned().collect();
        self.release_claims(unit, from, record, gone);
        let typed = |claim| TypedClaim { entity_type: out.entity_type.clone(), claim };
        let wanted: Vec<TypedClaim> = out.claims_due(&types.keys).into_iter().map(typed).collect();
        let owners = self.owners(unit, &wanted).await?;
        for claim in wanted {
            if owners.get(&claim).is_none_or(|owner| owner.id.is_none_or(|id| id == out.id)) {
                out.claims.insert(claim.claim.clone());
                unit.claims.insert(claim, Owner { id: Some(out.id), made_by: Some(into) });
            }
        }
        Ok(())
    }
}
