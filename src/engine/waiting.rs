//! Updates that wait: how they are kept, how they wake, and what overtakes them.

use std::sync::Arc;

use serde_json::Value;

use super::decide::Decider;
use super::identify::is_old;
use super::input::{Input, InputKind};
use super::load::ChangeItem;
use super::messages::{change_of, message_of};
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{ChangeBody, DeadReason, NativeChange, Op, Rejection};
use crate::domain::conclude::{Waits, blank};
use crate::domain::decide::{Arrival, Footing, Prepared, Proposal, Situation, prepare};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::explain;
use crate::domain::ids::{SystemName, UpdateId};
use crate::domain::planted;
use crate::domain::provenance::{ByKind, DecidedBy};
use crate::domain::redact::not_quoting;
use crate::domain::shadow::FieldChange;
use crate::domain::undecided::{Overtaken, forget_report, forget_wait, is_news, keep_waiting};
use crate::domain::value::{FieldPath, same_held};
use crate::domain::waiting::{Waiting, WaitingChange, WaitingFor};
use crate::ports::store::DecisionWrite;

impl Decider {
    /// The update this patch has to queue behind: a waiting one of the same native record, come earlier.
    pub(super) fn queues_behind(&self, unit: &Unit, item: &ChangeItem) -> Option<UpdateId> {
        if matches!(item.change.body, ChangeBody::Upsert(_)) {
            return None;
        }
        // What waits under the old id is to be known under the new one.
        let is_rekey = matches!(item.change.body, ChangeBody::Rekey(_));
        let is_rekey = is_rekey && unit.linked(&item.change.key).is_none();
        let earlier = |waiting: &Waiting| item.woken.as_ref().is_none_or(|woken| waiting.arrival < woken.arrival);
        let unknown = |waiting: &Waiting| is_rekey && !is_rekeying(waiting) && super::settle::is_unknown(waiting);
        let waiting = unit.waiting_of(&item.change.key).into_iter().filter(|waiting| waiting.update != item.change.update);
        let ahead = waiting.filter(|waiting| earlier(waiting) && super::settle::holds_followers(waiting) || unknown(waiting)).last();
        ahead.map(|waiting| waiting.update)
    }

    /// A whole record overtakes what waits of its native record for an identity, a base or a reference, and what waits
    /// for a time or a person if it leaves nothing of it. Their changes become its own, since it repeats them.
    pub(super) fn supersede(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &mut Arrival<'_>,
        situation: &Situation<'_>,
    ) {
        let key = &item.change.key;
        let is_old = unit.linked(key).and_then(|id| unit.record(id)).is_some_and(|record| is_old(record, arrival));
        if is_old || !matches!(item.change.body, ChangeBody::Upsert(_)) {
            return;
        }
        let own = item.woken.as_ref().map(|woken| woken.arrival);
        for waiting in unit.waiting_of(&item.change.key) {
            let overtaken = match &waiting.waiting_for {
                WaitingFor::MissingReference { .. } => !keeps_reference(unit, &waiting, item, arrival, situation),
                WaitingFor::MatchCollision { .. }
                | WaitingFor::DuplicateInSystem { .. }
                | WaitingFor::NoIdentity
                | WaitingFor::OpenCreate { .. }
                | WaitingFor::NoBase => true,
                WaitingFor::Brake { .. } => true,
                WaitingFor::Review | WaitingFor::Time => is_delete(&waiting) || says_otherwise(unit, &waiting, item, arrival, situation),
            };
            let overtaken = overtaken && !is_rekeying(&waiting) && !is_old_copy(&item.change, &waiting);
            if !overtaken || waiting.update == item.change.update || own.is_some_and(|own| waiting.arrival > own) {
                continue;
            }
            // Its link may have moved to another record since it began to wait.
            let known = waiting.change.as_ref().map(|change| unit.linked(&waiting.key).unwrap_or(change.canonical_id));
            let draft = known.and_then(|id| unit.draft_of(id)).unwrap_or_else(|| unit.add_loose());
            unit.drafts[draft].inputs.insert(position);
            if let Some(work) = unit.drafts[draft].work.as_mut() {
                forget_wait(&mut work.record, &waiting.update);
            }
            if let Some(change) = &waiting.change {
                // A reference that was never resolved and is not said again means nothing any more.
                let lost = |path: &FieldPath| change.unresolved.contains(path) && arrival.leaves.get(path).is_none();
                for field in change.fields.iter().filter(|field| !lost(&field.path)) {
                    if arrival.overtaken.iter().all(|taken| taken.change.path != field.path) {
                        let unresolved = change.unresolved.contains(&field.path);
                        arrival.overtaken.push(Overtaken { change: field.clone(), unresolved });
                    }
                }
            }
            unit.take_waiting(draft, &waiting.update);
            if let Some(row) = superseded_row(&waiting, &item.change.update, situation) {
                unit.put_row(draft, row);
            }
        }
    }

    /// Keeps an update until what it waits for comes. `change` is set where its record is known.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn park(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        waiting_for: WaitingFor,
        change: Option<WaitingChange>,
    ) {
        let known = change.as_ref().and_then(|change| unit.draft_of(change.canonical_id));
        let draft = known.unwrap_or_else(|| unit.add_loose());
        unit.drafts[draft].inputs.insert(position);
        match &waiting_for {
            WaitingFor::MatchCollision { records, .. } => unit.drafts[draft].relied_on.extend(records),
            WaitingFor::DuplicateInSystem { record, .. } => {
                unit.drafts[draft].relied_on.insert(*record);
            }
            // Its system had let go of the record; somebody else may have seen it take that up again.
            WaitingFor::NoBase => {
                let former = unit.linked(&item.change.key);
                unit.drafts[draft].relied_on.extend(former);
            }
            WaitingFor::MissingReference { .. }
            | WaitingFor::NoIdentity
            | WaitingFor::OpenCreate { .. }
            | WaitingFor::Review
            | WaitingFor::Brake { .. }
            | WaitingFor::Time => {}
        }
        let touched: Vec<usize> = unit.drafts[draft].relied_on.iter().filter_map(|id| unit.by_record.get(id).copied()).collect();
        unit.drafts[draft].depends.extend(touched.into_iter().filter(|other| *other != draft));
        let mut decision = blank(arrival, situation, change.as_ref().map(|change| change.canonical_id));
        if let Some(id) = decision.canonical_id
            && let Some(record) = unit.record(id)
        {
            decision.version_before = record.version;
            decision.version_after = record.version;
        }
        decision.changed = change.iter().flat_map(|change| &change.fields).map(|field| field.path.clone()).collect();
        decision.decision = if waiting_for.is_deferral() { DecisionKind::Deferred } else { DecisionKind::Parked };
        decision.decided_by = DecidedBy::SYSTEM;
        decision.reason = explain::waiting(&waiting_for);
        decision.notified = self.send_back(unit, draft, item, situation);
        let retry_after = super::settle::look_again(&waiting_for, item, situation.now).map(Some);
        let waits = Waits { waiting_for, retry_after, change, untouched: false };
        self.write_row(unit, position, draft, item, decision, Some(waits));
    }

    /// Records what its system is sent because of an update that waits: what it holds, over what is on its way there.
    fn send_back(&mut self, unit: &mut Unit, draft: usize, item: &ChangeItem, situation: &Situation<'_>) -> Vec<SystemName> {
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Vec::new() };
        let notified = self.send(unit, draft, &mut record, item, situation, false);
        self.keep_record(unit, draft, record);
        notified
    }

    /// Parks an update before anyone decided about it. Of a record that is linked already, what the system holds is a
    /// fact all the same: it goes into its shadow, and what it changed is stored; of one that is deleted only the update is
    /// kept, as it has to come back before it holds anything. False: nothing is new in it, so that nothing can be in its way.
    pub(super) fn park_undecided(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        waiting_for: WaitingFor,
    ) -> bool {
        let known = unit.linked(&item.change.key).and_then(|id| unit.draft_of(id));
        let record = known.and_then(|draft| unit.drafts[draft].work.as_ref()).map(|work| work.record.clone());
        let key = &item.change.key;
        let there = |record: &CanonicalRecord| record.tombstone.is_none() && record.known_instead(key).is_none();
        let linked = |record: &CanonicalRecord| record.link_of(&key.system, &key.native_id).filter(|_| there(record));
        let (Some(draft), Some(mut record)) = (known, record.filter(|record| linked(record).is_some())) else {
            self.park(unit, position, item, arrival, situation, waiting_for, None);
            return true;
        };
        let change = match prepare(&mut record, Footing::Linked, arrival, situation) {
            Err(rejection) => {
                self.bury(unit, position, item, &rejection);
                return true;
            }
            Ok(Prepared::Nothing { .. }) => return false,
            Ok(Prepared::Waits(change)) => change,
            Ok(Prepared::Proposal(proposal)) => {
                let change = WaitingChange {
                    canonical_id: record.id,
                    fields: proposal.changes,
                    unresolved: Vec::new(),
                    joins: proposal.footing == Footing::Joins,
                };
                if let Some(index) = linked(&record) {
                    keep_waiting(&mut record, index, &item.change, &change, situation);
                }
                change
            }
        };
        self.keep_record(unit, draft, record);
        self.park(unit, position, item, arrival, situation, waiting_for, Some(change));
        true
    }

    /// Writes a change's row, and its waiting row if it waits.
    pub(super) fn write_row(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        item: &ChangeItem,
        mut decision: Decision,
        waits: Option<Waits>,
    ) {
        unit.drafts[draft].inputs.insert(position);
        let update = decision.update.clone();
        let now = decision.timestamp;
        // Looking whether somebody is still in the way is no attempt.
        let in_the_way = |waiting_for: &WaitingFor| !waiting_for.in_its_way().is_empty();
        if let Some(woken) = item.woken.as_ref().filter(|woken| in_the_way(&woken.waiting_for))
            && waits.as_ref().is_some_and(|waits| in_the_way(&waits.waiting_for))
        {
            decision.attempts = woken.attempts;
        }
        let attempts = decision.attempts;
        if item.woken.is_some() {
            unit.take_waiting(draft, &update);
        }
        match waits {
            Some(waits) if !planted::fault("waiting_row_missing") => {
                let woken = item.woken.as_ref();
                let retry_at = if waits.waiting_for == WaitingFor::Review {
                    self.review_ends_at(woken.map(AsRef::as_ref), now)
                } else {
                    waits.retry_after.map(|after| now.plus(after.unwrap_or_else(|| self.settings.backoff(attempts))))
                };
                let waiting = Waiting {
                    update: update.clone(),
                    key: item.change.key.clone(),
                    waiting_for: waits.waiting_for,
                    since: woken.map_or(now, |woken| woken.since),
                    retry_at,
                    attempts,
                    received_at: decision.received_at,
                    arrival: woken.map_or(unit.inputs[position].arrival, |woken| woken.arrival),
                    message: message_of(&item.change),
                    change: waits.change,
                    word: item.word.clone(),
                };
                unit.put_waiting(draft, waiting);
            }
            Some(_) | None => wake_followers(unit, item),
        }
        let content_hash = item.change.content_hash;
        self.note_span(unit, &decision, item.change.trace);
        unit.put_row(draft, DecisionWrite { decision, content_hash, replaces: item.woken.is_some(), place: 0 });
    }

    /// A failing handler: tried again later, and a dead letter at the end.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn handler_failed(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        proposal: &Proposal,
        before: &CanonicalRecord,
        record: CanonicalRecord,
        error: &str,
    ) {
        let attempt = arrival.attempt;
        let error = not_quoting(error.to_owned(), &proposal.ruled, situation.types);
        let linked = matches!(proposal.footing, Footing::Linked | Footing::Binds) || arrival.waited.is_some();
        let known = linked && before.tombstone.is_none();
        let max = self.settings.max_attempts;
        if attempt >= max {
            let detail = format!("the handler failed {attempt} times, the last time: {error}; mend it, then requeue this message");
            self.forget_proposal(unit, item, before, proposal, known);
            self.bury(unit, position, item, &Rejection::new(DeadReason::HandlerFailed, detail));
            return;
        }
        let mut decision = blank(arrival, situation, known.then_some(before.id));
        decision.decision = DecisionKind::Deferred;
        decision.decided_by = DecidedBy { kind: ByKind::System, name: None };
        decision.version_before = before.version;
        decision.version_after = before.version;
        decision.reason = format!("the handler failed (attempt {attempt} of {max}): {error}; it is tried again");
        let mut record = record;
        let change = known.then(|| WaitingChange {
            canonical_id: record.id,
            fields: proposal.changes.clone(),
            unresolved: Vec::new(),
            joins: proposal.footing == Footing::Joins,
        });
        let draft = if let Some(change) = &change {
            if let Some(index) = record.link_of(&item.change.key.system, &item.change.key.native_id) {
                keep_waiting(&mut record, index, &item.change, change, situation);
            }
            let draft = unit.by_record[&record.id];
            self.keep_record(unit, draft, record);
            decision.notified = self.send_back(unit, draft, item, situation);
            draft
        } else {
            unit.add_loose()
        };
        let waits = Waits { waiting_for: WaitingFor::Time, retry_after: Some(None), change, untouched: !known };
        self.write_row(unit, position, draft, item, decision, Some(waits));
    }

    /// With what was overtaken by a waiting update, what it came to is forgotten.
    fn forget_proposal(&mut self, unit: &mut Unit, item: &ChangeItem, before: &CanonicalRecord, proposal: &Proposal, known: bool) {
        if !known || item.woken.is_none() {
            return;
        }
        let Some(draft) = unit.draft_of(before.id) else { return };
        let Some(work) = unit.drafts[draft].work.as_mut() else { return };
        let Some(index) = work.record.link_of(&item.change.key.system, &item.change.key.native_id) else { return };
        let CanonicalRecord { links, data, .. } = &mut work.record;
        forget_report(&mut links[index], data, &item.change.update, &proposal.changes);
    }

    fn keep_record(&mut self, unit: &mut Unit, draft: usize, record: CanonicalRecord) {
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
        }
    }
}

/// What queued behind an update goes on once that is decided.
fn wake_followers(unit: &mut Unit, item: &ChangeItem) {
    let update = &item.change.update;
    let behind =
        |waiting: &Waiting| matches!(&waiting.waiting_for, WaitingFor::MissingReference { behind: Some(ahead), .. } if ahead == update);
    let followers: Vec<Waiting> = unit.waiting_of(&item.change.key).into_iter().filter(behind).collect();
    for follower in followers {
        unit.wake(follower);
    }
}

/// Whether a change is known to come no later than an update that waits: an old copy overtakes nothing.
pub(super) fn is_old_copy(change: &NativeChange, waiting: &Waiting) -> bool {
    let Some(seq) = &change.seq else { return false };
    let counted_alike = waiting.message["seq_epoch"].as_str() == seq.epoch.as_deref();
    counted_alike && waiting.message["seq"].as_u64().is_some_and(|number| seq.number <= number)
}

/// A record that is there again was not meant to be deleted.
fn is_delete(waiting: &Waiting) -> bool {
    waiting.message["op"] == Op::Delete.as_str()
}

/// Whether a newer whole record leaves nothing of an update that waits.
fn says_otherwise(unit: &Unit, waiting: &Waiting, item: &ChangeItem, arrival: &Arrival<'_>, situation: &Situation<'_>) -> bool {
    match &waiting.change {
        Some(change) => {
            let gone = |field: &FieldChange| {
                says_instead(field, arrival).is_some_and(|now| is_own_word(unit, item, (&field.path, now), situation))
            };
            change.fields.iter().all(gone)
        }
        // Its record was not known when it came. Judged after this one, what it says otherwise would look like a change back.
        None => match &item.change.body {
            ChangeBody::Upsert(now) | ChangeBody::Patch(now) => {
                let said = waiting.message["entity"].as_object().into_iter().flatten();
                said.into_iter().any(|(name, value)| now.get(name).is_some_and(|now| now != value))
            }
            ChangeBody::Delete | ChangeBody::Rekey(_) => false,
        },
    }
}

/// Whether a reference that waits for its record goes on waiting: what a newer record says instead is only what its system had
/// been sent before.
fn keeps_reference(unit: &Unit, waiting: &Waiting, item: &ChangeItem, arrival: &Arrival<'_>, situation: &Situation<'_>) -> bool {
    let Some(change) = &waiting.change else { return false };
    let mut unresolved = change.fields.iter().filter(|field| change.unresolved.contains(&field.path));
    unresolved.any(|field| match (arrival.leaves.get(&field.path), says_instead(field, arrival)) {
        (Some(_), None) => false,
        (Some(_), Some(now)) => !is_own_word(unit, item, (&field.path, now), situation),
        // It does not say it any more because it was sent otherwise, or of itself.
        (None, _) => is_own_word(unit, item, (&field.path, &field.value), situation),
    })
}

/// What a whole record says in the place of a change that waits.
fn says_instead<'a>(field: &FieldChange, arrival: &'a Arrival<'_>) -> Option<&'a Value> {
    arrival.leaves.get(&field.path).filter(|now| !same_held(Some(now), Some(&field.value)))
}

/// Whether a system says this of itself. What it was sent over what waits, and is given back over, is not its own word.
fn is_own_word(unit: &Unit, item: &ChangeItem, said: (&FieldPath, &Value), situation: &Situation<'_>) -> bool {
    let key = &item.change.key;
    let record = unit.linked(key).and_then(|id| unit.record(id));
    let linked = record.and_then(|record| Some((record, &record.links[record.link_of(&key.system, &key.native_id)?])));
    linked.is_none_or(|(record, link)| is_news(record, link, said, &item.change, situation))
}

/// Whether it gives its record another id: nothing a record says takes the place of that.
fn is_rekeying(waiting: &Waiting) -> bool {
    waiting.message.get("op").and_then(Value::as_str) == Some(Op::Rekey.as_str())
}

pub(super) fn superseded_row(waiting: &Waiting, by: &UpdateId, situation: &Situation<'_>) -> Option<DecisionWrite> {
    let change = change_of(waiting).ok()?;
    let arrival = Arrival {
        change: &change,
        leaves: crate::domain::value::Leaves::new(),
        missing: Vec::new(),
        received_at: waiting.received_at,
        attempt: waiting.attempts,
        waited: None,
        overtaken: Vec::new(),
        approval: None,
        requeued: false,
        bases: Vec::new(),
        former_rev: 0,
        sent_through: u64::MAX,
    };
    let mut decision = blank(&arrival, situation, waiting.change.as_ref().map(|change| change.canonical_id));
    decision.decision = DecisionKind::Superseded;
    decision.decided_by = DecidedBy::SYSTEM;
    decision.reason = format!("overtaken by {by}, a newer record of the same; until then: {}", explain::waiting(&waiting.waiting_for));
    Some(DecisionWrite { decision, content_hash: change.content_hash, replaces: true, place: 0 })
}

/// The input a waiting update comes back as.
#[must_use]
pub fn awake_input(waiting: Waiting) -> Input {
    Input { tag: None, received_at: waiting.received_at, arrival: waiting.arrival, kind: InputKind::Awake(Arc::new(waiting)) }
}
