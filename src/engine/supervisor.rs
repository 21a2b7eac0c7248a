//! A running engine: takes messages in, decides, commits, acknowledges, sends, until it is told to stop.
//!
//! ```text
//! intake ─ chunks ─▶ the pipeline ─ tags ─▶ settle
//!    (decodes)           │  ▲ ▲
//!                        │  │ └ waiting updates whose time has come, answers of slow handlers
//!                 what is due └ creates that must go without a reference
//!                        ▼  │
//!                     dispatch (relay)
//! ```
//!
//! Each part is a task of its own; only the pipeline decides. No part waits for another one in a circle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::activity::Activity;
use super::acts::Acts;
use super::caches::Caches;
use super::chores::Chores;
use super::decide::Decider;
use super::directory::Directory;
use super::dispatch::{Dispatch, Wanted};
use super::doing;
use super::gathering::{Demand, Gathering};
use super::handlers::Handlers;
use super::input::{Input, InputKind};
use super::intake::{Chunk, Intake, Settled, settle};
use super::lanes::Lanes;
use super::pipeline::{Committed, Event, Pipeline};
use super::relay::Relay;
use super::resync::Resync;
use super::settings::Settings;
use super::suspects::{self, Try};
use super::waiting::awake_input;
use crate::domain::decision::DecisionKind;
use crate::domain::ids::{EntityType, SystemName};
use crate::domain::waiting::Waiting;
use crate::ports::broker::Broker;
use crate::ports::clock::{Clock, Ids};
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::Store;
use crate::telemetry::{Metrics, Spans};

/// Batches that share one transaction at most, where they wait anyway.
const BATCHES_PER_COMMIT: usize = 5;
/// Updates set aside for slow handlers at most.
const ASIDE_MAX: usize = 1000;
/// Waiting updates woken at once.
const WOKEN: usize = 500;
/// Records whose sends are decided again at once.
const RESENDS: usize = 256;
/// How often waiting updates are looked at even if none is known to come due: a race may have hidden one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// …or at the soonest, so that messages have their turn in between.
const SOON: Duration = Duration::from_millis(1);
/// …and if all that are due are with slow handlers.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What an engine is made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Keeps everything.
    pub store: Arc<dyn Store>,
    /// Carries messages.
    pub broker: Arc<dyn Broker>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes canonical ids.
    pub ids: Arc<dyn Ids>,
    /// What it runs by.
    pub settings: Arc<Settings>,
    /// The user's handlers.
    pub handlers: Arc<Handlers>,
    /// Whether other orchestrators are at work on the store.
    pub others: Arc<AtomicBool>,
}

/// An engine that runs.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    engine: JoinHandle<Result<(), PortError>>,
    /// What it remembers of committed state, with how often that helped.
    pub caches: Arc<Caches>,
    /// Who takes part.
    pub directory: Arc<Directory>,
    /// What it does besides taking messages.
    pub activity: Arc<Activity>,
    wanted: Arc<Wanted>,
    /// Sends a system what it lacks, when somebody asks for it.
    pub resync: Resync,
    /// Does what people ask for about updates that wait and about dead letters.
    pub acts: Acts,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Whether it takes messages and decides them.
    pub ready: Arc<AtomicBool>,
}

impl Running {
    /// Waits until the engine has ended by itself: only an error it can't get over ends it.
    pub async fn ended(&mut self) -> Result<(), PortError> {
        (&mut self.engine).await.unwrap_or_else(|error| Err(crashed(&error)))
    }

    /// Waits until everything that came so far is dealt with: nothing is decided, nothing is being sent. What waits for a
    /// time, an answer or a person stays.
    pub async fn at_rest(&self) {
        loop {
            self.activity.rest().await;
            if self.wanted.is_empty() && self.activity.rests() {
                return;
            }
            // The sender has been rung and becomes busy; nothing rings when it does.
            tokio::task::yield_now().await;
        }
    }

    /// Stops taking messages, finishes what is decided, sends what is due, and ends; within about 10 seconds, or 13 where a collector
    /// of traces is to be told the last ones.
    pub async fn stop(mut self) -> Result<(), PortError> {
        self.stop.send_replace(true);
        let outcome = match tokio::time::timeout(STOP_WITHIN, &mut self.engine).await {
            Ok(outcome) => outcome.unwrap_or_else(|error| Err(crashed(&error))),
            Err(_) => {
                // Nothing is lost: what is not acknowledged comes again, what is not sent is still due.
                self.engine.abort();
                tracing::warn!("the engine did not come to rest in time; what is left goes on after the next start");
                Ok(())
            }
        };
        if let Some(spans) = self.metrics.spans() {
            spans.told().await;
        }
        outcome
    }
}

fn crashed(error: &tokio::task::JoinError) -> PortError {
    PortError::new(PortErrorKind::Invalid, "run the engine", error)
}

/// Starts an engine.
pub async fn start(parts: Parts) -> Result<Running, PortError> {
    let Parts { store, broker, clock, ids, settings, handlers, others } = parts;
    let directory = Arc::new(Directory::new(settings.rules.clone(), store.facts().await?));
    let caches = Arc::new(Caches::new(settings.id_cache_bytes, settings.record_cache_bytes));
    let metrics = Arc::new(Metrics::with(Spans::start()));
    let mut relay = Relay::new(store.clone(), broker.clone(), settings.clone(), directory.clone()).await?;
    relay.brake.limit = Some(settings.create_brake);
    relay.caches = Some(caches.clone());
    relay.metrics = Some(metrics.clone());
    let first = store.count_up("arrival").await? << 40;
    let (holds, kept) = (store.clone(), store.clone());
    let (again, resends) = mpsc::channel(RESENDS);
    let (wanted, activity) = (Arc::new(Wanted::default()), Arc::new(Activity::default()));
    let acts = Acts::new(&store, &clock, &ids, &settings, &handlers, &directory, &activity, again.clone());
    let mut decider = Decider::new(store, clock.clone(), ids, settings.clone(), handlers, caches.clone(), directory.clone());
    decider.lanes = Some(Lanes::default());
    let mut pipeline = Pipeline::new(decider);
    pipeline.patience = u32::MAX;
    pipeline.metrics = Some(metrics.clone());

    let (stop, told) = watch::channel(false);
    let (chunks, inbox) = mpsc::channel(2);
    let (tags, settling) = mpsc::channel(64);
    let demand = Arc::new(Demand::default());
    let gathering = Gathering::new(broker.clone(), demand.clone(), settings.batch_size, settings.batch_timeout);
    let intake = Intake::new(broker.clone(), holds, metrics.clone(), &settings, first);
    let dispatch = Dispatch {
        relay,
        wanted: wanted.clone(),
        again: again.clone(),
        activity: activity.clone(),
        clock: clock.clone(),
        position: 0,
        backoff: std::collections::HashMap::new(),
        mark_by: None,
        others,
    };
    let resync = Resync::new(kept, settings.clone(), directory.clone(), clock.clone(), activity.clone(), again);
    let taker = tokio::spawn(intake.run(gathering, chunks, told.clone()));
    let (settler, settler_ended) = watched(settle(broker, settling, metrics.clone()));
    let (sent, may_end) = watch::channel(false);
    let (sender, sender_ended) = watched(dispatch.run(may_end));
    // Resends and woken updates are numbered apart from messages, after all of them.
    let engine = Engine {
        pipeline,
        activity: activity.clone(),
        metrics: metrics.clone(),
        clock,
        chores: Chores::new(settings.rules.clone()),
        settings,
        wanted: wanted.clone(),
        demand,
        tags,
        arrival: first + (1 << 39),
        wake_at: Instant::now(),
        tried: Vec::new(),
    };
    // What an earlier run left to be sent is looked for at once.
    activity.look();
    let ready = Arc::new(AtomicBool::new(true));
    let works = ready.clone();
    let engine = tokio::spawn(async move {
        let outcome = engine.run(inbox, resends, told, [sender_ended, settler_ended]).await;
        works.store(false, Ordering::SeqCst);
        // The commits are done: now what they made due, then the acknowledgements that are still on their way.
        sent.send_replace(true);
        // Whoever starts it again must find the store free: nobody holds on to it after this.
        for task in [taker, sender, settler] {
            let _ = task.await;
        }
        outcome
    });
    Ok(Running { stop, engine, caches, directory, activity, wanted, resync, acts, metrics, ready })
}

/// A task, and what is dropped with it.
fn watched(work: impl Future<Output = ()> + Send + 'static) -> (JoinHandle<()>, oneshot::Receiver<()>) {
    let (alive, ended) = oneshot::channel();
    let task = async move {
        let _alive = alive;
        work.await;
    };
    (tokio::spawn(task), ended)
}

fn ended(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::Invalid, operation, "this part of the engine has ended by itself; the log says why")
}

struct Engine {
    pipeline: Pipeline,
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    wanted: Arc<Wanted>,
    demand: Arc<Demand>,
    tags: mpsc::Sender<Settled>,
    arrival: u64,
    chores: Chores,
    wake_at: Instant,
    /// What was tried alone and is not over.
    tried: Vec<Try>,
}

impl Engine {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Chunk>,
        mut resends: mpsc::Receiver<InputKind>,
        mut stop: watch::Receiver<bool>,
        [mut sender, mut settler]: [oneshot::Receiver<()>; 2],
    ) -> Result<(), PortError> {
        let (activity, mut kinds) = (self.activity.clone(), Vec::new());
        loop {
            let room = self.has_room();
            if room && !self.pipeline.is_committing() {
                self.demand.ask();
            } else {
                self.demand.withdraw();
            }
            // Messages come last: however many there are, what waits and what must be decided again has its turn.
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                event = self.pipeline.next() => self.goes_on(event).await?,
                () = tokio::time::sleep_until(self.wake_at) => self.wake_waiting().await?,
                () = tokio::time::sleep_until(self.chores.at()) => self.work_off().await?,
                looks = activity.decider_is_to_look() => {
                    let _busy = activity.busy(looks);
                    self.wake().await?;
                }
                1.. = resends.recv_many(&mut kinds, RESENDS), if room => {
                    let _busy = activity.busy(kinds.len());
                    self.look_again(&mut kinds).await?;
                }
                chunk = inbox.recv(), if room => {
                    self.demand.withdraw();
                    match chunk {
                        Some(chunk) => self.take(chunk).await?,
                        // It was told to stop a moment before this was.
                        None if *stop.borrow() => break,
                        None => return Err(ended("take messages")),
                    }
                }
                // None of them ends before this one does: one that panicked has said so in the log, and nothing goes on without it.
                _ = &mut sender => return Err(ended("send messages")),
                _ = &mut settler => return Err(ended("acknowledge messages")),
            }
            self.start_commit();
        }
        self.activity.set_committing(false);
        let committed = doing(self.pipeline.flush()).await?;
        self.committed(committed).await
    }

    /// Decides about sends that nobody's update brought about.
    async fn look_again(&mut self, kinds: &mut Vec<InputKind>) -> Result<(), PortError> {
        if kinds.iter().any(|kind| matches!(kind, InputKind::Act(_))) {
            // What was decided already must be in the store first: that is what an act is about.
            let committed = doing(self.pipeline.flush()).await?;
            self.committed(committed).await?;
        }
        let inputs = kinds.drain(..).map(|kind| self.own(kind)).collect();
        doing(self.pipeline.decide(inputs)).await?;
        let committed = doing(self.pipeline.flush()).await?;
        self.committed(committed).await
    }

    async fn goes_on(&mut self, event: Event) -> Result<(), PortError> {
        match event {
            Event::Answered(inputs) => doing(self.pipeline.decide(inputs)).await,
            Event::CommitEnded => {
                let committed = doing(self.pipeline.finish_commit()).await?;
                self.activity.set_committing(self.pipeline.is_committing());
                match committed {
                    Some(committed) => {
                        self.demand.took(committed.took);
                        self.forget_tried().await;
                        self.committed(committed).await
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn start_commit(&mut self) {
        self.pipeline.start_commit();
        self.activity.set_committing(self.pipeline.is_committing());
    }

    fn has_room(&mut self) -> bool {
        let aside = self.pipeline.lanes().map_or(0, |lanes| lanes.len());
        self.pipeline.decided() < self.settings.batch_size * BATCHES_PER_COMMIT && aside < ASIDE_MAX
    }

    async fn take(&mut self, chunk: Chunk) -> Result<(), PortError> {
        if !chunk.alone {
            return doing(self.pipeline.decide(chunk.inputs)).await;
        }
        let before = doing(self.pipeline.flush()).await?;
        self.committed(before).await?;
        let store = self.pipeline.decider().store.clone();
        let (inputs, tried) = suspects::count_tries(store.as_ref(), chunk.inputs).await?;
        self.tried.extend(tried);
        doing(self.pipeline.decide(inputs)).await?;
        let own = doing(self.pipeline.flush()).await?;
        self.forget_tried().await;
        self.committed(own).await
    }

    /// Forgets the tries of what is dealt with, but not of what a handler still thinks about: that may yet end the process.
    async fn forget_tried(&mut self) {
        if self.tried.is_empty() {
            return;
        }
        let decider = self.pipeline.decider();
        let aside = |tried: &Try| decider.lanes.as_ref().is_some_and(|lanes| lanes.has(tried.arrival));
        let (open, over): (Vec<Try>, Vec<Try>) = self.tried.drain(..).partition(aside);
        self.tried = open;
        suspects::forget_tries(decider.store.as_ref(), over).await;
    }

    fn own(&mut self, kind: InputKind) -> Input {
        self.arrival += 1;
        Input { tag: None, received_at: self.clock.now(), arrival: self.arrival, kind }
    }

    /// Only now: before the commit a crash would lose the update, after it the decision's unique id stops a redelivery.
    async fn committed(&mut self, mut committed: Committed) -> Result<(), PortError> {
        self.wanted.note(&committed);
        committed.acts.drain(..).for_each(|act| act.answer());
        let (tags, facts) = (std::mem::take(&mut committed.tags), std::mem::take(&mut committed.facts));
        self.measure(tags.len(), &committed);
        let anything = !tags.is_empty() || !facts.is_empty();
        if anything && self.tags.send(Settled { tags, facts }).await.is_err() {
            return Err(ended("acknowledge messages"));
        }
        if committed.tasks {
            self.chores.left(&self.activity);
        }
        if committed.woken_left {
            // The store gives them out now.
            self.wake_at = self.wake_at.min(Instant::now() + SOON);
        } else if committed.waits {
            let before = self.wake_at;
            self.look_for_due().await;
            self.wake_at = self.wake_at.min(before);
        }
        Ok(())
    }

    fn measure(&self, messages: usize, committed: &Committed) {
        if messages == 0 && committed.decisions.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut counts: HashMap<(&SystemName, &EntityType, DecisionKind), u64> = HashMap::new();
        for row in &committed.decisions {
            *counts.entry((&row.system, &row.entity_type, row.decision)).or_default() += 1;
            self.metrics.decision_took(now.since(row.received_at));
        }
        for ((system, entity_type, decision), count) in counts {
            self.metrics.decided(system, entity_type, decision, count);
        }
        for (spans, span) in committed.spans.iter().filter_map(|span| Some((self.metrics.spans()?, span))) {
            spans.tell(span.clone());
        }
        let conflicts: usize = committed.decisions.iter().map(|row| row.conflicts).sum();
        self.metrics.committed(messages, committed.duplicates, conflicts as u64);
    }

    /// Sets the alarm for the next waiting update.
    async fn look_for_due(&mut self) {
        let next = match self.pipeline.decider().store.next_due().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(error = %error, "can't look for waiting updates; trying again");
                None
            }
        };
        let wait = next.map_or(LOOK_EVERY, |at| at.since(self.clock.now()).clamp(SOON, LOOK_EVERY));
        self.wake_at = Instant::now() + wait;
    }

    /// Looks at everything, as somebody asks for: after it nothing is on its way that was decided before.
    async fn wake(&mut self) -> Result<(), PortError> {
        let committed = doing(self.pipeline.flush()).await?;
        self.committed(committed).await?;
        self.wake_waiting().await?;
        self.work_off().await
    }

    /// Does the next page of what is left to be done.
    async fn work_off(&mut self) -> Result<(), PortError> {
        let store = self.pipeline.decider().store.clone();
        let (keep, now) = (self.settings.keep, self.clock.now());
        let kinds = self.chores.next(store.as_ref(), &keep, now, &self.activity).await;
        if kinds.is_empty() {
            return Ok(());
        }
        let inputs = kinds.into_iter().map(|kind| self.own(kind)).collect();
        self.pipeline.decide(inputs).await?;
        let committed = self.pipeline.flush().await?;
        self.committed(committed).await
    }

    /// Waiting updates that may go on.
    async fn due(&mut self) -> Vec<Waiting> {
        let due = self.pipeline.decider().store.waiting_due(self.clock.now(), WOKEN).await;
        due.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "can't look for waiting updates; trying again");
            Vec::new()
        })
    }

    async fn wake_waiting(&mut self) -> Result<(), PortError> {
        if self.due().await.is_empty() {
            self.look_for_due().await;
            return Ok(());
        }
        // What was decided already must be in the store first, or it would be given out once more.
        let committed = doing(self.pipeline.flush()).await?;
        self.committed(committed).await?;
        let due = self.due().await;
        if due.is_empty() {
            self.look_for_due().await;
            return Ok(());
        }
        let more = due.len() == WOKEN;
        doing(self.pipeline.decide(due.into_iter().map(awake_input).collect())).await?;
        let committed = doing(self.pipeline.flush()).await?;
        let progress = !committed.decisions.is_empty();
        let more = more || committed.woken_left;
        self.committed(committed).await?;
        if !progress {
            // All of them are with slow handlers: the next look would find the very same.
            self.wake_at = Instant::now() + LOOK_AGAIN;
        } else if more {
            self.wake_at = Instant::now() + SOON;
        } else {
            self.look_for_due().await;
        }
        Ok(())
    }
}

/// Waits until told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could tell.
    let _ = stop.wait_for(|stop| *stop).await;
}
