//! Two records become one (§1.10): both are written together, with their links, their keys, and one row that says why.

use super::decide::{Decider, due_from};
use super::unit::{Owner, Unit};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::identity::{Claim, TypedClaim};
use crate::domain::ids::{CanonicalId, MessageId, NativeKey, SystemName, UpdateId};
use crate::domain::merge::{CantMerge, Merged, merge};
use crate::domain::provenance::DecidedBy;
use crate::domain::time::Timestamp;
use crate::ports::clock::Ids;
use crate::ports::error::PortError;
use crate::ports::store::{DecisionWrite, OutboxChange};

/// Who wants two records to be one, and why.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Who.
    pub by: DecidedBy,
    /// Why, in a sentence.
    pub reason: String,
    /// When it was said.
    pub received_at: Timestamp,
}

impl Decider {
    /// Makes `loser` a part of `winner`; returns the row about it. Nothing is changed if that can't be.
    pub(super) async fn merge_records(
        &mut self,
        unit: &mut Unit,
        position: usize,
        winner: CanonicalId,
        loser: CanonicalId,
        cause: &Cause,
    ) -> Result<Result<UpdateId, CantMerge>, PortError> {
        self.load_ids(unit, [winner, loser]).await?;
        let (Some(into), Some(from)) = (unit.draft_of(winner), unit.draft_of(loser)) else { return Ok(Err(CantMerge::Same)) };
        let of = |unit: &Unit, draft: usize| unit.drafts[draft].work.as_ref().map(|work| work.record.clone());
        let (Some(mut record), Some(mut gone)) = (of(unit, into), of(unit, from)) else { return Ok(Err(CantMerge::Same)) };
        let now = self.clock.now();
        let types = self.settings.rules.of_type(&record.entity_type);
        let (before, absorbed) = (record.version, gone.absorbed.clone());
        let merged = match merge(&mut record, &mut gone, &types, now) {
            Ok(merged) => merged,
            Err(refused) => return Ok(Err(refused)),
        };
        let (bytes, most) = (record.data.bytes(), self.settings.record_bytes());
        if bytes > most {
            return Ok(Err(CantMerge::TooLarge(bytes, most)));
        }
        for draft in [into, from] {
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].depends.extend([into, from].into_iter().filter(|other| *other != draft));
        }
        self.lead_to(unit, position, into, &absorbed, winner).await?;
        self.move_links(unit, into, from, &record, &merged);
        let claims: Vec<_> = gone.claims.iter().cloned().collect();
        // What this one does not want of them is for those that either was split from.
        let typed = |claim: &Claim| TypedClaim { entity_type: record.entity_type.clone(), claim: claim.clone() };
        unit.freed.extend(claims.iter().filter(|_| !record.apart.is_empty()).map(|claim| (from, typed(claim), record.apart.clone())));
        self.release_claims(unit, from, &mut gone, claims);
        // A key value may be a third record's: one that was split from either of them.
        self.claim_what_is_free(unit, into, &mut record, &types).await?;
        let sends = self.plan_sends(&mut record, &types, now, None);
        let notified = sends.iter().map(|due| due.system.clone()).collect();
        let why = format!("record {loser} is the same thing and became part of this one: {}", cause.reason);
        let update = own_id(self.ids.as_ref(), Op::Merge, now);
        let row = self.own_row(Op::Merge, update.clone(), &record, before, cause, why, now);
        let row = Decision { changed: merged.changed, conflicts: merged.conflicts, notified, ..row };
        if let Some(work) = unit.drafts[from].work.as_mut() {
            work.record = gone;
        }
        if let Some(work) = unit.drafts[into].work.as_mut() {
            work.record = record;
            work.outbox.extend(sends.into_iter().map(|due| due_from(due, None)));
        }
        unit.put_row(into, DecisionWrite { decision: row, content_hash: 0, replaces: false, place: 0 });
        Ok(Ok(update))
    }

    /// What had become part of the record that is gone leads to the surviving one, in one step.
    async fn lead_to(
        &mut self,
        unit: &mut Unit,
        position: usize,
        into: usize,
        absorbed: &std::collections::BTreeSet<CanonicalId>,
        winner: CanonicalId,
    ) -> Result<(), PortError> {
        self.load_ids(unit, absorbed.iter().copied()).await?;
        for id in absorbed {
            let Some(draft) = unit.draft_of(*id) else { continue };
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].depends.insert(into);
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                work.record.merged_into = Some(winner);
                // What it once changed was changed in a record that is gone now too.
                work.record.undo.iter_mut().for_each(|undo| undo.outlives());
            }
        }
        Ok(())
    }

    fn move_links(&self, unit: &mut Unit, into: usize, from: usize, record: &CanonicalRecord, merged: &Merged) {
        let keys: Vec<NativeKey> = merged
            .moved
            .iter()
            .map(|(system, native_id)| NativeKey {
                system: system.clone(),
                entity_type: record.entity_type.clone(),
                native_id: native_id.clone(),
            })
            .collect();
        if let Some(work) = unit.drafts[from].work.as_mut() {
            // One that was linked in this very unit was never stored.
            let stored = keys.iter().filter(|key| !work.links_added.contains(key));
            let removed: Vec<NativeKey> = stored.cloned().collect();
            work.links_added.retain(|key| !keys.contains(key));
            work.links_removed.extend(removed);
            let closed = merged.closed.iter().map(|(system, rev)| OutboxChange::Rejected { system: system.clone(), rev: *rev });
            work.outbox.retain(|change| change.answered().is_some());
            work.outbox.extend(closed);
        }
        if let Some(work) = unit.drafts[into].work.as_mut() {
            work.links_added.extend(keys.iter().cloned());
        }
        for key in keys {
            unit.links.insert(key, Owner { id: Some(record.id), made_by: Some(into) });
        }
    }

    /// A row about what no update did.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn own_row(
        &self,
        op: Op,
        update: UpdateId,
        record: &CanonicalRecord,
        before: u64,
        cause: &Cause,
        reason: String,
        now: Timestamp,
    ) -> Decision {
        Decision {
            source_system: update.system.clone(),
            update,
            timestamp: now,
            entity_type: record.entity_type.clone(),
            canonical_id: Some(record.id),
            native_id: None,
            op,
            decision: DecisionKind::Accepted,
            reason,
            decided_by: cause.by.clone(),
            proposed_snapshot: None,
            accepted_snapshot: Some(record.data.clone()),
            changed: Vec::new(),
            modified_fields: Vec::new(),
            not_applied: Vec::new(),
            conflicts: Vec::new(),
            version_before: before,
            version_after: record.version,
            attempts: 1,
            notified: Vec::new(),
            received_at: cause.received_at,
            duration_us: u64::try_from(now.since(cause.received_at).as_micros()).unwrap_or(u64::MAX),
            trace_id: None,
            change_set: None,
            config: self.settings.rules.config_hash.to_string(),
        }
    }
}

/// The id of a row about what no update did: `syncline:{kind}:{uuid}`.
pub(super) fn own_id(ids: &dyn Ids, op: Op, now: Timestamp) -> UpdateId {
    let id = MessageId::new(format!("{}:{}", op.as_str(), ids.canonical(now)));
    let id = id.unwrap_or_else(|_| unreachable!("a word and a UUID are a valid id"));
    let system = SystemName::new(SystemName::OWN).unwrap_or_else(|_| unreachable!("it is a valid name"));
    UpdateId::new(system, id)
}
