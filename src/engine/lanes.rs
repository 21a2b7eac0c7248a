//! Lanes: while a merge handler thinks about one record, everything else goes on.
//!
//! A handler that answers at once is waited for. One that does not gets a lane: its update is set aside, with all that
//! comes after it about the same record, and is decided once the answer is there. The answer counts only if the question
//! is still the same then; else the handler is asked again, which it must bear anyway.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use super::decide::Decider;
use super::doing;
use super::handlers::HandlerError;
use super::input::Input;
use super::load::ChangeItem;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Record;
use crate::domain::decide::{Arrival, Footing, Prepared, Proposal, Situation, meta, prepare};
use crate::domain::handler::{Answer, UpdateMeta};
use crate::domain::ids::{CanonicalId, NativeKey, UpdateId};
use crate::domain::review::Word;
use crate::domain::value::Leaves;

/// How long a handler is waited for before it gets a lane, while no other has one.
pub const PATIENCE: Duration = Duration::from_millis(1);

/// Everything a handler is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The record as it is; `None`: it is new.
    pub current: Option<Record>,
    /// The record as it would be.
    pub proposed: Leaves,
    /// The rest.
    pub meta: UpdateMeta,
}

impl Question {
    /// The question about a proposal.
    #[must_use]
    pub fn about(record: &CanonicalRecord, proposal: &Proposal, arrival: &Arrival<'_>) -> Self {
        let current = (record.version > 0).then(|| record.data.close());
        Self { current, proposed: proposal.ruled.clone(), meta: meta(record, proposal, arrival) }
    }
}

/// What the handlers said.
pub type Answered = Result<Answer, HandlerError>;

#[derive(Debug)]
struct Lane {
    update: UpdateId,
    question: Question,
    record: CanonicalId,
    /// The update itself, then whatever came after it about the same record, in order.
    inputs: Vec<Input>,
    keys: HashSet<NativeKey>,
}

/// The updates whose handlers are still thinking.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<Id, Lane>,
    by_record: HashMap<CanonicalId, Id>,
    by_key: HashMap<NativeKey, Id>,
    running: JoinSet<Answered>,
    arrivals: HashSet<u64>,
    answers: HashMap<UpdateId, (Question, Answered)>,
}

impl Lanes {
    /// Whether any handler is thinking.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Updates set aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether nothing is set aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether this input is set aside already: a failed attempt of its unit may bring it again.
    #[must_use]
    pub fn has(&self, arrival: u64) -> bool {
        self.arrivals.contains(&arrival)
    }

    /// Puts an input behind a handler that thinks about its native record or its canonical record; false if there is
    /// none.
    pub fn queue(&mut self, key: Option<&NativeKey>, record: Option<CanonicalId>, input: &Input) -> bool {
        let by_key = key.and_then(|key| self.by_key.get(key));
        let Some(&id) = by_key.or_else(|| self.by_record.get(&record?)) else { return false };
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        if self.arrivals.insert(input.arrival) {
            lane.inputs.push(input.clone());
        }
        if let Some(key) = key
            && lane.keys.insert(key.clone())
        {
            self.by_key.insert(key.clone(), id);
        }
        true
    }

    /// Opens a lane for an update whose handlers are running.
    pub fn open(
        &mut self,
        input: &Input,
        key: &NativeKey,
        record: CanonicalId,
        question: Question,
        work: impl Future<Output = Answered> + Send + 'static,
    ) {
        let update = question.meta.update.clone();
        let id = self.running.spawn(work).id();
        self.arrivals.insert(input.arrival);
        self.by_record.insert(record, id);
        self.by_key.insert(key.clone(), id);
        let lane = Lane { update, question, record, inputs: vec![input.clone()], keys: HashSet::from([key.clone()]) };
        self.lanes.insert(id, lane);
    }

    /// Whether exactly this question was answered.
    #[must_use]
    pub fn is_answered(&self, question: &Question) -> bool {
        self.answers.get(&question.meta.update).is_some_and(|(asked, _)| asked == question)
    }

    /// The answer to exactly this question, if it was given.
    pub fn take_answer(&mut self, question: &Question) -> Option<Answered> {
        let (asked, answered) = self.answers.remove(&question.meta.update)?;
        (asked == *question).then_some(answered)
    }

    /// Waits until a handler has answered and returns everything that can be decided now, in arrival order. Never returns
    /// while no handler is thinking. Nothing is lost if the caller stops waiting.
    pub async fn answered(&mut self) -> Vec<Input> {
        let Some(first) = self.running.join_next_with_id().await else { return std::future::pending().await };
        let mut inputs = Vec::new();
        let mut next = Some(first);
        while let Some(outcome) = next {
            let (id, answered) = match outcome {
                Ok((id, answered)) => (id, answered),
                Err(error) => (error.id(), Err(HandlerError::new("the handler was stopped"))),
            };
            inputs.append(&mut self.close(id, answered));
            next = self.running.try_join_next_with_id();
        }
        inputs.sort_by_key(|input| input.arrival);
        inputs
    }

    /// Forgets answers nobody asked for any more.
    pub fn forget_answers(&mut self) {
        self.answers.clear();
    }

    fn close(&mut self, id: Id, answered: Answered) -> Vec<Input> {
        let Some(lane) = self.lanes.remove(&id) else { return Vec::new() };
        self.by_record.remove(&lane.record);
        for key in &lane.keys {
            self.by_key.remove(key);
        }
        for input in &lane.inputs {
            self.arrivals.remove(&input.arrival);
        }
        self.answers.insert(lane.update, (lane.question, answered));
        lane.inputs
    }
}

impl Decider {
    /// Whether a change belongs behind one that is set aside; if so, it is set aside too.
    pub(super) fn is_in_lane(&mut self, unit: &mut Unit, position: usize, key: &NativeKey) -> bool {
        let record = unit.linked(key);
        self.answers_in_lane(unit, position, Some(key), record)
    }

    /// The same for anything that is about a native record, a canonical record, or both.
    pub(super) fn answers_in_lane(
        &mut self,
        unit: &mut Unit,
        position: usize,
        key: Option<&NativeKey>,
        record: Option<CanonicalId>,
    ) -> bool {
        let Some(lanes) = self.lanes.as_mut().filter(|lanes| lanes.is_busy()) else { return false };
        let input = &unit.inputs[position];
        let aside = lanes.has(input.arrival) || lanes.queue(key, record, input);
        if aside {
            unit.aside.insert(position);
        }
        aside
    }

    /// Asks the handlers about an update before anything is done with it; if they don't answer at once, it is set aside
    /// until they have. Nothing of the unit is touched then, as if the update had not come yet.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn set_aside(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
        id: CanonicalId,
        footing: Footing,
    ) -> bool {
        let key = &item.change.key;
        // Records of a cycle come in together: there each handler is waited for.
        if !self.handlers.has(&key.entity_type) || self.lanes.is_none() || !unit.expected.is_empty() {
            return false;
        }
        if self.answers_in_lane(unit, position, Some(key), Some(id)) {
            unit.decided.remove(&item.change.update);
            return true;
        }
        if item.word.as_ref().is_some_and(Word::asks_nobody) {
            return false;
        }
        let known = if footing == Footing::New { None } else { unit.record(id) };
        let mut record = known.cloned().unwrap_or_else(|| CanonicalRecord::new(id, key.entity_type.clone(), situation.now));
        let Ok(Prepared::Proposal(proposal)) = prepare(&mut record, footing, arrival, situation) else { return false };
        doing(self.ask_beside(unit, position, item, id, Question::about(&record, &proposal, arrival))).await
    }

    /// The same for a question that is known already.
    pub(super) async fn ask_beside(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        id: CanonicalId,
        question: Question,
    ) -> bool {
        let key = &item.change.key;
        let Some(lanes) = self.lanes.as_mut() else { return false };
        if lanes.is_answered(&question) {
            return false;
        }
        let (handlers, settings, asked) = (self.handlers.clone(), self.settings.clone(), question.clone());
        let mut work = Box::pin(async move { handlers.ask(&asked, &settings).await });
        // Where another handler is slow already, this one is not waited for either.
        let patience = if lanes.is_busy() { Duration::ZERO } else { PATIENCE };
        if let Ok(answered) = tokio::time::timeout(patience, &mut work).await {
            lanes.answers.insert(item.change.update.clone(), (question, answered));
            return false;
        }
        lanes.open(&unit.inputs[position], key, id, question, work);
        unit.aside.insert(position);
        unit.decided.remove(&item.change.update);
        true
    }
}
