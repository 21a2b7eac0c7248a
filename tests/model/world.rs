//! The whole simulated world: systems, a broker, one or two orchestrators over one store, and a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use syncline::config::Config;
use syncline::domain::canonical::CanonicalRecord;
use syncline::domain::ids::{CanonicalId, SystemName};
use syncline::domain::review::{Says, Word};
use syncline::domain::waiting::WaitingFor;
use syncline::engine::acts::{Act, Request};
use syncline::engine::caches::Caches;
use syncline::engine::decide::Decider;
use syncline::engine::directory::Directory;
use syncline::engine::handlers::Handlers;
use syncline::engine::input::{Input, InputKind};
use syncline::engine::pipeline::{Committed, Pipeline};
use syncline::engine::relay::{Pair, Relay};
use syncline::engine::settings::Settings;
use syncline::engine::tasks::Tasks;
use syncline::engine::waiting::awake_input;
use syncline::ports::clock::Clock;
use syncline::ports::error::PortError;
use syncline::ports::hold::Hold;
use syncline::ports::store::Store;
use syncline::ports::testkit::MemoryStore;
use syncline::views::holds;
use syncline::wire::inbound::{Transport, decode_value};
use syncline::wire::limits::Limits;

use crate::engine::{CountedIds, Mail, TestClock};
use crate::history::History;
use crate::system::{Outgoing, Profile, System, Traits};

/// One orchestrator process.
struct Orchestrator {
    pipeline: Pipeline,
    relay: Relay,
    /// Inputs decided and not committed, for a second process to get again if this one dies.
    unacked: Vec<Value>,
}

pub struct World {
    pub systems: Vec<System>,
    pub store: MemoryStore,
    /// Every published body by id, with the truth about it.
    pub published: BTreeMap<String, Outgoing>,
    /// What every outbound message id carried.
    pub sent: HashMap<String, Vec<u8>>,
    pub log: Option<Vec<String>>,
    clock: Arc<TestClock>,
    ids: Arc<CountedIds>,
    mail: Arc<Mail>,
    settings: Arc<Settings>,
    orchestrators: Vec<Orchestrator>,
    inbound: VecDeque<Value>,
    /// A dead process's messages, to be delivered again first.
    redelivered: VecDeque<Value>,
    arrival: u64,
    pub broken: Option<String>,
    /// A delete only means that its system lets go of the record.
    pub unlinks: bool,
    /// What was sent is noted some time later, as a running engine does it.
    marks_later: bool,
    /// Systems in which nobody has changed anything since they were paused, and which have not applied anything since.
    pub untouched: BTreeSet<usize>,
    /// Reports of such systems, by their ids.
    pub said_untouched: BTreeSet<String>,
    /// A person has split something: a system may have let go of a record that others still have.
    pub split: bool,
    /// A person has merged something: a system may have been sent another key value.
    pub merged: bool,
    /// A thing has another serial than it had.
    pub reserialed: bool,
    /// A record that was deleted everywhere is back.
    pub brought_back: bool,
}

/// Whether any record refers to this one.
fn is_named(records: &[CanonicalRecord], named: &CanonicalRecord) -> bool {
    let id = named.id.to_string();
    records.iter().any(|record| record.data.iter().any(|(_, value)| value.as_str() == Some(id.as_str())))
}

/// The records that one refers to.
fn named_by<'r>(records: &'r [CanonicalRecord], record: &'r CanonicalRecord) -> impl Iterator<Item = &'r CanonicalRecord> {
    let named = record.data.iter().filter_map(|(_, value)| CanonicalId::parse(value.as_str()?).ok());
    named.filter_map(|id| records.iter().find(|record| record.id == id))
}

pub fn config(systems: &[(&str, Traits)], unlinks: bool) -> String {
    let policy = if unlinks { "unlink" } else { "propagate" };
    let mut text = format!(
        // Users who overwrite each other with the same few values would look like systems that never agree.
        "[orchestration]\npush_updates = true\ncircular_update_prevention = {{ enabled = false }}\n[entities.thing]\nkeys = [{{ fields = [\"serial\"] }}]\ndelete = {{ policy = \"{policy}\" }}\nreferences = {{ peer_id = \"thing\" }}\n[entities.part]\nreferences = {{ thing_id = \"thing\" }}\n\
         [entities.thing.survivorship]\nb = \"first\"\n",
    );
    for (name, traits) in systems {
        text.push_str(&format!("[systems.{name}]\n"));
        match traits.profile {
            Profile::SilentPatches => text.push_str("echo = false\nreceipts = \"none\"\n"),
            Profile::Whole => text.push_str("receipts = \"none\"\n"),
            Profile::Receipts => text.push_str("receipts = \"required\"\n"),
            Profile::Base => {}
        }
        if traits.writes_changed {
            text.push_str("writes = \"changed\"\n");
        }
        let answers = matches!(traits.profile, Profile::Base | Profile::Receipts);
        for kind in ["thing", "part"] {
            // Without answers only a key says which record was made.
            let create = answers || traits.takes_creates && kind == "thing";
            text.push_str(&format!("[systems.{name}.entities.{kind}]\ncreate = {create}\n"));
            if traits.compensates {
                text.push_str("on_reject = \"compensate\"\n");
            }
            if traits.trims {
                text.push_str("compare = { a = { trim = true }, b = { trim = true }, \"n\\\\.c\" = { trim = true } }\n");
            }
        }
    }
    text
}

impl World {
    pub async fn new(history: &History, told: bool) -> Self {
        let History { systems: traits, unlinks, marks_later, .. } = history;
        let config = Config::from_toml(&config(traits, *unlinks), "model").unwrap_or_else(|errors| panic!("{errors}"));
        let settings = Arc::new(Settings::compile(&config));
        let mut world = Self {
            systems: traits.iter().map(|(name, traits)| System::new(name, *traits)).collect(),
            store: MemoryStore::new(),
            published: BTreeMap::new(),
            sent: HashMap::new(),
            log: told.then(Vec::new),
            clock: Arc::new(TestClock::at(1_000_000_000_000_000)),
            ids: Arc::new(CountedIds::after(0x7000_8000_0000_0000_0000)),
            mail: Arc::new(Mail::default()),
            settings,
            orchestrators: Vec::new(),
            inbound: VecDeque::new(),
            redelivered: VecDeque::new(),
            arrival: 0,
            broken: None,
            unlinks: *unlinks,
            marks_later: *marks_later,
            untouched: BTreeSet::new(),
            said_untouched: BTreeSet::new(),
            split: false,
            merged: false,
            reserialed: false,
            brought_back: false,
        };
        for _ in 0..2 {
            let orchestrator = world.start_orchestrator().await;
            world.orchestrators.push(orchestrator);
        }
        world
    }

    async fn start_orchestrator(&self) -> Orchestrator {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let facts = store.facts().await.unwrap();
        let directory = Arc::new(Directory::new(self.settings.rules.clone(), facts));
        let caches = Arc::new(Caches::new(1 << 20, 1 << 20));
        let decider = Decider::new(
            store.clone(),
            self.clock.clone(),
            self.ids.clone(),
            self.settings.clone(),
            Arc::new(Handlers::default()),
            caches,
            directory.clone(),
        );
        let mut relay = Relay::new(store, self.mail.clone(), self.settings.clone(), directory).await.unwrap();
        relay.marks_later = self.marks_later;
        Orchestrator { pipeline: Pipeline::new(decider), relay, unacked: Vec::new() }
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let line = line();
            if std::env::var("SYNCLINE_MODEL_LIVE").is_ok() {
                eprintln!("{line}");
            }
            log.push(line);
        }
    }

    pub fn advance(&mut self, time: Duration) {
        self.clock.advance(time);
    }

    /// The broker takes the next message a system has queued.
    pub fn publish(&mut self, system: usize) -> bool {
        let Some(outgoing) = self.systems[system].outgoing.pop_front() else { return false };
        let id = format!("{}:{}", self.systems[system].name, outgoing.body["id"].as_str().unwrap());
        self.tell(|| format!("{id} published: {}", outgoing.body));
        self.inbound.push_back(outgoing.body.clone());
        self.published.insert(id, outgoing);
        true
    }

    /// The broker delivers a copy of a message again.
    pub fn duplicate(&mut self, pick: usize) {
        if self.published.is_empty() {
            return;
        }
        let body = self.published.values().nth(pick % self.published.len()).unwrap().body.clone();
        // Only what was delivered before: a copy can't overtake its original.
        if !self.inbound.contains(&body) && !self.redelivered.contains(&body) {
            self.tell(|| format!("the broker delivers {} again", body["id"]));
            self.inbound.push_back(body);
        }
    }

    /// What was not acknowledged goes back to the head of the queue, in its order.
    fn requeue(&mut self, unacked: Vec<Value>) {
        for body in unacked.into_iter().rev() {
            self.redelivered.push_front(body);
        }
    }

    /// An adapter that lost its place sends an old copy again, under a new id.
    pub fn old_copy(&mut self, pick: usize) {
        let with_seq: Vec<&Outgoing> = self.published.values().filter(|outgoing| outgoing.body.get("seq").is_some()).collect();
        if with_seq.is_empty() {
            return;
        }
        let mut body = with_seq[pick % with_seq.len()].body.clone();
        if self.inbound.contains(&body) || self.redelivered.contains(&body) {
            return; // only what was delivered before is an old copy
        }
        body["id"] = json!(format!("copy{:04}", self.published.len()));
        let id = format!("{}:{}", body["system"].as_str().unwrap_or_default(), body["id"].as_str().unwrap_or_default());
        self.tell(|| format!("{id} is an old copy: {body}"));
        self.inbound.push_back(body.clone());
        self.published.insert(id, Outgoing { body, truth: Some(Vec::new()) });
    }

    /// An orchestrator takes up to `max` messages and decides them, without committing.
    pub async fn decide(&mut self, who: usize, max: usize) {
        // The queue has a single active consumer: when another one takes over, what the first has not acknowledged comes
        // again, while the first may still be busy with it.
        for other in (0..self.orchestrators.len()).filter(|other| *other != who) {
            let unacked = std::mem::take(&mut self.orchestrators[other].unacked);
            if !unacked.is_empty() {
                self.tell(|| format!("orchestrator {who} takes over from {other}"));
            }
            self.requeue(unacked);
        }
        let count = max.min(self.inbound.len() + self.redelivered.len());
        let bodies: Vec<Value> = (0..count).filter_map(|_| self.redelivered.pop_front().or_else(|| self.inbound.pop_front())).collect();
        let mut inputs = Vec::new();
        for body in &bodies {
            self.arrival += 1;
            let message =
                decode_value(body.clone(), &Transport::default(), &Limits::default()).unwrap_or_else(|bad| panic!("{bad:?} {body}"));
            let now = self.clock.now();
            inputs.push(Input { tag: None, received_at: now, arrival: self.arrival, kind: InputKind::Message(Arc::new(message)) });
        }
        let orchestrator = &mut self.orchestrators[who];
        orchestrator.unacked.extend(bodies);
        let decided = orchestrator.pipeline.decide(inputs).await;
        self.note(decided.map(|()| Committed::default()));
    }

    /// An orchestrator commits what it decided, and sends what follows.
    pub async fn commit(&mut self, who: usize, send: bool) {
        let committed = self.orchestrators[who].pipeline.flush().await;
        self.orchestrators[who].unacked.clear();
        let committed = self.note(committed);
        if !committed.decisions.is_empty() {
            self.tell(|| format!("orchestrator {who} committed {:?}", committed.decisions));
        }
        let mut pairs: Vec<Pair> = committed.due.clone();
        for (key, id) in &committed.linked {
            pairs.extend(self.orchestrators[who].relay.unhold(*id, &key.system));
        }
        if send {
            self.send(who, pairs).await;
        }
        // It holds at any time; now and then is often enough to see it.
        let broken = if self.arrival.is_multiple_of(16) { self.verified().await } else { Vec::new() };
        if !broken.is_empty() {
            self.broken.get_or_insert_with(|| format!("verify finds {broken:#?}"));
        }
    }

    /// What `syncline verify` finds broken.
    pub async fn verified(&self) -> Vec<String> {
        crate::engine::broken(&self.store, &self.settings, self.clock.now()).await
    }

    /// An orchestrator dies; its messages come again, to another one.
    pub async fn kill(&mut self, who: usize) {
        self.tell(|| format!("orchestrator {who} is killed"));
        let unacked = std::mem::take(&mut self.orchestrators[who].unacked);
        self.requeue(unacked);
        self.orchestrators[who] = self.start_orchestrator().await;
    }

    /// Everything due is looked for and sent, as after a start.
    pub async fn scan(&mut self, who: usize) -> bool {
        let (pairs, _) = self.orchestrators[who].relay.scan(0, 10_000).await.unwrap();
        self.send(who, pairs).await
    }

    /// A person pauses what a system is sent.
    pub async fn pause(&mut self, system: usize) {
        self.untouched.insert(system);
        let system = SystemName::new(&self.systems[system].name).unwrap();
        self.tell(|| format!("{system} is sent nothing"));
        holds::begin(&self.store, Hold::PauseOut { system }, self.clock.now()).await.unwrap();
    }

    /// Notes that the last report of a system can't have told anything new.
    pub fn note_untouched(&mut self, system: usize) {
        let said = self.systems[system].outgoing.back().filter(|_| self.untouched.contains(&system));
        self.said_untouched.extend(said.map(|said| format!("{}:{}", self.systems[system].name, said.body["id"].as_str().unwrap())));
    }

    /// Everybody is sent what they lack.
    pub async fn resume(&mut self) {
        for kept in self.store.holds().await.unwrap().into_iter().filter(|kept| kept.holds) {
            let id = kept.hold.to_string();
            self.tell(|| format!("{id} is let go"));
            holds::release(&self.store, &id, self.clock.now()).await.unwrap();
            self.scan(0).await;
        }
    }

    async fn send(&mut self, who: usize, pairs: Vec<Pair>) -> bool {
        let now = self.clock.now();
        let round = self.orchestrators[who].relay.send(pairs, now).await.unwrap();
        for (record, what) in round.again {
            self.arrival += 1;
            let kind = InputKind::Resend { record, what };
            let input = Input { tag: None, received_at: now, arrival: self.arrival, kind };
            self.orchestrators[who].pipeline.decide(vec![input]).await.unwrap();
        }
        let messages = self.mail.take();
        let any = !messages.is_empty();
        for message in messages {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            self.tell(|| format!("sent {}: {body}", message.id));
            if let Some(earlier) = self.sent.insert(message.id.clone(), message.body.clone())
                && earlier != message.body
                && self.broken.is_none()
            {
                let (was, is) = (String::from_utf8_lossy(&earlier).into_owned(), String::from_utf8_lossy(&message.body).into_owned());
                self.broken = Some(format!("message {} carried other bytes before:\n{was}\n{is}", message.id));
            }
            let system = self.systems.iter_mut().find(|system| system.name == message.system.as_str()).unwrap();
            system.inbox.push_back(body);
        }
        any
    }

    /// Waiting updates whose time or parent has come are given to an orchestrator.
    pub async fn wake_due(&mut self, who: usize) -> bool {
        let due = self.store.waiting_due(self.clock.now(), 100).await.unwrap();
        let any = !due.is_empty();
        let inputs = due.into_iter().map(awake_input).collect();
        let decided = self.orchestrators[who].pipeline.decide(inputs).await;
        self.note(decided.map(|()| Committed::default()));
        self.commit(who, true).await;
        any
    }

    /// What commits have left behind is done.
    async fn work_off(&mut self, who: usize) -> bool {
        let mut tasks = Tasks::new(self.settings.rules.clone());
        let mut any = false;
        loop {
            let page = tasks.next(&self.store).await.unwrap();
            if !page.more {
                return any;
            }
            any = true;
            let received_at = self.clock.now();
            let inputs = page.steps.into_iter().map(|kind| Input { tag: None, received_at, arrival: u64::MAX, kind }).collect();
            let decided = self.orchestrators[who].pipeline.decide(inputs).await;
            self.note(decided.map(|()| Committed::default()));
            self.commit(who, true).await;
        }
    }

    /// A person says that two records are one thing; nothing happens if that can't be.
    pub async fn merge(&mut self, winner: usize, loser: usize) {
        let records = self.live().await;
        if records.is_empty() {
            return;
        }
        let (winner, loser) = (&records[winner % records.len()], &records[loser % records.len()]);
        // What a system is never sent, and does not have, it can't be sent the name of either: that would be owed for ever.
        let can_be_said = [winner, loser].into_iter().flat_map(|record| named_by(&records, record)).all(|named| self.is_everywhere(named));
        if winner.entity_type == loser.entity_type && can_be_said {
            self.merged = true;
            self.act(Request::Merge { winner: winner.id, loser: loser.id, reason: None }).await;
        }
    }

    fn is_everywhere(&self, thing: &CanonicalRecord) -> bool {
        self.systems.iter().all(|system| system.traits.takes_creates || thing.native_id(&SystemName::new(&system.name).unwrap()).is_some())
    }

    /// A person takes a native record out of its record.
    pub async fn split(&mut self, record: usize, link: usize) {
        let records = self.live().await;
        if records.is_empty() {
            return;
        }
        let record = &records[record % records.len()];
        let natives: Vec<_> = record.links.iter().filter_map(|link| Some((link.system.clone(), link.native_id.clone()?))).collect();
        // What names it by the id that leaves means the other one from then on, as its system will say.
        if !natives.is_empty() && !is_named(&records, record) {
            let natives = vec![natives[link % natives.len()].clone()];
            self.split = true;
            self.act(Request::Split { record: record.id, natives, reason: None }).await;
        }
    }

    async fn live(&self) -> Vec<CanonicalRecord> {
        let records = self.store.list_records(None, None, 10_000).await.unwrap();
        records.into_iter().map(|versioned| (*versioned.record).clone()).filter(CanonicalRecord::is_live).collect()
    }

    async fn act(&mut self, request: Request) {
        self.tell(|| format!("a person: {request:?}"));
        let (act, _) = Act::new(request, "anna", None);
        self.arrival += 1;
        let input = Input { tag: None, received_at: self.clock.now(), arrival: self.arrival, kind: InputKind::Act(act) };
        let decided = self.orchestrators[0].pipeline.decide(vec![input]).await;
        self.note(decided.map(|()| Committed::default()));
        self.commit(0, true).await;
    }

    /// Who refuses that something is taken back is let have its way by a person: there it may hold something else.
    async fn review(&mut self) -> bool {
        let waiting = self.store.list_waiting(None, 100).await.unwrap();
        let mut any = false;
        for waiting in waiting.into_iter().filter(|waiting| waiting.waiting_for == WaitingFor::Review) {
            any = true;
            let system = self.systems.iter_mut().find(|system| system.name == waiting.key.system.as_str()).unwrap();
            let fields = ["serial", "a", "b", "n.c", "thing_id", "peer_id"].map(str::to_owned);
            system.refused.entry(waiting.key.native_id.to_string()).or_default().extend(fields);
            let word = Word { says: Says::Approved { edited: None }, by: Some("anna".to_owned()), at: self.clock.now(), reason: None };
            self.act(Request::Judge { update: waiting.update, word: Some(word) }).await;
        }
        any
    }

    /// A system will refuse the next update it is sent.
    pub fn refuse(&mut self, system: usize) {
        let name = self.systems[system].name.clone();
        self.tell(|| format!("{name} will refuse the next update"));
        self.systems[system].refuses = true;
    }

    /// A system applies its next message.
    pub fn apply(&mut self, system: usize) -> bool {
        let Some(next) = self.systems[system].inbox.front().cloned() else { return false };
        self.systems[system].apply();
        self.untouched.remove(&system);
        self.tell(|| format!("{} applied {}", next["id"].as_str().unwrap_or_default().rsplit(':').nth(1).unwrap_or_default(), next["rev"]));
        true
    }

    /// Nothing is on its way any more: everything published, decided, committed, sent, applied, until it is quiet.
    pub async fn rest(&mut self) -> Result<(), String> {
        for _ in 0..400 {
            let mut busy = false;
            for system in 0..self.systems.len() {
                while self.publish(system) {
                    busy = true;
                }
            }
            busy |= !self.inbound.is_empty() || !self.redelivered.is_empty();
            for who in 0..self.at_work() {
                self.decide(who, usize::MAX).await;
                self.commit(who, true).await;
            }
            for orchestrator in &mut self.orchestrators {
                orchestrator.relay.mark_sent().await.unwrap();
            }
            busy |= self.scan(0).await;
            busy |= self.wake_due(0).await;
            busy |= self.work_off(0).await;
            busy |= self.review().await;
            for system in 0..self.systems.len() {
                while self.apply(system) {
                    busy = true;
                }
            }
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
            if !busy {
                return Ok(());
            }
        }
        Err("it never comes to rest: messages go round in a circle".to_owned())
    }

    /// How many orchestrators are at work: one that is not alone notes at once.
    const fn at_work(&self) -> usize {
        if self.marks_later { 1 } else { 2 }
    }

    fn note(&mut self, outcome: Result<Committed, PortError>) -> Committed {
        match outcome {
            Ok(committed) => committed,
            Err(error) => {
                self.broken.get_or_insert(format!("the store refused: {error}"));
                Committed::default()
            }
        }
    }

    /// Every value a field may take in edits.
    pub fn value(pick: usize) -> Value {
        [json!("x"), json!("y"), json!("z"), json!("x "), json!(null)][pick % 5].clone()
    }
}
