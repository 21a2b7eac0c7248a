//! A scene as in `tests/flows`, with an orchestrator that runs by itself behind its real edge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use syncline::config::Config;
use syncline::domain::ids::{EntityType, SystemName};
use syncline::domain::time::Timestamp;
use syncline::engine::acts::{Refusal, Request};
use syncline::engine::handlers::{DeleteFn, Handlers, UpdateFn};
use syncline::engine::settings::Settings;
use syncline::engine::supervisor::{self, Parts, Running};
use syncline::http::access::Access;
use syncline::http::{self, Api, Edge, Server};
use syncline::ports::clock::Clock;
use syncline::ports::error::PortError;
use syncline::ports::hold::Hold;
use syncline::ports::store::Store;
use syncline::telemetry::Gauges;
use syncline::views::holds;

use crate::engine::{CountedIds, TestClock};
use crate::ground::{Ground, Watched};
use crate::message::BEGIN;
pub use crate::message::{Message, delete, patch, rekey, whole};
use crate::place::{Backends, Place};
use crate::story::Story;

/// Longest time one step may take.
const WITHIN: Duration = Duration::from_secs(60);

/// What a scene is made from.
pub struct Setting {
    config: String,
    handlers: Handlers,
}

impl Setting {
    /// Registers what is asked about deletes.
    pub fn on_delete<T, F>(mut self, entity_type: &str, function: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: DeleteFn<T>,
    {
        self.handlers.add_for_deletes::<T, F>(EntityType::new(entity_type).unwrap(), function);
        self
    }

    /// Registers a merge handler.
    pub fn handler<T, F>(mut self, entity_type: &str, function: F) -> Self
    where
        T: Serialize + DeserializeOwned + 'static,
        F: UpdateFn<T>,
    {
        self.handlers.add_function::<T, F>(EntityType::new(entity_type).unwrap(), function);
        self
    }

    /// Only in scenes that are told by hand.
    pub fn two_orchestrators(self) -> Self {
        unreachable!("this scene is told by hand")
    }

    pub fn start(self) -> Scene {
        let place = Arc::new(Place::new());
        let config = Config::from_toml(&self.config, "scene.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut scene = Scene {
            clock: Arc::new(TestClock::at(BEGIN)),
            ids: Arc::new(CountedIds::after(0x0192_f0c4_0000_7000_8000_0000_0000_0000)),
            settings: Arc::new(Settings::compile(&config)),
            handlers: Arc::new(self.handlers),
            place,
            folder: tempfile::tempdir().unwrap(),
            runtime,
            at_work: None,
            story: Story::default(),
            last_sent: BTreeMap::new(),
            systems: BTreeSet::new(),
            next_update: 1,
        };
        scene.begin();
        scene
    }
}

/// An orchestrator between a start and a stop.
struct AtWork {
    running: Running,
    store: Arc<dyn Store>,
    broker: Arc<Watched>,
    ground: Box<dyn Ground>,
    server: Server,
    said: usize,
    duplicates: u64,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let Some(AtWork { running, server, .. }) = self.at_work.take() else { return };
        let place = self.place.clone();
        self.runtime.block_on(async {
            server.stop().await;
            // A scene that failed may leave an engine that can't stop in order.
            let _ = running.stop().await;
            place.clean().await;
        });
    }
}

/// See the module.
pub struct Scene {
    clock: Arc<TestClock>,
    ids: Arc<CountedIds>,
    settings: Arc<Settings>,
    handlers: Arc<Handlers>,
    place: Arc<Place>,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    at_work: Option<AtWork>,
    story: Story,
    /// The last message each system was sent.
    last_sent: BTreeMap<String, Value>,
    systems: BTreeSet<String>,
    next_update: u64,
}

impl Scene {
    /// A scene with this configuration.
    pub fn with(config: &str) -> Setting {
        Setting { config: config.to_owned(), handlers: Handlers::default() }
    }

    /// Whether each step is taken by hand: here an orchestrator runs by itself.
    pub const fn by_hand() -> bool {
        false
    }

    /// Whether what is said together is decided in one batch.
    pub const fn takes_several_at_once() -> bool {
        Place::TAKES_SEVERAL_AT_ONCE
    }

    fn begin(&mut self) {
        let (folder, clock, ids) = (self.folder.path().to_owned(), self.clock.clone(), self.ids.clone());
        let (settings, handlers, place) = (self.settings.clone(), self.handlers.clone(), self.place.clone());
        self.at_work = Some(self.runtime.block_on(async move {
            let Backends { store, broker: carrier, inbox, queues } = place.open(&folder, clock.clone(), &settings).await;
            let broker = Arc::new(Watched::new(carrier));
            let parts = Parts {
                store: store.clone(),
                broker: broker.clone(),
                clock: clock.clone(),
                ids,
                settings: settings.clone(),
                handlers,
                others: Arc::default(),
            };
            let running = supervisor::start(parts).await.unwrap();
            let (_, stopping) = tokio::sync::watch::channel(false);
            let access = Access::new(None, false, clock.clone()).unwrap();
            let api = Api {
                access: Arc::new(access),
                store: store.clone(),
                inbox,
                queues,
                clock,
                settings,
                directory: running.directory.clone(),
                caches: running.caches.clone(),
                activity: running.activity.clone(),
                resync: running.resync.clone(),
                acts: running.acts.clone(),
                metrics: running.metrics.clone(),
                ready: Arc::new(AtomicBool::new(true)),
                stopping,
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = http::serve(listener, api, Edge::default()).unwrap();
            let ground = place.ground(server.address()).await;
            AtWork { running, store, broker, ground, server, said: 0, duplicates: 0 }
        }));
        self.settle();
        self.tell_sent();
    }

    fn work(&self) -> &AtWork {
        self.at_work.as_ref().unwrap()
    }

    /// A system sends a whole record.
    pub fn says(&mut self, system: &str, entity_type: &str, native_id: &str, entity: Value) {
        self.send(whole(system, entity_type, native_id, entity));
    }

    /// One message.
    pub fn send(&mut self, message: Message) {
        self.together([message]);
    }

    /// Several messages in one request.
    pub fn together(&mut self, messages: impl IntoIterator<Item = Message>) {
        let bodies: Vec<Value> = messages.into_iter().map(|message| self.body(message)).collect();
        let work = self.at_work.as_mut().unwrap();
        work.said += bodies.len();
        self.runtime.block_on(work.ground.say(bodies));
        self.goes_on();
    }

    pub fn race(&mut self, _: Message, _: Message) {
        unreachable!("this scene is told by hand")
    }

    pub fn decide_only(&mut self, _: usize, _: Message) {
        unreachable!("this scene is told by hand")
    }

    pub fn commit_only(&mut self, _: usize) {
        unreachable!("this scene is told by hand")
    }

    pub fn commit_and_end(&mut self, _: usize) {
        unreachable!("this scene is told by hand")
    }

    pub fn marks_later(&mut self) {
        unreachable!("this scene is told by hand")
    }

    pub fn pause_relay(&mut self) {
        unreachable!("this scene is told by hand")
    }

    pub fn resume_relay(&mut self) {
        unreachable!("this scene is told by hand")
    }

    /// Text as it comes from outside.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.story.bytes(bytes);
        let work = self.at_work.as_mut().unwrap();
        work.said += 1;
        self.runtime.block_on(work.ground.say(vec![serde_json::from_slice(bytes).unwrap()]));
        self.goes_on();
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
        self.work().running.activity.look();
        self.settle();
        // One more look goes through everything that was decided meanwhile.
        self.work().running.activity.look();
        self.goes_on();
    }

    /// The process ends and starts again on the same folder.
    pub fn restart(&mut self) {
        self.story.line("… restart".to_owned());
        let AtWork { running, server, store, broker, ground, .. } = self.at_work.take().unwrap();
        drop((store, broker, ground));
        self.runtime.block_on(async {
            server.stop().await;
            running.stop().await.unwrap();
        });
        self.begin();
    }

    /// The same with another configuration.
    pub fn restart_as(&mut self, config: &str) {
        self.settings = Arc::new(Settings::compile(&Config::from_toml(config, "scene.toml").unwrap()));
        self.restart();
    }

    /// A person pauses what a system is sent.
    pub fn pause(&mut self, system: &str) {
        let hold = Hold::PauseOut { system: SystemName::new(system).unwrap() };
        self.story.line(format!("… {hold} begins"));
        self.runtime.block_on(holds::begin(self.work().store.as_ref(), hold, self.clock.now())).unwrap();
    }

    /// A person lets go of what is kept back under an id.
    pub fn release(&mut self, id: &str) {
        let counts = self.runtime.block_on(holds::release(self.work().store.as_ref(), id, self.clock.now())).unwrap();
        self.story
            .line(format!("… {id} is let go: {} creates, {} updates, {} conflicts", counts.creates, counts.updates, counts.conflicts));
        self.work().running.activity.look();
        self.settle();
        self.tell_sent();
    }

    /// What is kept back, for a person.
    pub fn kept(&self) -> String {
        serde_json::to_string(&self.runtime.block_on(holds::kept(self.work().store.as_ref())).unwrap()).unwrap()
    }

    /// A person does something about an update that waits, or about a dead letter.
    pub fn act(&mut self, request: Request, by: &str) -> Result<(), Refusal> {
        self.story.line(crate::people::told(&request, by));
        let acts = self.work().running.acts.clone();
        let done = self.runtime.block_on(acts.run(request, by));
        self.goes_on();
        done.map(|_| ())
    }

    pub fn two_acts_at_once(&mut self, _: [(Request, &str); 2]) -> [Result<(), Refusal>; 2] {
        unreachable!("this scene is told by hand")
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The store, to look at something the story does not tell.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&dyn Store) -> Result<T, PortError>) -> T {
        self.runtime.block_on(question(self.work().store.as_ref())).unwrap()
    }

    /// The story so far.
    pub fn story(&self) -> String {
        self.story.text()
    }

    /// Forgets the story so far, to tell only what follows.
    pub fn skip_ahead(&mut self) {
        self.story.forget();
    }

    fn body(&mut self, message: Message) -> Value {
        let mut body = message.body();
        if body.get("id").is_none() {
            body["id"] = json!(format!("u{}", self.next_update));
            self.next_update += 1;
        }
        self.story.message(&body);
        self.systems.extend(body["system"].as_str().map(str::to_owned));
        body
    }

    fn goes_on(&mut self) {
        self.settle();
        let work = self.at_work.as_mut().unwrap();
        let text = work.running.metrics.render(&Gauges::default());
        let line = text.lines().find_map(|line| line.strip_prefix("syncline_duplicates_total ")).unwrap_or("0");
        let duplicates: u64 = line.parse().unwrap();
        let new = duplicates - std::mem::replace(&mut work.duplicates, duplicates);
        let store = work.store.clone();
        self.runtime.block_on(self.story.look(store.as_ref(), new));
        self.tell_sent();
    }

    /// Waits until everything said is decided and everything that came of it is sent.
    fn settle(&mut self) {
        let work = self.at_work.as_ref().unwrap();
        self.runtime.block_on(async {
            let settled = async {
                while work.broker.settled() < work.said {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // A waiting update whose handler thinks has no message that could be settled.
                while !work.store.waiting_due(self.clock.now(), 1).await.unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                work.running.at_rest().await;
            };
            tokio::time::timeout(WITHIN, settled).await.expect("it never came to rest");
        });
    }

    /// Tells what was sent, in the order in which it was, and that every system finds just that.
    fn tell_sent(&mut self) {
        let work = self.at_work.as_ref().unwrap();
        let published = work.broker.take_published();
        self.systems.extend(published.iter().map(|message| message.system.to_string()));
        let systems = self.systems.clone();
        let fetch = async {
            let mut found: BTreeMap<String, Value> = BTreeMap::new();
            for system in &systems {
                found.extend(work.ground.fetch(system).await.into_iter().map(|body| (body["id"].as_str().unwrap().to_owned(), body)));
            }
            found
        };
        let mut found = self.runtime.block_on(fetch);
        for (n, message) in published.iter().enumerate() {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            let overtaken = || published[n + 1..].iter().any(|later| (&later.system, later.record) == (&message.system, message.record));
            match found.remove(&message.id) {
                Some(fetched) => assert_eq!(fetched, body),
                None => assert!(overtaken(), "{} does not find {body}", message.system),
            }
            self.story.sent(message.system.as_str(), &body);
            self.last_sent.insert(message.system.to_string(), body);
        }
        assert!(found.is_empty(), "nobody sent these: {found:?}");
    }
}
