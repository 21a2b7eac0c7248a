//! Answers of adapters to what they were sent.

use std::sync::Arc;

use super::compensating::Refusal;
use super::decide::{Decider, due_from};
use super::doing;
use super::merging::Cause;
use super::released::is_discard;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{DeadReason, Op, Receipt, ReceiptStatus, Rejection};
use crate::domain::decide::Situation;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::delete::{GONE, let_go};
use crate::domain::ids::{CanonicalId, NativeKey, SystemName};
use crate::domain::link::LinkState;
use crate::domain::projection::open_native;
use crate::domain::provenance::DecidedBy;
use crate::domain::receipt::{answer, answered_link, binds};
use crate::domain::rules::TypeRules;
use crate::domain::sending::Target;
use crate::domain::spare::{made_beside, take_creates};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::{DecisionWrite, OutboxChange};

impl Decider {
    /// Applies an adapter's answer to its record.
    pub(super) async fn decide_receipt(
        &mut self,
        unit: &mut Unit,
        position: usize,
        receipt: &Receipt,
        source: &Target,
        types: &Arc<TypeRules>,
    ) -> Result<(), PortError> {
        if self.heard_before(unit, position, receipt) {
            return Ok(());
        }
        let key = receipt.native_id.clone().map(|native_id| NativeKey {
            system: receipt.system().clone(),
            entity_type: receipt.entity_type.clone(),
            native_id,
        });
        let by_key = key.as_ref().and_then(|key| unit.linked(key));
        let canonical_id = receipt.canonical_id.map(|id| unit.meant(id));
        if self.answers_in_lane(unit, position, key.as_ref(), canonical_id.or(by_key)) {
            return Ok(());
        }
        unit.decided.insert(receipt.update.clone(), receipt.content_hash);
        let Some(draft) = canonical_id.or(by_key).and_then(|id| unit.draft_of(id)) else {
            let detail = "no record with this canonical id or native id is known".to_owned();
            self.bury_receipt(unit, position, None, receipt, &Rejection::new(DeadReason::UnknownReceipt, detail));
            return Ok(());
        };
        unit.drafts[draft].inputs.insert(position);
        let maker = key.as_ref().and_then(|key| unit.links.get(key)?.made_by).filter(|maker| *maker != draft);
        unit.drafts[draft].depends.extend(maker);
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        let rules = self.settings.rules.clone();
        let now = self.clock.now();
        let situation = Situation { rules: &rules, types, source, now };
        let refused = Refusal::of(&record, receipt).filter(|_| !is_discard(receipt));
        let had = record.native_id(receipt.system()).cloned();
        let named = answered_link(&record, receipt).is_some_and(|index| binds(&record.links[index], receipt));
        let made = named && receipt.status == ReceiptStatus::Applied || made_beside(&record, receipt).is_some();
        if let Some((other, key)) = by_key.zip(key.as_ref()).filter(|(id, _)| *id != record.id && made)
            && !self.leaves_to(unit, draft, other, key)
        {
            return doing(self.names_another(unit, position, draft, receipt, record, other, &situation)).await;
        }
        let stored = key.as_ref().and_then(|key| open_native(receipt.stored.clone(), key, &source.side).ok()).unwrap_or_default();
        let answered = match answer(&mut record, receipt, &stored, &situation) {
            Ok(answered) => answered,
            Err(rejection) => {
                self.bury_receipt(unit, position, Some(draft), receipt, &rejection);
                return Ok(());
            }
        };
        self.make_anew(&mut record, receipt, answered.lost, &situation);
        // A key value the system has just overwritten is free again.
        self.release_undue(unit, draft, &mut record, types);
        let mut outbox = vec![self.after_answer(&record, receipt, now)];
        let due = self.plan_sends(&mut record, types, now, None);
        let notified = due.iter().map(|due| due.system.clone()).collect();
        outbox.extend(due.into_iter().map(|due| due_from(due, None)));
        let id = record.id;
        let decision = receipt_row(&record, receipt, answered.reason, notified, unit.inputs[position].received_at, &situation);
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.extend(outbox);
        }
        if let Some(key) = key.filter(|key| answered.bound && unit.linked(key) != Some(id)) {
            self.note_link(unit, draft, key, id);
        }
        self.note_span(unit, &decision, receipt.trace);
        unit.put_row(draft, DecisionWrite { decision, content_hash: receipt.content_hash, replaces: false, place: 0 });
        doing(self.wake_instead(unit, draft, receipt.system(), had.as_ref())).await?;
        match refused {
            Some(refused) => doing(self.answer_refusal(unit, position, draft, receipt, refused, source)).await,
            None => Ok(()),
        }
    }

    /// Whether its id is known: as a copy, or for something else, which makes it a dead letter.
    fn heard_before(&mut self, unit: &mut Unit, position: usize, receipt: &Receipt) -> bool {
        let update = &receipt.update;
        let known = unit.decided.get(update).copied().or_else(|| unit.markers.get(update).map(|marker| marker.content_hash));
        match known {
            None => return false,
            Some(content) if content == receipt.content_hash => unit.duplicates += 1,
            Some(_) => {
                let detail = format!("{update} was said before with other content; give every receipt an id of its own");
                self.bury_receipt(unit, position, None, receipt, &Rejection::new(DeadReason::IdReuse, detail).at("id"));
            }
        }
        true
    }

    /// Where the system has deleted what is back since (`lost`), it is sent the record as a new one.
    fn make_anew(&self, record: &mut CanonicalRecord, receipt: &Receipt, lost: bool, situation: &Situation<'_>) {
        if let Some(index) = answered_link(record, receipt).filter(|_| lost) {
            self.restored(record, index, situation.source, situation.types);
        }
    }

    /// What an answer does to the send it answers; one that failed so often is tried again later.
    fn after_answer(&self, record: &CanonicalRecord, receipt: &Receipt, now: Timestamp) -> OutboxChange {
        let system = receipt.system().clone();
        let rev = receipt.rev;
        // What its system has let go of is not sent again, even if it has another one instead.
        let link = answered_link(record, receipt).or_else(|| record.link_with(&system)).map(|index| &record.links[index]);
        let failures = link.filter(|link| link.state != LinkState::Detached).map(|link| link.failures);
        match (receipt.status, failures) {
            (ReceiptStatus::Applied, _) => OutboxChange::Applied { system, rev },
            (ReceiptStatus::Failed, Some(failures)) => {
                OutboxChange::Failed { system, rev, retry_at: now.plus(self.settings.backoff(failures)) }
            }
            (ReceiptStatus::Failed, None) | (ReceiptStatus::Rejected, _) => OutboxChange::Rejected { system, rev },
        }
    }

    /// The answer to a create names a native record that is known as another record.
    #[allow(clippy::too_many_arguments)]
    async fn names_another(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        receipt: &Receipt,
        record: CanonicalRecord,
        other: CanonicalId,
        situation: &Situation<'_>,
    ) -> Result<(), PortError> {
        let let_go = record.link_with(receipt.system()).is_none();
        let beside = made_beside(&record, receipt).is_some();
        if record.tombstone.is_some() || beside || let_go && self.is_deleted(unit, other) {
            self.found_another(unit, position, draft, receipt, record, other, situation);
            return Ok(());
        }
        if self.is_deleted(unit, other) {
            self.create_again(unit, position, draft, receipt, record, situation);
            return Ok(());
        }
        doing(self.prove_merge(unit, position, receipt, record.id, other, situation)).await
    }

    /// The answer to a create names a native record that is another thing by now, and its own record needs none there any more: it
    /// was deleted, everywhere or by that system, or the system has reported one meanwhile.
    #[allow(clippy::too_many_arguments)]
    fn found_another(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        receipt: &Receipt,
        mut record: CanonicalRecord,
        other: CanonicalId,
        situation: &Situation<'_>,
    ) {
        let system = receipt.system();
        record.links.retain(|link| link.system != *system || link.native_id.is_some());
        for link in record.links.iter_mut().filter(|link| link.system == *system) {
            link.shadow.crossing.retain(|sent| sent.rev != receipt.rev);
        }
        let beside = made_beside(&record, receipt);
        beside.iter().for_each(|beside| drop(take_creates(&mut record, beside)));
        let of = match (&record.tombstone, beside) {
            (Some(_), _) => "what is deleted by now",
            (None, Some(_)) => "what it has already",
            (None, None) => "what it has let go of",
        };
        let reason = format!("{system} made no record of its own of {of}: it found one that is record {other}");
        let decision = receipt_row(&record, receipt, reason, Vec::new(), unit.inputs[position].received_at, situation);
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.push(OutboxChange::Applied { system: system.clone(), rev: receipt.rev });
        }
        unit.put_row(draft, DecisionWrite { decision, content_hash: receipt.content_hash, replaces: false, place: 0 });
    }

    /// A native id of a deleted record leads to another one from now on, if its system is done with the deleted one: it has
    /// deleted that, or will not.
    fn leaves_to(&mut self, unit: &mut Unit, draft: usize, deleted: CanonicalId, key: &NativeKey) -> bool {
        if !self.is_deleted(unit, deleted) {
            return false;
        }
        let Some(from) = unit.draft_of(deleted) else { return false };
        let Some(record) = unit.drafts[from].work.as_mut().map(|work| &mut work.record) else { return false };
        let Some(index) = record.link_of(&key.system, &key.native_id) else { return false };
        let link = &mut record.links[index];
        if link.state != LinkState::Detached && link.rejected != Some(GONE) {
            return false;
        }
        link.native_id.take_if(|id| *id == key.native_id);
        link.aliases.retain(|id| *id != key.native_id);
        let_go(link, &record.data);
        let inputs = unit.drafts[draft].inputs.clone();
        unit.drafts[from].inputs.extend(inputs);
        self.give_up(unit, from, vec![(key.system.clone(), key.native_id.clone())]);
        unit.drafts[draft].depends.insert(from);
        true
    }

    /// A create found a native record that its system is just being told to delete: once that is gone, it is to be made anew.
    fn create_again(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        receipt: &Receipt,
        mut record: CanonicalRecord,
        situation: &Situation<'_>,
    ) {
        let Some(link) = answered_link(&record, receipt).map(|index| &mut record.links[index]) else { return };
        link.failures = link.failures.saturating_add(1);
        let retry_at = situation.now.plus(self.settings.backoff(link.failures));
        let system = receipt.system();
        let reason = format!("{system} found a record for it that it is told to delete; it is sent the create again later");
        let decision = receipt_row(&record, receipt, reason, Vec::new(), unit.inputs[position].received_at, situation);
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.push(OutboxChange::Failed { system: system.clone(), rev: receipt.rev, retry_at });
        }
        unit.put_row(draft, DecisionWrite { decision, content_hash: receipt.content_hash, replaces: false, place: 0 });
    }

    /// The answer to a create names a native record that has come in by itself: the two records are one thing.
    async fn prove_merge(
        &mut self,
        unit: &mut Unit,
        position: usize,
        receipt: &Receipt,
        winner: CanonicalId,
        loser: CanonicalId,
        situation: &Situation<'_>,
    ) -> Result<(), PortError> {
        let received_at = unit.inputs[position].received_at;
        let system = receipt.system();
        let native_id = receipt.native_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = format!("{system} was sent a create of one of them and answers with {native_id}, which is the other one");
        let cause = Cause { by: DecidedBy::SYSTEM, reason, received_at };
        if let Err(refused) = doing(self.merge_records(unit, position, winner, loser, &cause)).await? {
            let detail = format!("its native id belongs to record {loser}, and the two can't become one: {refused}");
            let known = unit.draft_of(winner);
            // What is in the way may be gone by now, as a remembered record does not tell.
            known.into_iter().for_each(|draft| unit.drafts[draft].relied_on.extend([loser]));
            self.bury_receipt(unit, position, known, receipt, &Rejection::new(DeadReason::UnknownReceipt, detail));
            return Ok(());
        }
        let Some(draft) = unit.draft_of(winner) else { return Ok(()) };
        let Some(record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            // The create is answered; whatever differs still is sent as an update, under a later rev.
            work.outbox.push(OutboxChange::Applied { system: system.clone(), rev: receipt.rev });
        }
        let reason = format!("{system} made the record it was sent; it was known as another one already, and the two are one now");
        let decision = receipt_row(&record, receipt, reason, Vec::new(), received_at, situation);
        unit.put_row(draft, DecisionWrite { decision, content_hash: receipt.content_hash, replaces: false, place: 0 });
        doing(self.wake_collisions(unit, &[winner, loser])).await
    }
}

pub(super) fn receipt_row(
    record: &CanonicalRecord,
    receipt: &Receipt,
    reason: String,
    notified: Vec<SystemName>,
    received_at: Timestamp,
    situation: &Situation<'_>,
) -> Decision {
    Decision {
        update: receipt.update.clone(),
        timestamp: situation.now,
        entity_type: receipt.entity_type.clone(),
        canonical_id: Some(record.id),
        source_system: receipt.system().clone(),
        native_id: receipt.native_id.clone(),
        op: Op::Receipt,
        decision: DecisionKind::Unchanged,
        reason,
        decided_by: DecidedBy::SYSTEM,
        proposed_snapshot: None,
        accepted_snapshot: None,
        changed: Vec::new(),
        modified_fields: Vec::new(),
        not_applied: Vec::new(),
        conflicts: Vec::new(),
        version_before: record.version,
        version_after: record.version,
        attempts: 1,
        notified,
        received_at,
        duration_us: u64::try_from(situation.now.since(received_at).as_micros()).unwrap_or(u64::MAX),
        trace_id: receipt.trace.map(|trace| trace.trace_id()),
        change_set: None,
        config: situation.rules.config_hash.to_string(),
    }
}
