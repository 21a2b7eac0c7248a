//! A scene: systems that say something, one or two orchestrators on one store, a clock, and the story of it all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use syncline::backends::embedded::{Embedded, Options};
use syncline::config::Config;
use syncline::domain::ids::{EntityType, SystemName};
use syncline::domain::time::Timestamp;
use syncline::engine::acts::{Act, Refusal, Request};
use syncline::engine::caches::Caches;
use syncline::engine::decide::Decider;
use syncline::engine::directory::Directory;
use syncline::engine::handlers::{DeleteFn, Handlers, UpdateFn};
use syncline::engine::input::{Input, InputKind};
use syncline::engine::pipeline::{Committed, Pipeline};
use syncline::engine::relay::{Pair, Relay};
use syncline::engine::settings::Settings;
use syncline::engine::sweep::Sweep;
use syncline::engine::tasks::Tasks;
use syncline::engine::waiting::awake_input;
use syncline::ports::clock::Clock;
use syncline::ports::error::PortError;
use syncline::ports::hold::Hold;
use syncline::ports::store::{DeadLetter, Store};
use syncline::views::holds;
use syncline::wire::body::body_json;
use syncline::wire::inbound::{Transport, decode};

use crate::engine::{CountedIds, Mail, TestClock};
use crate::message::BEGIN;
pub use crate::message::{Message, delete, patch, rekey, whole};
use crate::story::Story;

struct Orchestrator {
    pipeline: Pipeline,
    relay: Relay,
}

/// What a scene is made from.
pub struct Setting {
    config: String,
    handlers: Handlers,
    orchestrators: usize,
}

impl Setting {
    /// Registers a merge handler.
    pub fn handler<T, F>(mut self, entity_type: &str, function: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: UpdateFn<T>,
    {
        self.handlers.add_function::<T, F>(EntityType::new(entity_type).unwrap(), function);
        self
    }

    /// Registers what is asked about deletes.
    pub fn on_delete<T, F>(mut self, entity_type: &str, function: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: DeleteFn<T>,
    {
        self.handlers.add_for_deletes::<T, F>(EntityType::new(entity_type).unwrap(), function);
        self
    }

    /// Two orchestrators on one store.
    pub fn two_orchestrators(mut self) -> Self {
        self.orchestrators = 2;
        self
    }

    pub fn start(self) -> Scene {
        let config = Config::from_toml(&self.config, "scene.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), &Options::default()).unwrap();
        let mut scene = Scene {
            clock: Arc::new(TestClock::at(BEGIN)),
            ids: Arc::new(CountedIds::after(0x0192_f0c4_0000_7000_8000_0000_0000_0000)),
            mail: Arc::new(Mail::default()),
            settings: Arc::new(Settings::compile(&config)),
            handlers: Arc::new(self.handlers),
            count: self.orchestrators,
            orchestrators: Vec::new(),
            store: Some(embedded.store),
            folder,
            runtime,
            story: Story::default(),
            last_sent: BTreeMap::new(),
            next_update: 1,
            arrival: 0,
            relay_paused: false,
        };
        scene.start_orchestrators();
        scene
    }
}

/// See the module.
pub struct Scene {
    clock: Arc<TestClock>,
    ids: Arc<CountedIds>,
    mail: Arc<Mail>,
    settings: Arc<Settings>,
    handlers: Arc<Handlers>,
    count: usize,
    orchestrators: Vec<Orchestrator>,
    store: Option<Arc<syncline::backends::embedded::EmbeddedStore>>,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    story: Story,
    /// The last message each system was sent.
    last_sent: BTreeMap<String, Value>,
    next_update: u64,
    arrival: u64,
    relay_paused: bool,
}

impl Scene {
    /// A scene with this configuration.
    pub fn with(config: &str) -> Setting {
        Setting { config: config.to_owned(), handlers: Handlers::default(), orchestrators: 1 }
    }

    /// Whether each step is taken by hand: what two orchestrators do at once, or a relay that waits.
    pub const fn by_hand() -> bool {
        true
    }

    /// Whether what is said together is decided in one batch.
    pub const fn takes_several_at_once() -> bool {
        true
    }

    fn start_orchestrators(&mut self) {
        let store: Arc<dyn Store> = self.store.clone().unwrap();
        for _ in 0..self.count {
            let facts = self.runtime.block_on(store.facts()).unwrap();
            let directory = Arc::new(Directory::new(self.settings.rules.clone(), facts));
            let decider = Decider::new(
                store.clone(),
                self.clock.clone(),
                self.ids.clone(),
                self.settings.clone(),
                self.handlers.clone(),
                Arc::new(Caches::new(1 << 20, 1 << 20)),
                directory.clone(),
            );
            let relay = Relay::new(store.clone(), self.mail.clone(), self.settings.clone(), directory);
            let mut relay = self.runtime.block_on(relay).unwrap();
            relay.brake.limit = Some(self.settings.create_brake);
            self.orchestrators.push(Orchestrator { pipeline: Pipeline::new(decider), relay });
        }
    }

    /// A system sends a whole record.
    pub fn says(&mut self, system: &str, entity_type: &str, native_id: &str, entity: Value) {
        self.send(whole(system, entity_type, native_id, entity));
    }

    /// One message.
    pub fn send(&mut self, message: Message) {
        self.together([message]);
    }

    /// Several messages in one batch.
    pub fn together(&mut self, messages: impl IntoIterator<Item = Message>) {
        let inputs = messages.into_iter().map(|message| self.input(message)).collect();
        self.decide(0, inputs);
        self.commit(0);
    }

    /// Two orchestrators each decide a message before either commits.
    pub fn race(&mut self, first: Message, second: Message) {
        for (who, message) in [first, second].into_iter().enumerate() {
            let inputs = vec![self.input(message)];
            self.decide(who, inputs);
        }
        self.commit(0);
        self.commit(1);
    }

    /// One of the orchestrators decides a message and does not commit it yet.
    pub fn decide_only(&mut self, who: usize, message: Message) {
        let inputs = vec![self.input(message)];
        self.decide(who, inputs);
    }

    /// It commits what it decided.
    pub fn commit_only(&mut self, who: usize) {
        self.commit(who);
    }

    /// It commits, and the process ends before it can do anything else.
    pub fn commit_and_end(&mut self, who: usize) {
        self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
        self.orchestrators.clear();
    }

    /// Bytes as they come from outside.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.story.bytes(bytes);
        let inputs = vec![self.decoded(bytes)];
        self.decide(0, inputs);
        self.commit(0);
    }

    /// A system answers the last message it was sent.
    pub fn receipt(&mut self, system: &str, native_id: &str, status: &str) {
        self.receipt_with(system, native_id, status, |receipt| receipt);
    }

    /// It says that it applied it.
    pub fn applies(&mut self, system: &str, native_id: &str) {
        self.receipt(system, native_id, "applied");
    }

    /// An answer with more to it.
    pub fn receipt_with(&mut self, system: &str, native_id: &str, status: &str, more: impl FnOnce(Message) -> Message) {
        let sent = self.last_sent.get(system).unwrap_or_else(|| panic!("{system} was sent nothing"));
        let receipt = json!({
            "system": system, "type": sent["type"], "op": "receipt", "native_id": native_id,
            "canonical_id": sent["canonical_id"], "rev": sent["rev"], "status": status,
        });
        self.send(more(Message::of(receipt)));
    }

    /// Time passes; what waits for it comes back.
    pub fn wait(&mut self, time: Duration) {
        self.story.line(format!("… {time:?} later"));
        self.clock.advance(time);
        let due = self.runtime.block_on(self.store.as_ref().unwrap().waiting_due(self.clock.now(), 1000)).unwrap();
        self.decide(0, due.into_iter().map(awake_input).collect());
        self.sweep(0);
        self.commit(0);
        if !self.relay_paused {
            self.scan(0);
        }
    }

    /// The process ends and starts again on the same folder.
    pub fn restart(&mut self) {
        self.story.line("… restart".to_owned());
        self.orchestrators.clear();
        self.store = None;
        // The lock goes with the last handle; the writer's thread may hold it for a moment.
        let embedded = (0..100).find_map(|_| {
            let opened = Embedded::open(self.folder.path(), &Options::default());
            if opened.is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened.ok()
        });
        self.store = Some(embedded.unwrap().store);
        self.start_orchestrators();
        self.work_off(0);
        let store = self.store.clone().unwrap();
        self.runtime.block_on(self.story.look(store.as_ref(), 0));
        if !self.relay_paused {
            self.scan(0);
        }
    }

    /// The same with another configuration.
    pub fn restart_as(&mut self, config: &str) {
        self.settings = Arc::new(Settings::compile(&Config::from_toml(config, "scene.toml").unwrap()));
        self.restart();
    }

    /// What was sent is noted some time later, as a running engine does it.
    pub fn marks_later(&mut self) {
        self.orchestrators.iter_mut().for_each(|orchestrator| orchestrator.relay.marks_later = true);
    }

    /// Nothing is sent until [`resume_relay`](Self::resume_relay).
    pub fn pause_relay(&mut self) {
        self.relay_paused = true;
    }

    /// Everything due is looked for and sent, now and from now on.
    pub fn resume_relay(&mut self) {
        self.relay_paused = false;
        self.scan(0);
    }

    /// A person pauses what a system is sent.
    pub fn pause(&mut self, system: &str) {
        let hold = Hold::PauseOut { system: SystemName::new(system).unwrap() };
        self.story.line(format!("… {hold} begins"));
        let store = self.store.clone().unwrap();
        self.runtime.block_on(holds::begin(store.as_ref(), hold, self.clock.now())).unwrap();
    }

    /// A person lets go of what is kept back under an id.
    pub fn release(&mut self, id: &str) {
        let store = self.store.clone().unwrap();
        let counts = self.runtime.block_on(holds::release(store.as_ref(), id, self.clock.now())).unwrap();
        self.story
            .line(format!("… {id} is let go: {} creates, {} updates, {} conflicts", counts.creates, counts.updates, counts.conflicts));
        self.scan(0);
    }

    /// What is kept back, for a person.
    pub fn kept(&self) -> String {
        let store = self.store.clone().unwrap();
        serde_json::to_string(&self.runtime.block_on(holds::kept(store.as_ref())).unwrap()).unwrap()
    }

    /// A person does something about an update that waits, or about a dead letter.
    pub fn act(&mut self, request: Request, by: &str) -> Result<(), Refusal> {
        self.story.line(crate::people::told(&request, by));
        let (act, mut answer) = Act::new(request, by, None);
        self.arrival += 1;
        let input = Input { tag: None, received_at: self.clock.now(), arrival: self.arrival, kind: InputKind::Act(act) };
        self.decide(0, vec![input]);
        self.commit(0);
        answer.try_recv().unwrap()
    }

    /// Two people act by two orchestrators, each decided before either commits.
    pub fn two_acts_at_once(&mut self, acts: [(Request, &str); 2]) -> [Result<(), Refusal>; 2] {
        let mut answers = Vec::new();
        for (who, (request, by)) in acts.into_iter().enumerate() {
            self.story.line(crate::people::told(&request, by));
            let (act, answer) = Act::new(request, by, None);
            answers.push(answer);
            self.arrival += 1;
            let input = Input { tag: None, received_at: self.clock.now(), arrival: self.arrival, kind: InputKind::Act(act) };
            self.decide(who, vec![input]);
        }
        self.commit(0);
        self.commit(1);
        let mut answers = answers.into_iter().map(|mut answer| answer.try_recv().unwrap());
        [answers.next().unwrap(), answers.next().unwrap()]
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The store, to look at something the story does not tell.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&dyn Store) -> Result<T, PortError>) -> T {
        let store = self.store.clone().unwrap();
        self.runtime.block_on(question(store.as_ref())).unwrap()
    }

    /// The story so far.
    pub fn story(&self) -> String {
        self.story.text()
    }

    /// Forgets the story so far, to tell only what follows.
    pub fn skip_ahead(&mut self) {
        self.story.forget();
    }

    fn input(&mut self, message: Message) -> Input {
        let mut body = message.body();
        if body.get("id").is_none() {
            body["id"] = json!(format!("u{}", self.next_update));
            self.next_update += 1;
        }
        self.story.message(&body);
        self.decoded(&serde_json::to_vec(&body).unwrap())
    }

    fn decoded(&mut self, bytes: &[u8]) -> Input {
        self.arrival += 1;
        let received_at = self.clock.now();
        let kind = match decode(bytes, &Transport::default(), &self.settings.limits) {
            Ok(message) => InputKind::Message(Arc::new(message)),
            Err(bad) => {
                let (body, encoding) = body_json(bytes);
                InputKind::Broken(Arc::new(DeadLetter {
                    id: bad.id.map_or_else(
                        || format!("bytes:{}", self.arrival),
                        |id| format!("{}:{id}", bad.system.as_deref().unwrap_or("unknown")),
                    ),
                    reason: bad.rejection.reason,
                    detail: bad.rejection.detail,
                    received_at,
                    system: bad.system,
                    entity_type: bad.entity_type,
                    native_id: bad.native_id,
                    body: Some(body),
                    encoding: encoding.map(str::to_owned),
                    marks: None,
                }))
            }
        };
        Input { tag: Some(self.arrival), received_at, arrival: self.arrival, kind }
    }

    fn decide(&mut self, who: usize, inputs: Vec<Input>) {
        let pipeline = &mut self.orchestrators[who].pipeline;
        self.runtime.block_on(pipeline.decide(inputs)).unwrap();
    }

    fn commit(&mut self, who: usize) {
        let committed: Committed = self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
        committed.acts.iter().for_each(|act| act.answer());
        self.work_off(who);
        let store = self.store.clone().unwrap();
        if committed.woken_left {
            let due = self.runtime.block_on(store.waiting_due(self.clock.now(), 1000)).unwrap();
            self.decide(who, due.into_iter().map(awake_input).collect());
            self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
        }
        self.runtime.block_on(self.story.look(store.as_ref(), committed.duplicates));
        if !self.relay_paused {
            self.scan(who);
        }
        let broken = self.runtime.block_on(crate::engine::broken(store.as_ref(), &self.settings, self.clock.now()));
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// Lets go what is old enough.
    fn sweep(&mut self, who: usize) {
        let (store, mut sweep, keep, now) = (self.store.clone().unwrap(), Sweep::default(), self.settings.keep, self.clock.now());
        loop {
            let (kinds, more) = self.runtime.block_on(sweep.next(store.as_ref(), &keep, now)).unwrap();
            if !more {
                return;
            }
            let inputs = kinds.into_iter().map(|kind| Input { tag: None, received_at: now, arrival: u64::MAX, kind }).collect();
            self.decide(who, inputs);
            self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
        }
    }

    /// Does what the commit left behind.
    fn work_off(&mut self, who: usize) {
        let (store, mut tasks) = (self.store.clone().unwrap(), Tasks::new(self.settings.rules.clone()));
        loop {
            let page = self.runtime.block_on(tasks.next(store.as_ref())).unwrap();
            if !page.more {
                return;
            }
            let received_at = self.clock.now();
            let inputs = page.steps.into_iter().map(|kind| Input { tag: None, received_at, arrival: u64::MAX, kind }).collect();
            self.decide(who, inputs);
            self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
        }
    }

    /// As a relay does after a start: whatever is due is found in the store.
    fn scan(&mut self, who: usize) {
        let (pairs, _) = self.runtime.block_on(self.orchestrators[who].relay.scan(0, 10_000)).unwrap();
        self.push(who, pairs);
    }

    fn push(&mut self, who: usize, mut pairs: Vec<Pair>) {
        // A reference left out to break a cycle, say, makes another message due.
        for _ in 0..20 {
            let now = self.clock.now();
            let round = self.runtime.block_on(self.orchestrators[who].relay.send(pairs, now)).unwrap();
            for message in self.mail.take() {
                let body: Value = serde_json::from_slice(&message.body).unwrap();
                self.story.sent(message.system.as_str(), &body);
                self.last_sent.insert(message.system.to_string(), body);
            }
            if round.again.is_empty() {
                return;
            }
            for (record, what) in round.again {
                self.arrival += 1;
                let kind = InputKind::Resend { record, what };
                self.decide(who, vec![Input { tag: None, received_at: now, arrival: self.arrival, kind }]);
            }
            let committed = self.runtime.block_on(self.orchestrators[who].pipeline.flush()).unwrap();
            pairs = committed.due.clone();
        }
        panic!("messages go round in a circle");
    }
}
