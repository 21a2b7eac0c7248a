//! Deletes of a system's own records, and what comes of records that are deleted (§1.10).

use super::decide::{Decider, due_from};
use super::doing;
use super::lanes::{Answered, Question};
use super::load::ChangeItem;
use super::unit::{Owner, Unit};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{ChangeBody, DeadReason, Rejection};
use crate::domain::conclude::{Outcome, Waits, blank};
use crate::domain::decide::{Arrival, Footing, Prepared, Proposal, Situation, old_copy, prepare};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::delete::{self, DeleteConflict, DeletePolicy, Deleting};
use crate::domain::handler::Answer;
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, SystemName};
use crate::domain::link::LinkState;
use crate::domain::provenance::DecidedBy;
use crate::domain::review::Word;
use crate::domain::rules::TypeRules;
use crate::domain::sending::Target;
use crate::domain::spare::stand_in;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::OutboxChange;

impl Decider {
    /// A system deletes its record.
    pub(super) async fn decide_delete(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
    ) -> Result<(), PortError> {
        let key = &item.change.key;
        let known = unit.linked(key).and_then(|id| unit.draft_of(id));
        let loaded = known.and_then(|draft| Some((draft, unit.drafts[draft].work.as_ref()?.record.clone())));
        let found = loaded.and_then(|(draft, record)| Some((draft, record.link_of(&key.system, &key.native_id)?, record)));
        let Some((draft, index, before)) = found else {
            self.delete_unknown(unit, position, item, arrival, situation);
            return Ok(());
        };
        let mut record = before.clone();
        let outcome = match delete::prepare(&mut record, index, arrival) {
            Err(rejection) => {
                self.bury(unit, position, item, &rejection);
                return Ok(());
            }
            Ok(Deleting::Nothing { echo, reason }) => nothing(&record, echo, reason, arrival, situation),
            Ok(Deleting::Asked) => {
                if doing(self.delete_set_aside(unit, position, item, arrival, &record)).await {
                    return Ok(());
                }
                // A person who spoke about this very delete has seen that there are many.
                if item.word.is_none()
                    && let Some(id) = self.brake_on(item, arrival.received_at, situation.now).await?
                {
                    self.park(unit, position, item, arrival, situation, WaitingFor::Brake { id }, None);
                    return Ok(());
                }
                let word = item.word.as_ref();
                match self.ask_about_delete(&record, arrival, word).await {
                    Ok(answer) => {
                        let answer = word.map_or_else(|| answer.clone(), |word| word.over(answer.clone(), &record.data, None));
                        // What the policy asks a person, or the time, to say is said.
                        let said = word.is_some() && item.types.delete_policy == DeletePolicy::Review;
                        let policy = if said { DeletePolicy::Propagate } else { item.types.delete_policy };
                        let children = if word.is_some() { None } else { self.children_to_review(&record).await? };
                        delete::conclude(&mut record, index, &answer, policy, children.as_ref(), arrival, situation)
                    }
                    Err(error) => {
                        self.delete_handler_failed(unit, position, draft, item, arrival, situation, &error.to_string());
                        return Ok(());
                    }
                }
            }
        };
        if outcome.waits.is_some() {
            self.write_row(unit, position, draft, item, outcome.decision, outcome.waits);
            return Ok(());
        }
        let let_go = record.links[index].state == LinkState::Detached;
        let refused = outcome.decision.decision == DecisionKind::Dropped;
        let told = record.is_live() && outcome.decision.decision == DecisionKind::Echo;
        if let_go && (refused || told) {
            self.restored(&mut record, index, &item.source, &item.types);
        }
        if record.links[index].state != LinkState::Linked {
            self.overtake_all(unit, position, draft, item, situation);
        }
        self.take_down_delete(unit, position, draft, item, situation, &before, record, outcome);
        self.wake_instead(unit, draft, &key.system, before.native_id(&key.system)).await
    }

    /// Where a system has another native record in place of the one it `had`, what that has said meanwhile is looked at.
    pub(super) async fn wake_instead(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        system: &SystemName,
        had: Option<&NativeId>,
    ) -> Result<(), PortError> {
        let Some(record) = unit.drafts[draft].work.as_ref().map(|work| &work.record) else { return Ok(()) };
        let Some(native_id) = record.native_id(system).filter(|id| had.is_some_and(|had| had != *id)) else { return Ok(()) };
        let key = NativeKey { system: system.clone(), entity_type: record.entity_type.clone(), native_id: native_id.clone() };
        let doubled = |waiting: &Waiting| matches!(waiting.waiting_for, WaitingFor::DuplicateInSystem { .. } | WaitingFor::NoBase);
        self.wake_of(unit, vec![key], doubled).await
    }

    /// Asks about a delete before anything is done with it, as about any other change: a handler that does not answer at once holds
    /// up its own record only.
    async fn delete_set_aside(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        record: &CanonicalRecord,
    ) -> bool {
        let asked = self.handlers.has_for_deletes(&record.entity_type) && !item.word.as_ref().is_some_and(Word::asks_nobody);
        if !asked || self.lanes.is_none() || !unit.expected.is_empty() {
            return false;
        }
        if self.answers_in_lane(unit, position, Some(&item.change.key), Some(record.id)) {
            unit.decided.remove(&item.change.update);
            return true;
        }
        doing(self.ask_beside(unit, position, item, record.id, about_delete(record, arrival))).await
    }

    async fn ask_about_delete(&mut self, record: &CanonicalRecord, arrival: &Arrival<'_>, word: Option<&Word>) -> Answered {
        if !self.handlers.has_for_deletes(&record.entity_type) || word.is_some_and(Word::asks_nobody) {
            return Ok(Answer::nobody(record.data.clone()));
        }
        let question = about_delete(record, arrival);
        match self.lanes.as_mut().and_then(|lanes| lanes.take_answer(&question)) {
            Some(answered) => answered,
            None => self.handlers.ask(&question, &self.settings).await,
        }
    }

    /// The source of a delete that nobody wants, or wants no longer, gets the record again, if it is sent records at all.
    pub(super) fn restored(&self, record: &mut CanonicalRecord, index: usize, source: &Target, types: &TypeRules) {
        delete::lose(record, index, self.settings.rules.creates(&source.side, types));
    }

    #[allow(clippy::too_many_arguments)]
    fn take_down_delete(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        item: &ChangeItem,
        situation: &Situation<'_>,
        before: &CanonicalRecord,
        mut record: CanonicalRecord,
        outcome: Outcome,
    ) {
        let Outcome { mut decision, .. } = outcome;
        self.release_undue(unit, draft, &mut record, &item.types);
        let system = &item.change.key.system;
        let mut outbox = Vec::new();
        let has = |record: &CanonicalRecord| record.link_with(system).map(|index| record.links[index].rev);
        stand_in(&mut record, system);
        // What was made beside it is in place now.
        let another = record.native_id(system).is_some_and(|id| before.native_id(system) != Some(id));
        if let Some(rev) = has(before).filter(|_| another || has(&record).is_none()) {
            // Whatever it was still to be sent is about a native record it does not have.
            outbox.push(OutboxChange::Rejected { system: system.clone(), rev });
        }
        let due = self.plan_sends(&mut record, &item.types, situation.now, Some(system));
        item.change.follow_on(&mut record, &due, self.settings.spans);
        decision.notified = due.iter().map(|due| due.system.clone()).collect();
        outbox.extend(due.into_iter().map(|due| due_from(due, None)));
        if before.tombstone.is_none() {
            self.leave_orphans(unit, draft, &record);
        }
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.extend(outbox);
        }
        self.write_row(unit, position, draft, item, decision, None);
    }

    /// What nobody knows can't be deleted. What waited of it waits in vain.
    fn delete_unknown(&mut self, unit: &mut Unit, position: usize, item: &ChangeItem, arrival: &Arrival<'_>, situation: &Situation<'_>) {
        let mut decision = blank(arrival, situation, None);
        decision.decided_by = DecidedBy::SYSTEM;
        decision.reason = "nobody knows this record, so there is nothing to delete".to_owned();
        let draft = unit.add_loose();
        self.overtake_all(unit, position, draft, item, situation);
        self.write_row(unit, position, draft, item, decision, None);
    }

    /// What waits of a native record that is gone is overtaken.
    fn overtake_all(&mut self, unit: &mut Unit, position: usize, draft: usize, item: &ChangeItem, situation: &Situation<'_>) {
        unit.drafts[draft].inputs.insert(position);
        let own = item.woken.as_ref().map(|woken| woken.arrival);
        let earlier = |waiting: &Waiting| {
            let comes_before = waiting.update != item.change.update && own.is_none_or(|own| waiting.arrival < own);
            comes_before && !super::waiting::is_old_copy(&item.change, waiting) && !super::compensating::is_refusal(waiting)
        };
        for waiting in unit.waiting_of(&item.change.key).into_iter().filter(earlier) {
            unit.take_waiting(draft, &waiting.update);
            if let Some(row) = super::waiting::superseded_row(&waiting, &item.change.update, situation) {
                unit.put_row(draft, row);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn delete_handler_failed(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        error: &str,
    ) {
        let (attempt, max) = (arrival.attempt, self.settings.max_attempts);
        if attempt >= max {
            let detail = format!("the handler failed {attempt} times, the last time: {error}; mend it, then requeue this message");
            self.bury(unit, position, item, &Rejection::new(DeadReason::HandlerFailed, detail));
            return;
        }
        let mut decision = blank(arrival, situation, unit.linked(&item.change.key));
        decision.decision = DecisionKind::Deferred;
        decision.decided_by = DecidedBy::SYSTEM;
        decision.reason = format!("the handler failed (attempt {attempt} of {max}): {error}; it is tried again");
        let waits = Waits { waiting_for: WaitingFor::Time, retry_after: Some(None), change: None, untouched: true };
        self.write_row(unit, position, draft, item, decision, Some(waits));
    }

    /// Whether an update is about a record that is deleted.
    pub(super) fn is_deleted(&self, unit: &Unit, id: CanonicalId) -> bool {
        unit.record(id).is_some_and(|record| record.tombstone.is_some())
    }

    /// Whether an update brings a deleted record back: the system that deleted it has it again as a whole, or the policy says
    /// that a real change wins.
    pub(super) fn may_revive(
        &self,
        unit: &Unit,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        id: CanonicalId,
    ) -> bool {
        let Some(record) = unit.record(id) else { return false };
        let Some(tombstone) = &record.tombstone else { return false };
        let key = &item.change.key;
        let whole = matches!(item.change.body, ChangeBody::Upsert(_));
        let own = tombstone.system == key.system && has_let_go(record, key);
        let wins = item.types.delete_conflict == DeleteConflict::UpdateRevives;
        if tombstone.erased || !(own && whole || wins && !own) {
            return false;
        }
        if record.link_of(&key.system, &key.native_id).is_none() {
            return false;
        }
        let mut tried = record.clone();
        self.revived(&mut tried, item);
        match prepare(&mut tried, Footing::Linked, arrival, situation) {
            Ok(Prepared::Proposal(_) | Prepared::Waits(_)) => true,
            Ok(Prepared::Nothing { .. }) | Err(_) => false,
        }
    }

    /// The update of a deleted record is dropped, and its system is sent the delete again.
    pub(super) fn tell_again(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        id: CanonicalId,
    ) {
        let Some(draft) = unit.draft_of(id) else { return };
        let Some(before) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return };
        let Some(tombstone) = before.tombstone.clone() else { return };
        let mut record = before.clone();
        let key = &item.change.key;
        let index = record.link_of(&key.system, &key.native_id).or_else(|| record.link_with(&key.system));
        let own = tombstone.system == key.system && !tombstone.erased && has_let_go(&record, key);
        let mut decision = blank(arrival, situation, Some(id));
        decision.decided_by = DecidedBy::SYSTEM;
        decision.decision = DecisionKind::Dropped;
        (decision.version_before, decision.version_after) = (before.version, before.version);
        decision.changed = arrival.leaves.iter().map(|(path, _)| path.clone()).collect();
        decision.modified_fields.clone_from(&decision.changed);
        decision.reason = tombstone.told();
        match &item.change.body {
            ChangeBody::Upsert(_) if own => decision.reason.push_str("; this says nothing it was not sent, so it does not bring it back"),
            _ if own => decision.reason.push_str("; it has to send the whole record to bring it back"),
            _ => {}
        }
        // What has waited was no old copy when it came.
        if let Some(index) = index.filter(|_| arrival.waited.is_none())
            && let Ok(Some(reason)) = old_copy(&mut record.links[index], arrival)
        {
            decision.decision = DecisionKind::Unchanged;
            (decision.changed, decision.modified_fields) = (Vec::new(), Vec::new());
            decision.reason = reason;
        } else if let Some(index) = index.filter(|_| !own) {
            let link = &mut record.links[index];
            link.native_id.get_or_insert_with(|| key.native_id.clone());
            link.waits.retain(|waits| waits.update != item.change.update);
            delete::told_again(&mut record, index, &item.source);
            decision.reason.push_str("; a delete wins over what comes later (delete.conflict)");
        }
        decision.notified = self.send(unit, draft, &mut record, item, situation, false);
        self.keep(unit, draft, record, item, &before);
        self.write_row(unit, position, draft, item, decision, None);
    }

    /// An update that would have brought a deleted record back, and of which nothing was taken: its system is sent the delete again.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn stay_deleted(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        before: &CanonicalRecord,
        mut decision: Decision,
    ) {
        let mut record = before.clone();
        if let Some(index) = record.link_of(&item.change.key.system, &item.change.key.native_id) {
            let link = &mut record.links[index];
            // What is to be said about an old copy was said when it was compared.
            let _ = old_copy(link, arrival);
            link.waits.retain(|waits| waits.update != item.change.update);
            delete::told_again(&mut record, index, &item.source);
        }
        decision.notified = self.send(unit, draft, &mut record, item, situation, false);
        self.keep(unit, draft, record, item, before);
        self.write_row(unit, position, draft, item, decision, None);
    }

    /// Takes a deleted record's tombstone away for the system of an update.
    pub(super) fn revived(&self, record: &mut CanonicalRecord, item: &ChangeItem) {
        let key = &item.change.key;
        let index = record.link_of(&key.system, &key.native_id).or_else(|| record.link_with(&key.system));
        let targets = self.directory.targets(&record.entity_type);
        let creates = |target: &&Target| self.settings.rules.creates(&target.side, &item.types);
        let takes_creates = |system: &SystemName| targets.iter().find(|target| target.system == *system).filter(creates).is_some();
        if let Some(index) = index.filter(|_| record.tombstone.is_some()) {
            delete::revive(record, index, takes_creates);
        }
    }

    /// Native ids that lead nowhere from now on.
    pub(super) fn give_up(&self, unit: &mut Unit, draft: usize, given_up: Vec<(SystemName, NativeId)>) {
        let Some(work) = unit.drafts[draft].work.as_mut() else { return };
        let entity_type = work.record.entity_type.clone();
        let keys: Vec<NativeKey> =
            given_up.into_iter().map(|(system, native_id)| NativeKey { system, entity_type: entity_type.clone(), native_id }).collect();
        for key in &keys {
            work.links_added.retain(|added| added != key);
        }
        work.links_removed.extend(keys.iter().cloned());
        for key in keys {
            unit.links.insert(key, Owner { id: None, made_by: Some(draft) });
        }
    }
}

/// Whether it is just this native record that its system had let go of.
fn has_let_go(record: &CanonicalRecord, key: &NativeKey) -> bool {
    record.link_of(&key.system, &key.native_id).is_some_and(|index| record.links[index].state == LinkState::Detached)
}

fn nothing(record: &CanonicalRecord, echo: bool, reason: String, arrival: &Arrival<'_>, situation: &Situation<'_>) -> Outcome {
    let mut decision = blank(arrival, situation, Some(record.id));
    decision.decision = if echo { DecisionKind::Echo } else { DecisionKind::Unchanged };
    decision.decided_by = DecidedBy::SYSTEM;
    decision.reason = reason;
    (decision.version_before, decision.version_after) = (record.version, record.version);
    Outcome { decision, waits: None }
}

fn about_delete(record: &CanonicalRecord, arrival: &Arrival<'_>) -> Question {
    let proposal = Proposal {
        footing: Footing::Linked,
        changes: Vec::new(),
        stale: Vec::new(),
        proposed: record.data.clone(),
        ruled: record.data.clone(),
        conflicts: Vec::new(),
        rules: std::collections::BTreeMap::new(),
    };
    Question::about(record, &proposal, arrival)
}
