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

use super::commit::{Overlay, SharedOverlay};
use super::decide::Decider;
use super::input::Input;
use super::unit::{Sealed, Unit};
use crate::domain::decision::DecisionKind;
use crate::domain::ids::{CanonicalId, NativeKey};
use crate::domain::sending::Due;
use crate::ports::error::{PortError, PortErrorKind};

/// Tries of one commit against a store that can't be reached, before giving up.
const COMMIT_TRIES: u32 = 8;

/// Lost races in a row before a commit is given up.
const RACES_MAX: u32 = 1000;

/// Decides and commits, one unit after the other.
#[derive(Debug)]
pub struct Pipeline {
    decider: Decider,
    unit: Unit,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    sealed: Sealed,
    overlay: SharedOverlay,
    outcome: JoinHandle<Result<(), PortError>>,
}

/// What a commit made durable.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Deliveries that may be acknowledged now.
    pub tags: Vec<u64>,
    /// Messages that became due.
    pub due: Vec<(CanonicalId, Due)>,
    /// Native records that became linked.
    pub linked: Vec<(NativeKey, CanonicalId)>,
    /// The kind of each row written.
    pub decisions: Vec<DecisionKind>,
    /// Deliveries of updates decided before.
    pub duplicates: u64,
    /// Dead letters written.
    pub dead_letters: u64,
    /// More waiting updates miss nothing any more than one commit takes: [`Store::waiting_due`] gives them out now.
    ///
    /// [`Store::waiting_due`]: crate::ports::store::Store::waiting_due
    pub woken_left: bool,
}

impl Pipeline {
    /// A pipeline around a decider.
    #[must_use]
    pub fn new(decider: Decider) -> Self {
        Self { decider, unit: Unit::default(), running: None }
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

    /// Decides inputs on top of everything decided so far.
    pub async fn decide(&mut self, inputs: Vec<Input>) -> Result<(), PortError> {
        let kept: Vec<Input> = inputs.clone();
        let result = self.decider.decide(&mut self.unit, inputs).await;
        if result.is_err() {
            // Half-decided inputs must not be committed: the whole unit is decided again once the store is back.
            let known = std::mem::take(&mut self.unit).inputs;
            let missing =
                kept.into_iter().filter(|input| !known.iter().any(|other| other.arrival == input.arrival && other.tag == input.tag));
            self.unit.inputs = known.iter().filter(|input| is_original(input)).cloned().chain(missing).collect();
            let inputs = std::mem::take(&mut self.unit.inputs);
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Box::pin(self.decider.decide(&mut self.unit, inputs)).await;
        }
        result
    }

    /// Starts to commit what is decided. Does nothing while a commit runs, or if there is nothing.
    pub fn start_commit(&mut self) {
        if self.running.is_some() || self.unit.inputs.is_empty() {
            return;
        }
        let sealed = std::mem::take(&mut self.unit).seal();
        self.start(sealed);
    }

    fn start(&mut self, sealed: Sealed) {
        let overlay = Arc::new(Overlay::of(&sealed.batch));
        self.decider.overlay = Some(overlay.clone());
        let (store, batch) = (self.decider.store.clone(), sealed.batch.clone());
        let outcome = tokio::spawn(async move {
            if batch.plans.is_empty() && batch.facts.is_empty() {
                return Ok(());
            }
            let mut tries = 0;
            loop {
                match store.commit(&batch).await {
                    // Whether it happened is not known. If it did, the next try says so: the decisions are there.
                    Err(error) if error.kind == PortErrorKind::Unavailable && tries < COMMIT_TRIES => {
                        tries += 1;
                        tracing::warn!(error = %error, tries, "commit failed; trying again");
                        tokio::time::sleep(Duration::from_millis(20 << tries)).await;
                    }
                    outcome => return outcome,
                }
            }
        });
        self.running = Some(Running { sealed, overlay, outcome });
    }

    /// Waits for the running commit; `None` if there is none.
    ///
    /// Plans that are in its way are taken out, reloaded and decided again, with everything decided on top of them; the
    /// rest goes on.
    pub async fn finish_commit(&mut self) -> Result<Option<Committed>, PortError> {
        let mut again: Vec<Input> = Vec::new();
        let mut committed = Committed::default();
        let mut any = false;
        let mut races = 0;
        while let Some(running) = self.running.as_mut() {
            // Polled in place, so that a caller which stops waiting loses nothing.
            let outcome = (&mut running.outcome).await;
            let Some(Running { sealed, overlay, .. }) = self.running.take() else { break };
            self.decider.overlay = None;
            let outcome = outcome.unwrap_or_else(|error| Err(PortError::new(PortErrorKind::Unavailable, "commit", error)));
            match outcome {
                Ok(()) => {
                    overlay.remember(&self.decider.caches);
                    committed.add(&sealed);
                    any = true;
                }
                Err(error) => {
                    races += 1;
                    let Some(plans) = error.conflicting().filter(|_| races < RACES_MAX) else { return Err(error) };
                    tracing::debug!(plans = plans.len(), "commit lost a race; deciding again");
                    overlay.forget(&self.decider.caches);
                    again.append(&mut std::mem::take(&mut self.unit).inputs);
                    let all: Vec<usize> = (0..sealed.batch.plans.len()).collect();
                    let (rest, mut redo) = sealed.without(if plans.is_empty() { &all } else { plans });
                    redo.append(&mut again);
                    again = redo;
                    self.start(rest);
                }
            }
        }
        if !again.is_empty() {
            self.decide(again.into_iter().filter(is_original).collect()).await?;
        }
        Ok(any.then_some(committed))
    }

    /// Commits everything decided so far.
    pub async fn flush(&mut self) -> Result<Committed, PortError> {
        let mut total = Committed::default();
        loop {
            if let Some(committed) = self.finish_commit().await? {
                total.append(committed);
            }
            if self.unit.inputs.is_empty() {
                return Ok(total);
            }
            self.start_commit();
        }
    }
}

/// Updates that were woken by another one of their unit wake again by it; they are no inputs of their own.
fn is_original(input: &Input) -> bool {
    use super::input::InputKind;
    match input.kind {
        InputKind::Awake(_) => input.tag.is_some(),
        InputKind::Message(_) | InputKind::Broken(_) | InputKind::Resend { .. } => true,
    }
}

impl Committed {
    fn add(&mut self, sealed: &Sealed) {
        self.tags.extend(sealed.inputs.iter().flatten().filter_map(|input| input.tag));
        self.due.extend(sealed.due());
        self.duplicates += sealed.duplicates;
        self.woken_left |= sealed.woken_left;
        for plan in &sealed.batch.plans {
            self.decisions.extend(plan.decisions.iter().map(|row| row.decision.decision));
            self.dead_letters += plan.dead_letters.len() as u64;
            if let Some(write) = &plan.record {
                self.linked.extend(write.links_added.iter().map(|key| (key.clone(), write.record.id)));
            }
        }
    }

    /// Adds another commit's results.
    pub fn append(&mut self, mut other: Self) {
        self.tags.append(&mut other.tags);
        self.due.append(&mut other.due);
        self.linked.append(&mut other.linked);
        self.decisions.append(&mut other.decisions);
        self.duplicates += other.duplicates;
        self.dead_letters += other.dead_letters;
        self.woken_left |= other.woken_left;
    }
}
