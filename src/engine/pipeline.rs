//! A message's way, top to bottom: decide what came, commit it, and only then acknowledge it and send what follows.
//!
//! ```text
//! inputs ─ decide (load, prepare, handlers, conclude) ─┐ while the unit before is being committed
//!                                                      └─ commit ─ acknowledge ─ relay
//! ```
//!
//! One commit runs while the next unit is decided on top of its results, so both cores work and everything that arrives
//! meanwhile shares the next transaction. The next unit is never committed before the running one has succeeded.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::acts::Act;
use super::commit::{Overlay, SharedOverlay};
use super::decide::Decider;
use super::doing;
use super::facts::fact;
use super::input::{Input, InputKind};
use super::lanes::Lanes;
use super::relay::Pair;
use super::unit::{Sealed, Unit};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::ids::{CanonicalId, EntityType, NativeKey, SystemName};
use crate::domain::link::Link;
use crate::domain::time::Timestamp;
use crate::ports::broker::Fact;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::task::TaskChange;
use crate::telemetry::{Fault, Metrics, Span};

/// Waits between tries against a store that can't be reached: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How often a store that can't be reached is tried again unless [`Pipeline::patience`] says otherwise.
const TRIES: u32 = 8;

/// Lost races in a row before a commit is given up.
const RACES_MAX: u32 = 1000;

/// Decides and commits, one unit after the other.
#[derive(Debug)]
pub struct Pipeline {
    decider: Decider,
    unit: Unit,
    running: Option<Running>,
    /// How often a store that can't be reached is tried again. Default: 8; a broker that runs on goes on for ever.
    pub patience: u32,
    /// Where faults are counted, if anywhere.
    pub metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
struct Running {
    sealed: Sealed,
    overlay: SharedOverlay,
    commit: JoinHandle<Result<(), PortError>>,
    began: Instant,
    outcome: Option<Result<(), PortError>>,
}

/// What a pipeline waits for.
#[derive(Debug)]
pub enum Event {
    /// The running commit has ended: [`Pipeline::finish_commit`] takes its results.
    CommitEnded,
    /// Handlers have answered: these inputs can be decided now.
    Answered(Vec<Input>),
}

/// What a commit made durable.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// How long the last commit took.
    pub took: Duration,
    /// Deliveries that may be acknowledged now.
    pub tags: Vec<u64>,
    /// What may be sent now: it became due, or an answer made room for it.
    pub due: Vec<Pair>,
    /// What may be sent at a time of its own.
    pub due_later: Vec<(Timestamp, Pair)>,
    /// Native records that became linked.
    pub linked: Vec<(NativeKey, CanonicalId)>,
    /// The rows written, for whoever counts.
    pub decisions: Vec<Row>,
    /// Those of them that belong to a trace.
    pub spans: Vec<Span>,
    /// The same, for whoever listens; nothing unless `events` is on.
    pub facts: Vec<Fact>,
    /// Deliveries of updates decided before.
    pub duplicates: u64,
    /// Dead letters written.
    pub dead_letters: u64,
    /// Whether anything waits now that did not before.
    pub waits: bool,
    /// What people asked for and is done, or refused.
    pub acts: Vec<Arc<Act>>,
    /// Whether it left work behind: see [`Tasks`](super::tasks::Tasks).
    pub tasks: bool,
    /// Waiting updates may go on: more miss nothing any more than one commit takes, or somebody has made way.
    /// [`Store::waiting_due`] gives them out now.
    ///
    /// [`Store::waiting_due`]: crate::ports::store::Store::waiting_due
    pub woken_left: bool,
}

/// One row that was written.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose update it was.
    pub system: SystemName,
    /// The type.
    pub entity_type: EntityType,
    /// What was decided.
    pub decision: DecisionKind,
    /// When the update arrived.
    pub received_at: Timestamp,
    /// Fields that two sources had changed without knowing of each other.
    pub conflicts: usize,
}

impl Row {
    fn of(decision: &Decision) -> Self {
        Self {
            system: decision.source_system.clone(),
            entity_type: decision.entity_type.clone(),
            decision: decision.decision,
            received_at: decision.received_at,
            conflicts: decision.conflicts.len(),
        }
    }
}

impl Pipeline {
    /// A pipeline around a decider.
    #[must_use]
    pub fn new(decider: Decider) -> Self {
        Self { decider, unit: Unit::default(), running: None, patience: TRIES, metrics: None }
    }

    /// The decider, to look at or to switch something.
    pub const fn decider(&mut self) -> &mut Decider {
        &mut self.decider
    }

    /// Inputs decided and not being committed yet.
    #[must_use]
    pub const fn decided(&self) -> usize {
        self.unit.inputs.len()
    }

    /// Updates whose handlers are still thinking.
    pub fn lanes(&mut self) -> Option<&mut Lanes> {
        self.decider.lanes.as_mut()
    }

    /// Whether more waiting updates could go on than what is decided has room for; see [`Committed::woken_left`].
    #[must_use]
    pub const fn woken_left(&self) -> bool {
        self.unit.woken_left
    }

    /// Whether a commit is under way.
    #[must_use]
    pub const fn is_committing(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until the running commit has ended or a slow handler has answered; for ever if there is neither. Nothing is
    /// lost if the caller stops waiting.
    pub async fn next(&mut self) -> Event {
        let Self { running, decider, .. } = self;
        let answered = async {
            match decider.lanes.as_mut() {
                Some(lanes) => lanes.answered().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended(running.as_mut()), if running.is_some() => Event::CommitEnded,
            inputs = answered => Event::Answered(inputs),
        }
    }

    /// Decides inputs on top of everything decided so far.
    pub async fn decide(&mut self, inputs: Vec<Input>) -> Result<(), PortError> {
        let mut inputs = inputs;
        let mut tries = 0;
        loop {
            let kept = inputs.clone();
            let outcome = doing(self.decider.decide(&mut self.unit, inputs)).await;
            if let Some(lanes) = &mut self.decider.lanes {
                lanes.forget_answers();
            }
            let Err(error) = outcome else { return Ok(()) };
            if error.kind != PortErrorKind::Unavailable || tries >= self.patience {
                return Err(error);
            }
            tries += 1;
            self.fault(Fault::Store);
            tracing::warn!(error = %error, tries, "the store can't be read; trying again");
            tokio::time::sleep(wait(tries)).await;
            // Half-decided inputs must not be committed: the whole unit is decided again once the store is back.
            let known = std::mem::take(&mut self.unit).take_back();
            let missing: Vec<Input> = kept.into_iter().filter(|input| known.iter().all(|other| other.arrival != input.arrival)).collect();
            inputs = known.into_iter().chain(missing).collect();
        }
    }

    /// Starts to commit what is decided. Does nothing while a commit runs, or if there is nothing.
    pub fn start_commit(&mut self) {
        if self.running.is_some() || self.unit.inputs.is_empty() {
            return;
        }
        let mut unit = std::mem::take(&mut self.unit);
        let sealed = unit.seal(&self.decider.settings.rules);
        self.start(sealed);
        // Only now: it takes its time, and the store is at work meanwhile.
        drop(unit);
    }

    fn start(&mut self, sealed: Sealed) {
        let (store, batch, patience, metrics) = (self.decider.store.clone(), sealed.batch.clone(), self.patience, self.metrics.clone());
        let commit = tokio::spawn(async move {
            if batch.plans.is_empty() && batch.facts.is_empty() {
                return Ok(());
            }
            let mut tries = 0;
            loop {
                match store.commit(&batch).await {
                    // Whether it happened is not known. If it did, the next try says so: the decisions are there.
                    Err(error) if error.kind == PortErrorKind::Unavailable && tries < patience => {
                        tries += 1;
                        metrics.iter().for_each(|metrics| metrics.fault(Fault::Store));
                        tracing::warn!(error = %error, tries, "commit failed; trying again");
                        tokio::time::sleep(wait(tries)).await;
                    }
                    outcome => return outcome,
                }
            }
        });
        let overlay = Arc::new(Overlay::of(&sealed.batch));
        self.decider.overlay = Some(overlay.clone());
        self.running = Some(Running { sealed, overlay, commit, began: Instant::now(), outcome: None });
    }

    /// Waits for the running commit and takes its results; `None` if there is none. What is decided meanwhile is committed next,
    /// and that has begun when this returns.
    ///
    /// Plans that are in its way are taken out, reloaded and decided again, with everything decided on top of them; the
    /// rest goes on. Must be waited for to its end.
    pub async fn finish_commit(&mut self) -> Result<Option<Committed>, PortError> {
        let mut again: Vec<Input> = Vec::new();
        let mut committed = None;
        let mut races = 0;
        while committed.is_none() {
            ended(self.running.as_mut()).await;
            let Some(Running { sealed, overlay, began, outcome: Some(outcome), .. }) = self.running.take() else { break };
            self.decider.overlay = None;
            match outcome {
                Ok(()) => {
                    let took = began.elapsed();
                    // The next one is under way while what follows from this one is done.
                    self.start_commit();
                    overlay.remember(&sealed.read, &self.decider.caches);
                    committed = Some(Committed::of(&sealed, took, self.decider.settings.events));
                }
                Err(error) => {
                    races += 1;
                    let Some(plans) = error.conflicting().filter(|_| races < RACES_MAX) else { return Err(error) };
                    self.fault(Fault::Race);
                    tracing::debug!(plans = plans.len(), "commit lost a race; deciding again");
                    overlay.forget(&self.decider.caches);
                    again.append(&mut std::mem::take(&mut self.unit).take_back());
                    let all: Vec<usize> = (0..sealed.batch.plans.len()).collect();
                    let (rest, mut redo) = sealed.without(if plans.is_empty() { &all } else { plans });
                    redo.append(&mut again);
                    again = redo;
                    self.start(rest);
                }
            }
        }
        if !again.is_empty() {
            self.decide(again.into_iter().filter(Input::is_original).collect()).await?;
        }
        Ok(committed)
    }

    fn fault(&self, fault: Fault) {
        if let Some(metrics) = &self.metrics {
            metrics.fault(fault);
        }
    }

    /// Commits everything decided so far.
    pub async fn flush(&mut self) -> Result<Committed, PortError> {
        let mut total = Committed::default();
        loop {
            if let Some(committed) = doing(self.finish_commit()).await? {
                total.append(committed);
            }
            self.start_commit();
            if self.running.is_none() {
                return Ok(total);
            }
        }
    }
}

/// Waits until a commit has ended, and notes how.
async fn ended(running: Option<&mut Running>) {
    if let Some(running) = running.filter(|running| running.outcome.is_none()) {
        let outcome = (&mut running.commit).await;
        running.outcome = Some(outcome.unwrap_or_else(|error| Err(PortError::new(PortErrorKind::Unavailable, "commit", error))));
    }
}

/// The wait before a try.
fn wait(tries: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << tries.min(10)).min(LAST_WAIT)
}

impl Committed {
    fn of(sealed: &Sealed, took: Duration, announced: bool) -> Self {
        let mut committed = Self { took, ..Self::default() };
        committed.add(sealed, announced);
        committed
    }

    fn add(&mut self, sealed: &Sealed, announced: bool) {
        self.tags.extend(sealed.inputs.iter().flatten().filter_map(|input| input.tag));
        self.acts.extend(sealed.inputs.iter().flatten().filter_map(|input| match &input.kind {
            InputKind::Act(act) => Some(act.clone()),
            InputKind::Message(_) | InputKind::Broken(_) | InputKind::Awake(_) | InputKind::Resend { .. } | InputKind::Step(_) => None,
        }));
        self.spans.extend(sealed.told());
        self.due.extend(sealed.due());
        self.due_later.extend(sealed.due_later());
        self.duplicates += sealed.duplicates;
        self.woken_left |= sealed.woken_left || sealed.batch.making_way().next().is_some();
        for plan in &sealed.batch.plans {
            self.decisions.extend(plan.decisions.iter().map(|row| Row::of(&row.decision)));
            if announced {
                self.facts.extend(plan.decisions.iter().map(|row| fact(&row.decision)));
            }
            self.dead_letters += plan.dead_letters.len() as u64;
            self.waits |= !plan.waiting.is_empty();
            self.tasks |= plan.tasks.iter().any(|change| matches!(change, TaskChange::Begin(_)));
            if let Some(write) = &plan.record {
                self.linked.extend(write.links_added.iter().map(|key| (key.clone(), write.record.id)));
                if !write.links_added.is_empty() {
                    self.linked.extend(led_here(&write.record));
                }
            }
        }
    }

    /// Adds another commit's results.
    pub fn append(&mut self, mut other: Self) {
        self.took = other.took;
        self.tags.append(&mut other.tags);
        self.acts.append(&mut other.acts);
        self.due.append(&mut other.due);
        self.due_later.append(&mut other.due_later);
        self.linked.append(&mut other.linked);
        self.decisions.append(&mut other.decisions);
        self.facts.append(&mut other.facts);
        self.spans.append(&mut other.spans);
        self.duplicates += other.duplicates;
        self.dead_letters += other.dead_letters;
        self.waits |= other.waits;
        self.tasks |= other.tasks;
        self.woken_left |= other.woken_left;
    }
}

/// What waited for a record that became part of this one finds the native records of this one.
fn led_here(record: &CanonicalRecord) -> impl Iterator<Item = (NativeKey, CanonicalId)> {
    let key = |link: &Link| {
        let native_id = link.native_id.clone()?;
        Some(NativeKey { system: link.system.clone(), entity_type: record.entity_type.clone(), native_id })
    };
    record.absorbed.iter().flat_map(move |id| record.links.iter().filter_map(key).map(|key| (key, *id)))
}
