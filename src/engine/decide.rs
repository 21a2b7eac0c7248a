//! One input after the other: which record is it, what did the source really change, what do rules and handlers say.
//! The answers are the domain's; this is the street they come along.

use std::sync::Arc;

use serde_json::Value;

use super::caches::SharedCaches;
use super::commit::SharedOverlay;
use super::delete_brake::Lately;
use super::directory::{Directory, Shown};
use super::doing;
use super::handlers::Handlers;
use super::identify::Located;
use super::input::Input;
use super::lanes::{Answered, Lanes, Question};
use super::load::{ChangeItem, Content, Item};
use super::person::with_word;
use super::settings::Settings;
use super::sizes::{too_large, too_wide};
use super::unit::{Owner, Unit, Work};
use super::unsent::sent_through;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{ChangeBody, DeadReason, Rejection};
use crate::domain::conclude::{Outcome, blank, conclude};
use crate::domain::decide::{Arrival, Footing, Prepared, Proposal, Situation, prepare};
use crate::domain::decision::DecisionKind;
use crate::domain::explain;
use crate::domain::handler::Answer;
use crate::domain::identity::claims_of;
use crate::domain::ids::{CanonicalId, NativeKey, SystemName, UpdateId};
use crate::domain::link::SendOp;
use crate::domain::projection::resolve_references;
use crate::domain::provenance::DecidedBy;
use crate::domain::review::Word;
use crate::domain::rules::TypeRules;
use crate::domain::sending::{Due, SendContext, plan_sends};
use crate::domain::time::Timestamp;
use crate::domain::value::{FieldPath, Leaves};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::PortError;
use crate::ports::store::{OutboxChange, Store};

/// Decides inputs, one unit at a time. Keeps no state that the store does not have, except caches.
#[derive(Debug)]
pub struct Decider {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes canonical ids.
    pub ids: Arc<dyn Ids>,
    /// What it decides by.
    pub settings: Arc<Settings>,
    /// The user's handlers.
    pub handlers: Arc<Handlers>,
    /// Committed state, remembered.
    pub caches: SharedCaches,
    /// The unit being committed right now.
    pub overlay: Option<SharedOverlay>,
    /// Who takes part.
    pub directory: Arc<Directory>,
    /// Updates whose handlers are still thinking; `None`: every handler is waited for, so that a run can be repeated.
    pub lanes: Option<Lanes>,
    /// Nothing is recorded as sent while this is on: an initial load, or a pause.
    pub sends_held: bool,
    /// Deletes of late.
    pub(super) deletes_lately: Lately,
}

impl Decider {
    /// A decider over these ports.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        settings: Arc<Settings>,
        handlers: Arc<Handlers>,
        caches: SharedCaches,
        directory: Arc<Directory>,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            settings,
            handlers,
            caches,
            overlay: None,
            directory,
            lanes: None,
            sends_held: false,
            deletes_lately: Lately::default(),
        }
    }

    /// Decides inputs in order, on top of what the unit holds already.
    pub async fn decide(&mut self, unit: &mut Unit, inputs: Vec<Input>) -> Result<(), PortError> {
        let items = doing(self.load(unit, inputs)).await?;
        for item in items {
            doing(self.decide_one(unit, item)).await?;
        }
        // A parent that came wakes its children in the same unit, they theirs, and so on.
        loop {
            let woken = unit.take_woken();
            if woken.is_empty() {
                return Ok(());
            }
            let inputs = woken.into_iter().map(super::waiting::awake_input).collect();
            let items = doing(self.load(unit, inputs)).await?;
            for item in items {
                doing(self.decide_one(unit, item)).await?;
            }
        }
    }

    async fn decide_one(&mut self, unit: &mut Unit, item: Item) -> Result<(), PortError> {
        let Item { position, content, acting } = item;
        if acting.as_ref().is_some_and(|acting| !self.may_act(unit, acting, &content)) {
            return Ok(());
        }
        match content {
            Content::Change(change) => doing(self.decide_change(unit, position, *change)).await?,
            Content::ChangeSet(members) => {
                let rows = doing(self.decide_set(unit, position, *members)).await?;
                acting.iter().for_each(|acting| acting.act.made(rows.clone()));
            }
            Content::Receipt(receipt, source, types) => doing(self.decide_receipt(unit, position, &receipt, &source, &types)).await?,
            Content::Dead(mut dead) => {
                doing(self.set_apart(unit, &mut dead)).await?;
                let draft = unit.add_loose();
                unit.drafts[draft].inputs.insert(position);
                unit.drafts[draft].dead_letters.push(*dead);
            }
            Content::Unreadable(waiting, dead) => super::burying::lay_down(unit, position, &waiting.key, Some(&waiting), *dead),
            Content::Resend(record, what) => doing(self.resend(unit, position, record, what)).await?,
            Content::Refused(refused) => doing(self.decide_refused(unit, position, &refused)).await?,
            Content::Regroup(act) => doing(self.regroup(unit, position, &act)).await?,
            Content::Step(step) => doing(self.step(unit, position, step)).await?,
            Content::Nothing => {}
        }
        doing(self.hand_over(unit, position)).await?;
        if let Some(acting) = acting {
            self.acted(unit, position, acting);
        }
        Ok(())
    }

    pub(super) async fn decide_change(&mut self, unit: &mut Unit, position: usize, item: ChangeItem) -> Result<(), PortError> {
        if self.is_in_lane(unit, position, &item.change.key) || !self.admit(unit, position, &item) {
            return Ok(());
        }
        doing(self.decide_admitted(unit, position, item)).await
    }

    /// What arrived, its references resolved as far as their records are known.
    pub(super) fn arrival<'a>(unit: &Unit, position: usize, item: &'a ChangeItem, mut leaves: Leaves) -> Arrival<'a> {
        let known = |key: &NativeKey| unit.linked(key).or_else(|| unit.expected.get(key).copied());
        let missing = resolve_references(&mut leaves, &item.references, &item.types, known);
        Arrival {
            change: &item.change,
            leaves,
            missing,
            received_at: item.woken.as_ref().map_or(unit.inputs[position].received_at, |woken| woken.received_at),
            attempt: item.attempt(),
            waited: item.woken.as_ref().and_then(|woken| woken.change.clone()),
            overtaken: Vec::new(),
            approval: item.word.as_ref().and_then(Word::approval),
            requeued: item.requeued,
            bases: Vec::new(),
            former_rev: 0,
            sent_through: sent_through(unit, &item.change.key),
        }
    }

    pub(super) async fn decide_admitted(&mut self, unit: &mut Unit, position: usize, mut item: ChangeItem) -> Result<(), PortError> {
        let rules = self.settings.rules.clone();
        let (types, source) = (item.types.clone(), item.source.clone());
        let situation = Situation { rules: &rules, types: &types, source: &source, now: self.clock.now() };
        let leaves = std::mem::take(&mut item.leaves);
        let mut arrival = Self::arrival(unit, position, &item, leaves);
        if let Some(ahead) = self.queues_behind(unit, &item) {
            let waiting_for = WaitingFor::MissingReference { references: Vec::new(), behind: Some(ahead) };
            self.park(unit, position, &item, &arrival, &situation, waiting_for, None);
            return Ok(());
        }
        let whole = match &item.change.body {
            ChangeBody::Delete => return doing(self.decide_delete(unit, position, &item, &arrival, &situation)).await,
            ChangeBody::Rekey(new) => {
                self.decide_rekey(unit, position, &item, new, &arrival, &situation);
                return Ok(());
            }
            ChangeBody::Upsert(_) => true,
            ChangeBody::Patch(_) => false,
        };
        let located = doing(self.locate(unit, &item, &arrival)).await?;
        let (id, footing) = match located {
            Located::Stuck(waiting_for) => {
                let stuck = self.stuck(unit, position, &item, &mut arrival, &situation, waiting_for);
                let Some(id) = doing(stuck).await? else { return Ok(()) };
                (id, Footing::Linked)
            }
            // What it holds besides is not known: to join by a part of it would overwrite that.
            Located::At(_, Footing::Joins) | Located::Unknown if !whole => {
                self.park(unit, position, &item, &arrival, &situation, WaitingFor::NoBase, None);
                return Ok(());
            }
            Located::At(id, footing) => (id, footing),
            Located::Unknown => {
                if self.settle(unit, position, &item, &mut arrival, &situation) {
                    return Ok(());
                }
                let expected = unit.expected.get(&item.change.key).copied();
                (expected.unwrap_or_else(|| self.ids.canonical(situation.now)), Footing::New)
            }
        };
        self.read_references(unit, &item, &mut arrival, id).await?;
        if self.is_deleted(unit, id) && !self.may_revive(unit, &item, &arrival, &situation, id) {
            self.tell_again(unit, position, &item, &arrival, &situation, id);
            return Ok(());
        }
        if matches!(footing, Footing::New | Footing::Joins) && !arrival.missing.is_empty() {
            if let Some(waiting) = self.cycle_of(unit, &item, &arrival).await?
                && doing(self.bring_in(unit, position, waiting)).await?
            {
                return Ok(());
            }
            self.supersede(unit, position, &item, &mut arrival, &situation);
            let waiting_for = WaitingFor::MissingReference { references: arrival.missing.clone(), behind: None };
            self.park(unit, position, &item, &arrival, &situation, waiting_for, None);
            return Ok(());
        }
        arrival.bases = bases(unit, &item);
        if doing(self.set_aside(unit, position, &item, &arrival, &situation, id, footing)).await {
            return Ok(());
        }
        if footing != Footing::Linked {
            arrival.former_rev = self.part_ways(unit, position, &item);
        }
        self.supersede(unit, position, &item, &mut arrival, &situation);
        doing(self.judge(unit, position, &item, &arrival, &situation, id, footing)).await
    }

    /// Keeps an update that can't be decided now; gives its record, if nothing is new in it that could be in anybody's way.
    async fn stuck(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &mut Arrival<'_>,
        situation: &Situation<'_>,
        waiting_for: WaitingFor,
    ) -> Result<Option<CanonicalId>, PortError> {
        if let Some(id) = unit.linked(&item.change.key) {
            self.read_references(unit, item, arrival, id).await?;
        }
        self.supersede(unit, position, item, arrival, situation);
        let parked = self.park_undecided(unit, position, item, arrival, situation, waiting_for);
        Ok(unit.linked(&item.change.key).filter(|_| !parked))
    }

    /// Whether the update is to be decided at all: not if it was before, nor if its system may not send it.
    fn admit(&mut self, unit: &mut Unit, position: usize, item: &ChangeItem) -> bool {
        let update = &item.change.update;
        if item.woken.is_none()
            && let Some(known) = unit.decided.get(update).copied().or_else(|| unit.markers.get(update).map(|marker| marker.content_hash))
        {
            if known == item.change.content_hash {
                unit.duplicates += 1;
            } else {
                let detail = format!("{update} was decided before with other content; give every change an id of its own");
                self.bury(unit, position, item, &Rejection::new(DeadReason::IdReuse, detail).at("id"));
            }
            return false;
        }
        unit.decided.insert(update.clone(), item.change.content_hash);
        if let Some(rejection) = self.inadmissible(item) {
            self.bury(unit, position, item, &rejection);
            return false;
        }
        true
    }

    fn inadmissible(&self, item: &ChangeItem) -> Option<Rejection> {
        let key = &item.change.key;
        if !self.settings.rules.knows(&key.system) {
            let detail = format!("no [systems.{}] in the configuration; add it, or set unknown_systems = \"accept\"", key.system);
            return Some(Rejection::new(DeadReason::UnknownSystem, detail).at("system"));
        }
        if !item.source.side.inbound {
            let detail = format!("{} only receives {} (direction = \"out\"); it must not send it", key.system, key.entity_type);
            return Some(Rejection::new(DeadReason::NotTaken, detail).at("type"));
        }
        match &item.change.body {
            ChangeBody::Delete | ChangeBody::Rekey(_) => None,
            ChangeBody::Upsert(_) | ChangeBody::Patch(_) => {
                let read = |path: &FieldPath| item.leaves.get(path);
                if let Some(wide) = too_wide(&item.types, &read, |key, count| format!("the key {key} has {count} values in it")) {
                    return Some(wide);
                }
                let long = claims_of(&item.types.keys, |path| item.leaves.get(path))
                    .into_iter()
                    .find(|claim| claim.value.len() > self.settings.limits.key_value_bytes)?;
                let most = self.settings.limits.key_value_bytes;
                let detail = format!("the key {} is longer than {most} bytes; send a shorter value", long.key);
                Some(Rejection::new(DeadReason::KeyTooLong, detail).at(format!("/entity/{}", long.key)))
            }
        }
    }

    /// Compares, runs rules and handlers, and takes down what came of it.
    #[allow(clippy::too_many_arguments)]
    async fn judge(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        id: CanonicalId,
        footing: Footing,
    ) -> Result<(), PortError> {
        let draft = self.open_draft(unit, item, id, footing, situation.now);
        unit.drafts[draft].inputs.insert(position);
        let Some(before) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        let mut record = before.clone();
        self.revived(&mut record, item);
        let outcome = match prepare(&mut record, footing, arrival, situation) {
            Err(rejection) => {
                self.bury(unit, position, item, &rejection);
                return Ok(());
            }
            Ok(Prepared::Nothing { echo, reason, stale }) => {
                let mut outcome = nothing(&record, &before, footing, echo, reason, arrival, situation);
                outcome.decision.not_applied = stale;
                item.word.iter().for_each(|word| word.about_nothing(&mut outcome));
                outcome
            }
            Ok(Prepared::Waits(change)) => {
                // A deleted record stays as it is until it is brought back.
                let change = before.is_live().then(|| {
                    self.keep(unit, draft, record, item, &before);
                    change
                });
                let waiting_for = WaitingFor::MissingReference { references: arrival.missing.clone(), behind: None };
                self.park(unit, position, item, arrival, situation, waiting_for, change);
                return Ok(());
            }
            Ok(Prepared::Proposal(proposal)) => {
                let asked = self.ask(&record, &proposal, arrival, item.word.as_ref()).await;
                let asked = asked.map(|answer| with_word(answer, unit, item, arrival, &before.data));
                match asked {
                    Ok(Ok(answer)) => conclude(&mut record, &before, &proposal, answer, arrival, situation),
                    Ok(Err(rejection)) => {
                        self.bury(unit, position, item, &rejection);
                        return Ok(());
                    }
                    Err(error) => {
                        self.handler_failed(unit, position, item, arrival, situation, &proposal, &before, record, &error.to_string());
                        return Ok(());
                    }
                }
            }
        };
        if before.tombstone.is_some() && outcome.waits.is_none() && outcome.decision.version_after == before.version {
            self.stay_deleted(unit, position, draft, item, arrival, situation, &before, outcome.decision);
            return Ok(());
        }
        if let Some(rejection) = too_large(&before, &record, &outcome, item, self.settings.record_bytes()) {
            self.bury(unit, position, item, &rejection);
            return Ok(());
        }
        self.take_down(unit, position, draft, item, arrival, situation, before, record, outcome).await
    }

    async fn ask(&mut self, record: &CanonicalRecord, proposal: &Proposal, arrival: &Arrival<'_>, word: Option<&Word>) -> Answered {
        if !self.handlers.has(&record.entity_type) || word.is_some_and(Word::asks_nobody) {
            return Ok(Answer::nobody(proposal.ruled.clone()));
        }
        let question = Question::about(record, proposal, arrival);
        match self.lanes.as_mut().and_then(|lanes| lanes.take_answer(&question)) {
            Some(answered) => answered,
            None => self.handlers.ask(&question, &self.settings).await,
        }
    }

    fn open_draft(&self, unit: &mut Unit, item: &ChangeItem, id: CanonicalId, footing: Footing, now: Timestamp) -> usize {
        let draft = if footing == Footing::New { None } else { unit.draft_of(id) };
        let draft = draft.unwrap_or_else(|| {
            let record = CanonicalRecord::new(id, item.change.key.entity_type.clone(), now);
            unit.add_draft(Work::of(record, None))
        });
        // Results of this unit that this decision relies on: a parent made here, a key claimed or released here.
        let used: Vec<usize> = item.references.iter().filter_map(|reference| unit.links.get(&reference.key)?.made_by).collect();
        unit.drafts[draft].depends.extend(used.into_iter().filter(|maker| *maker != draft));
        draft
    }

    /// Claims, sends and rows of a decision; a key value that belongs to another record undoes it and parks the update.
    #[allow(clippy::too_many_arguments)]
    async fn take_down(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        before: CanonicalRecord,
        mut record: CanonicalRecord,
        outcome: Outcome,
    ) -> Result<(), PortError> {
        let Outcome { mut decision, waits } = outcome;
        let discarded = waits.as_ref().is_some_and(|waits| waits.untouched) || record.version == 0;
        if discarded {
            record = before.clone();
        } else if let Some(waiting_for) = self.claim(unit, draft, item, &mut record).await? {
            if !self.park_undecided(unit, position, item, arrival, situation, waiting_for.clone()) {
                self.park(unit, position, item, arrival, situation, waiting_for, None);
            }
            return Ok(());
        } else {
            self.note_frozen(unit, draft, &before, &record, item);
            let grew = decision.version_after > decision.version_before;
            decision.notified = self.send(unit, draft, &mut record, item, situation, grew);
        }
        if record.version == 0 {
            decision.canonical_id = None;
        }
        self.keep(unit, draft, record, item, &before);
        self.write_row(unit, position, draft, item, decision, waits);
        Ok(())
    }

    /// Records what is due because of an update, and says to whom. `grew`: it made a new version.
    pub(super) fn send(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        record: &mut CanonicalRecord,
        item: &ChangeItem,
        situation: &Situation<'_>,
        grew: bool,
    ) -> Vec<SystemName> {
        let due = self.plan_sends(record, &item.types, situation.now, grew.then_some(&item.change.key.system));
        item.change.follow_on(record, &due, self.settings.spans);
        let notified = due.iter().map(|due| due.system.clone()).collect();
        let creates_from = unit.creates_later.get(&item.change.update).copied();
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.outbox.extend(due.into_iter().map(|due| due_from(due, creates_from)));
        }
        notified
    }

    /// Puts the record back into its draft and notes its new links; what waited for them wakes.
    pub(super) fn keep(&mut self, unit: &mut Unit, draft: usize, record: CanonicalRecord, item: &ChangeItem, before: &CanonicalRecord) {
        let key = &item.change.key;
        let linked = record.version > 0 && record.link_of(&key.system, &key.native_id).is_some();
        let newly = linked && before.link_of(&key.system, &key.native_id).is_none();
        if newly {
            self.note_link(unit, draft, key.clone(), record.id);
        }
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
        }
    }

    /// Notes a new link; what waited for it wakes.
    pub(super) fn note_link(&mut self, unit: &mut Unit, draft: usize, key: NativeKey, id: CanonicalId) {
        if let Some(Owner { id: None, made_by: Some(former) }) =
            unit.links.insert(key.clone(), Owner { id: Some(id), made_by: Some(draft) })
            && former != draft
        {
            // It is given up there before it is linked here.
            unit.drafts[draft].depends.insert(former);
        }
        let mut woken = unit.waiting_on(&key);
        woken.extend(super::settle::freed_by_link(unit, &key));
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.links_added.push(key);
        }
        for waiting in woken {
            unit.wake(waiting);
        }
    }

    pub(super) fn plan_sends(
        &mut self,
        record: &mut CanonicalRecord,
        types: &TypeRules,
        now: Timestamp,
        source: Option<&SystemName>,
    ) -> Vec<Due> {
        if self.sends_held {
            return Vec::new();
        }
        let rules = self.settings.rules.clone();
        let targets = self.directory.targets(&record.entity_type);
        let context = SendContext { rules: &rules, types, targets: &targets, now, insist: None };
        plan_sends(record, &context, source)
    }

    /// Notes what an input shows about its system.
    pub(super) fn learn(&self, unit: &mut Unit, system: &SystemName, shown: Shown<'_>) {
        if let Some(facts) = self.directory.learn(system, shown) {
            unit.facts.insert(system.clone(), facts);
        }
    }
}

/// What becomes due about a message; a create not before a time, if one is given.
pub(super) fn due_from(due: Due, creates_from: Option<Timestamp>) -> OutboxChange {
    let Due { system, rev, op, afresh } = due;
    match (op, creates_from) {
        (SendOp::Create, Some(not_before)) => OutboxChange::DueLater { system, rev, not_before },
        _ if afresh => OutboxChange::DueAfresh { system, rev },
        (SendOp::Create, None) | (SendOp::Update | SendOp::Delete, _) => OutboxChange::Due { system, rev },
    }
}

/// What the fields were before the changes of this native record that wait.
fn bases(unit: &Unit, item: &ChangeItem) -> Vec<(UpdateId, FieldPath, Option<Value>)> {
    let others = unit.waiting_of(&item.change.key).into_iter().filter(|waiting| waiting.update != item.change.update);
    let fields = |waiting: Waiting| {
        let Waiting { update, change, .. } = waiting;
        change.into_iter().flat_map(|change| change.fields).map(move |field| (update.clone(), field.path, field.base))
    };
    others.flat_map(fields).collect()
}

fn nothing(
    record: &CanonicalRecord,
    before: &CanonicalRecord,
    footing: Footing,
    echo: bool,
    reason: String,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Outcome {
    let mut decision = blank(arrival, situation, Some(record.id));
    decision.decision = if echo { DecisionKind::Echo } else { DecisionKind::Unchanged };
    decision.decided_by = DecidedBy::SYSTEM;
    decision.version_before = before.version;
    decision.version_after = record.version;
    decision.reason = match footing {
        Footing::Joins => {
            format!("the same thing as in {}: a new link, nothing new in it", explain::holders(before))
        }
        Footing::Binds => format!("{} made the record it was sent", arrival.change.key.system),
        Footing::New | Footing::Linked => reason,
    };
    Outcome { decision, waits: None }
}
