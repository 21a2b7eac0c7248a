//! A broker in this process, to test an adapter with: push messages, see what comes back and in which order.
//!
//! It keeps to the contract where an adapter can notice: ids count once, at most one message per record is out, a receipt
//! settles its message, an expired lease gives it again. It decides nothing. Work with paused time
//! (`#[tokio::test(start_paused = true)]`) and waits cost nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use syncline_contract::{Op, Outbound, OutboundOp, ReceiptStatus, Record, Update};
use tokio::sync::watch;

use crate::adapter::Adapter;
use crate::state::{MemoryState, State};
use crate::transport::{Answer, NoAnswer, Transport};

/// How long [`Broker::next_update`] waits.
const COMES_WITHIN: Duration = Duration::from_secs(30);

/// What happens to a request with updates instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and `Retry-After` in seconds if given; nothing is taken.
    Status(u16, Option<u64>),
    /// It does not arrive.
    Lost,
    /// It is taken, and the answer is lost.
    AnswerLost,
}

/// The broker. Clones are the same broker.
#[derive(Clone, Debug, Default)]
pub struct Broker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Books {
    waiting: VecDeque<Outbound>,
    leased: Vec<Outbound>,
    received: Vec<Update>,
    seen: HashSet<(String, Option<String>)>,
    /// How many of the received were handed out.
    shown: usize,
    faults: VecDeque<Fault>,
    requests: Vec<Vec<String>>,
    /// Native ids whose updates are refused.
    refused: HashSet<String>,
}

impl Broker {
    /// A broker that has nothing and takes everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The adapter of a system at this broker, with a memory of its own.
    #[must_use]
    pub fn adapter(&self, system: &str) -> Adapter {
        self.adapter_with(system, MemoryState::default())
    }

    /// The adapter of a system at this broker, with this state.
    #[must_use]
    pub fn adapter_with(&self, system: &str, state: impl State) -> Adapter {
        Adapter::with(self.clone(), system, state)
    }

    /// A message that changes a record.
    ///
    /// # Panics
    ///
    /// If `entity` is no JSON object.
    #[must_use]
    pub fn update(&self, entity_type: &str, canonical_id: &str, native_id: &str, rev: u64, entity: Value) -> Outbound {
        Outbound { native_id: Some(native_id.into()), op: OutboundOp::Update, ..self.create(entity_type, canonical_id, rev, entity) }
    }

    /// A message that makes a record.
    ///
    /// # Panics
    ///
    /// If `entity` is no JSON object.
    #[must_use]
    pub fn create(&self, entity_type: &str, canonical_id: &str, rev: u64, entity: Value) -> Outbound {
        let Value::Object(entity) = entity else { panic!("an entity is a JSON object, not {entity}") };
        Outbound {
            traceparent: None,
            id: format!("{canonical_id}:{rev}"),
            entity_type: entity_type.into(),
            op: OutboundOp::Create,
            native_id: None,
            canonical_id: canonical_id.into(),
            rev,
            epoch: 1,
            version: rev,
            changed: entity.keys().cloned().collect(),
            entity,
        }
    }

    /// A message that deletes a record.
    #[must_use]
    pub fn delete(&self, entity_type: &str, canonical_id: &str, native_id: &str, rev: u64) -> Outbound {
        let entity = Value::Object(Record::new());
        Outbound { op: OutboundOp::Delete, ..self.update(entity_type, canonical_id, native_id, rev, entity) }
    }

    /// Has a message fetched next.
    pub fn push(&self, message: Outbound) {
        self.change(|books| books.waiting.push_back(message));
    }

    /// Gives everything again that was fetched and not settled by a receipt.
    pub fn expire_leases(&self) {
        self.change(|books| {
            let again = std::mem::take(&mut books.leased);
            books.waiting.extend(again);
        });
    }

    /// How many messages wait or were fetched and not settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        let books = self.books();
        books.waiting.len() + books.leased.len()
    }

    /// What happens to the next requests with updates, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.change(|books| books.faults.extend(faults));
    }

    /// Refuses updates of a native record with 422 from now on.
    pub fn refuse(&self, native_id: &str) {
        self.change(|books| {
            books.refused.insert(native_id.into());
        });
    }

    /// Every update and receipt that was taken, in order, each id once.
    #[must_use]
    pub fn received(&self) -> Vec<Update> {
        self.books().received.clone()
    }

    /// The ids in each request with updates, those that failed included.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<String>> {
        self.books().requests.clone()
    }

    /// Waits for the next update or receipt.
    ///
    /// # Panics
    ///
    /// If none comes within 30 seconds.
    pub async fn next_update(&self) -> Update {
        let mut news = self.0.news.subscribe();
        let next = async {
            loop {
                news.mark_unchanged();
                if let Some(update) = self.unseen() {
                    return update;
                }
                let _ = news.changed().await;
            }
        };
        match tokio::time::timeout(COMES_WITHIN, next).await {
            Ok(update) => update,
            Err(_) => panic!("no update came within {} s; so far: {:?}", COMES_WITHIN.as_secs(), self.received()),
        }
    }

    fn unseen(&self) -> Option<Update> {
        let mut books = self.books();
        let update = books.received.get(books.shown).cloned()?;
        books.shown += 1;
        Some(update)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Books)) {
        change(&mut self.books());
        self.0.news.send_modify(|count| *count += 1);
    }

    fn take_in(&self, body: &[u8]) -> Result<Answer, NoAnswer> {
        let updates: Vec<Update> = match serde_json::from_slice(body) {
            Ok(updates) => updates,
            Err(error) => return Ok(answer(400, &json!({ "status": 400, "detail": error.to_string() }))),
        };
        let mut outcome = Ok(answer(202, &json!({ "status": "queued" })));
        self.change(|books| {
            books.requests.push(updates.iter().filter_map(|update| update.id.clone()).collect());
            match books.faults.pop_front() {
                Some(Fault::Lost) => outcome = Err(NoAnswer("lost on the way".into())),
                Some(Fault::Status(status, retry)) => {
                    let retry_after = retry.map(Duration::from_secs);
                    outcome = Ok(Answer { retry_after, ..answer(status, &json!({ "status": status, "detail": "told to" })) });
                }
                Some(Fault::AnswerLost) => {
                    books.keep(updates);
                    outcome = Err(NoAnswer("the answer was lost".into()));
                }
                None => match books.problems(&updates) {
                    problems if problems.is_empty() => books.keep(updates),
                    problems => outcome = Ok(answer(422, &json!({ "status": 422, "detail": "bad messages", "problems": problems }))),
                },
            }
        });
        outcome
    }

    async fn lease(&self, body: &[u8]) -> Answer {
        let wish: Value = serde_json::from_slice(body).unwrap_or_default();
        let wait = Duration::from_millis(wish["wait_ms"].as_u64().unwrap_or_default());
        let max = usize::try_from(wish["max"].as_u64().unwrap_or(100)).unwrap_or(usize::MAX);
        let until = tokio::time::Instant::now() + wait;
        let mut news = self.0.news.subscribe();
        loop {
            news.mark_unchanged();
            let updates = self.books().lease(max);
            let waits = updates.is_empty() && tokio::time::timeout_at(until, news.changed()).await.is_ok();
            if !waits {
                return answer(200, &json!({ "lease": "1", "updates": updates }));
            }
        }
    }
}

impl Books {
    fn problems(&self, updates: &[Update]) -> Vec<Value> {
        let refused = |update: &Update| update.native_id.as_ref().is_some_and(|id| self.refused.contains(id));
        let bad = updates.iter().enumerate().filter(|(_, update)| refused(update));
        bad.map(|(index, _)| json!({ "index": index, "problem": { "status": 422, "detail": "told to refuse it" } })).collect()
    }

    fn keep(&mut self, updates: Vec<Update>) {
        for update in updates {
            if !self.seen.insert((update.system.clone(), update.id.clone())) {
                continue;
            }
            if update.op == Op::Receipt && update.status != Some(ReceiptStatus::Failed) {
                let settles =
                    |message: &Outbound| Some(&message.canonical_id) == update.canonical_id.as_ref() && Some(message.rev) <= update.rev;
                self.leased.retain(|message| !settles(message));
            }
            self.received.push(update);
        }
    }

    /// The next messages, one per record.
    fn lease(&mut self, max: usize) -> Vec<Outbound> {
        let (mut given, mut left) = (Vec::new(), VecDeque::new());
        for message in self.waiting.drain(..) {
            let same = |other: &Outbound| other.canonical_id == message.canonical_id;
            let out = given.iter().any(same) || self.leased.iter().any(same) || left.iter().any(same);
            if out || given.len() >= max { left.push_back(message) } else { given.push(message) }
        }
        self.waiting = left;
        self.leased.extend(given.iter().cloned());
        given
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, retry_after: None, body: body.to_string().into_bytes() }
}

#[async_trait]
impl Transport for Broker {
    async fn post(&self, path: &str, body: Vec<u8>, _: Duration) -> Result<Answer, NoAnswer> {
        if path == "/v1/updates" {
            return self.take_in(&body);
        }
        if path.starts_with("/v1/systems/") && path.ends_with("/lease") {
            return Ok(self.lease(&body).await);
        }
        Ok(answer(404, &json!({ "status": 404, "detail": format!("there is nothing at {path}") })))
    }
}
