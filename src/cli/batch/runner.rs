//! Drives the engine through one run: the same pipeline and relay as a running broker, at a fixed pace.

use std::sync::Arc;
use std::time::Duration;

use super::outbound::{Applier, Collector, OutboundFiles};
use super::time::SeededClock;
use crate::cli::Failure;
use crate::config::Config;
use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;
use crate::engine::caches::Caches;
use crate::engine::decide::Decider;
use crate::engine::directory::Directory;
use crate::engine::handlers::Handlers;
use crate::engine::input::{Input, InputKind, Resend};
use crate::engine::pipeline::{Committed, Pipeline};
use crate::engine::relay::{Pair, Relay};
use crate::engine::settings::Settings;
use crate::engine::tasks::Tasks;
use crate::engine::waiting::awake_input;
use crate::ports::clock::{Clock, Ids};
use crate::ports::store::Store;

/// Chunks that are committed together. A count, never a time: a seeded run must repeat.
const CHUNKS_PER_COMMIT: usize = 10;

/// Outbox rows and records looked at at once.
const PAGE: usize = 1000;

/// Waiting updates that come due and are read at once.
const WOKEN_PAGE: usize = 5 * PAGE;

/// Times a waiting update may come due within one run before the rest is left waiting.
const WAKE_ROUNDS: usize = 1000;

/// How long a message in a file counts as on its way. Nobody carries it while the files lie there, so the time between
/// two runs says nothing (ADR 0017).
const ON_ITS_WAY: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// The clock of a run.
#[derive(Clone, Debug)]
pub enum RunClock {
    /// Real time.
    Real(Arc<dyn Clock>),
    /// Moves with the chunks.
    Seeded(Arc<SeededClock>),
}

impl RunClock {
    /// As the engine sees it.
    pub fn shared(&self) -> Arc<dyn Clock> {
        match self {
            Self::Real(clock) => clock.clone(),
            Self::Seeded(clock) => clock.clone(),
        }
    }

    fn tick(&self) {
        if let Self::Seeded(clock) = self {
            clock.tick();
        }
    }
}

/// What the engine said about everything it was fed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fed {
    /// Updates, receipts among them.
    pub updates: u64,
    /// Updates that were decided before.
    pub duplicates: u64,
}

/// The engine of one run.
pub struct Runner {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: RunClock,
    /// What was fed so far.
    pub fed: Fed,
    pipeline: Pipeline,
    relay: Relay,
    mail: Arc<Collector>,
    /// Where outbound messages go.
    pub files: OutboundFiles,
    adapter: Option<Applier>,
    /// Whether messages go out while updates still come in.
    live: bool,
    chunk: usize,
    pending: Vec<Input>,
    chunks: usize,
    arrival: u64,
    tasks: Tasks,
    /// Outbound messages that may go now.
    ready: Vec<Pair>,
}

/// What a runner is made from.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: RunClock,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Where outbound messages go.
    pub files: OutboundFiles,
    /// Whether they are applied at once.
    pub apply: bool,
    /// Whether they go out while updates still come in.
    pub live: bool,
    /// The number of this run of the store.
    pub run: u64,
}

impl Runner {
    /// Puts the engine together.
    pub async fn new(parts: Parts) -> Result<Self, Failure> {
        let Parts { mut config, store, clock, ids, files, apply, live, run } = parts;
        config.orchestration.circular_update_prevention.window = ON_ITS_WAY;
        let settings = Arc::new(Settings::compile(&config));
        let directory = Arc::new(Directory::new(settings.rules.clone(), store.facts().await?));
        let caches = Arc::new(Caches::new(settings.id_cache_bytes, settings.record_cache_bytes));
        let handlers = Arc::new(Handlers::default());
        let mut decider = Decider::new(store.clone(), clock.shared(), ids, settings.clone(), handlers, caches, directory.clone());
        decider.sends_held = !live;
        let mail = Arc::new(Collector::default());
        let relay = Relay::new(store.clone(), mail.clone(), settings.clone(), directory).await?;
        Ok(Self {
            store,
            clock,
            fed: Fed::default(),
            pipeline: Pipeline::new(decider),
            relay,
            mail,
            files,
            adapter: apply.then(Applier::default),
            live,
            chunk: settings.batch_size,
            pending: Vec::with_capacity(settings.batch_size),
            chunks: 0,
            arrival: run << 40,
            tasks: Tasks::new(settings.rules.clone()),
            ready: Vec::new(),
        })
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.shared().now()
    }

    /// Takes one more input; decides and commits at the fixed pace.
    pub async fn feed(&mut self, kind: InputKind) -> Result<(), Failure> {
        self.fed.updates += u64::from(matches!(kind, InputKind::Message(_)));
        self.arrival += 1;
        self.pending.push(Input { tag: None, received_at: self.now(), arrival: self.arrival, kind });
        if self.pending.len() >= self.chunk {
            self.decide().await?;
        }
        Ok(())
    }

    /// Ends a file: what the next one says comes after everything this one did.
    pub async fn end_of_input(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() { Ok(()) } else { self.decide().await }
    }

    async fn decide(&mut self) -> Result<(), Failure> {
        let inputs = std::mem::replace(&mut self.pending, Vec::with_capacity(self.chunk));
        self.pipeline.decide(inputs).await?;
        self.clock.tick();
        if self.pipeline.woken_left() {
            self.flush().await?;
            self.wake_ready().await?;
        }
        self.chunks += 1;
        if self.chunks < CHUNKS_PER_COMMIT {
            return Ok(());
        }
        self.chunks = 0;
        let committed = self.pipeline.finish_commit().await?;
        let freed = committed.as_ref().is_some_and(|committed| committed.woken_left);
        self.note(committed);
        self.pipeline.start_commit();
        if freed {
            self.flush().await?;
            self.wake_ready().await?;
        }
        if self.live {
            self.flush().await?;
            Box::pin(self.send_ready()).await?;
        }
        Ok(())
    }

    fn note(&mut self, committed: Option<Committed>) {
        let Some(committed) = committed else { return };
        self.fed.duplicates += committed.duplicates;
        self.ready.extend(committed.due.iter().cloned());
        for (key, id) in &committed.linked {
            self.ready.extend(self.relay.unhold(*id, &key.system));
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            let inputs = std::mem::take(&mut self.pending);
            self.pipeline.decide(inputs).await?;
            self.clock.tick();
        }
        self.chunks = 0;
        let committed = self.pipeline.flush().await?;
        self.note(Some(committed));
        Ok(())
    }

    /// Everything that follows the last input: waiting updates that come due, and what the systems are owed.
    pub async fn finish(&mut self, push: bool) -> Result<(), Failure> {
        self.flush().await?;
        self.wake().await?;
        if push {
            if !self.live {
                self.pipeline.decider().sends_held = false;
                self.resend_all().await?;
            }
            self.relay_all().await?;
            self.wake().await?;
            self.relay_all().await?;
        }
        Ok(())
    }

    /// Waiting updates whose time has come. A seeded clock jumps to it, real time is not waited for.
    async fn wake(&mut self) -> Result<(), Failure> {
        for _ in 0..WAKE_ROUNDS {
            self.wake_ready().await?;
            let RunClock::Seeded(clock) = &self.clock else { return Ok(()) };
            let Some(next) = self.store.next_due().await? else { return Ok(()) };
            clock.reach(next);
        }
        Ok(())
    }

    /// Waiting updates that are due now, or miss nothing any more.
    async fn wake_ready(&mut self) -> Result<(), Failure> {
        for _ in 0..WAKE_ROUNDS {
            let due = self.store.waiting_due(self.now(), WOKEN_PAGE).await?;
            if due.is_empty() {
                return self.work_off().await;
            }
            self.decide_awake(due).await?;
        }
        Ok(())
    }

    /// Does what deletes have left behind.
    async fn work_off(&mut self) -> Result<(), Failure> {
        loop {
            let page = self.tasks.next(self.store.as_ref()).await?;
            if !page.more {
                return Ok(());
            }
            self.answer(page.steps).await?;
        }
    }

    /// Decides one page while the one before it is being committed.
    async fn decide_awake(&mut self, due: Vec<Waiting>) -> Result<(), Failure> {
        let mut inputs = due.into_iter().map(awake_input).peekable();
        while inputs.peek().is_some() {
            self.pipeline.decide(inputs.by_ref().take(PAGE).collect()).await?;
            self.clock.tick();
            let committed = self.pipeline.finish_commit().await?;
            self.note(committed);
            self.pipeline.start_commit();
        }
        self.flush().await
    }

    /// Looks at every record once: what does each system still lack?
    async fn resend_all(&mut self) -> Result<(), Failure> {
        let mut after: Option<CanonicalId> = None;
        loop {
            let page = self.store.list_records(None, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.record.id);
            for versioned in &page {
                self.feed(InputKind::Resend { record: versioned.record.id, what: Resend::Outdated }).await?;
            }
        }
        self.flush().await
    }

    /// Sends everything owed, until nothing more comes of it.
    async fn relay_all(&mut self) -> Result<(), Failure> {
        loop {
            self.ready.clear();
            let mut after = 0;
            let mut any = false;
            loop {
                let (pairs, next) = self.relay.scan(after, PAGE).await?;
                self.ready.extend(pairs);
                any |= self.send_ready().await?;
                match next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            if !any {
                return Ok(());
            }
        }
    }

    /// Sends what is ready and what becomes ready by it; says whether anything happened.
    async fn send_ready(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        while !self.ready.is_empty() {
            let rest = self.ready.split_off(self.ready.len().min(PAGE));
            let pairs = std::mem::replace(&mut self.ready, rest);
            let round = self.relay.send(pairs, self.now()).await?;
            let messages = self.mail.take();
            any |= !messages.is_empty() || !round.again.is_empty();
            for message in &messages {
                self.files.write(message)?;
            }
            let mut answers: Vec<InputKind> = Vec::new();
            if let Some(adapter) = &mut self.adapter {
                let receipts = adapter.apply(&messages, self.store.as_ref()).await?;
                answers.extend(receipts.into_iter().map(|receipt| InputKind::Message(Arc::new(receipt))));
            }
            answers.extend(round.again.into_iter().map(|(record, what)| InputKind::Resend { record, what }));
            if !answers.is_empty() {
                self.answer(answers).await?;
            }
        }
        Ok(any)
    }

    async fn answer(&mut self, answers: Vec<InputKind>) -> Result<(), Failure> {
        let now = self.now();
        let mut inputs = Vec::with_capacity(answers.len());
        for kind in answers {
            self.fed.updates += u64::from(matches!(kind, InputKind::Message(_)));
            self.arrival += 1;
            inputs.push(Input { tag: None, received_at: now, arrival: self.arrival, kind });
        }
        self.pipeline.decide(inputs).await?;
        self.clock.tick();
        let committed = self.pipeline.flush().await?;
        self.note(Some(committed));
        Ok(())
    }
}
