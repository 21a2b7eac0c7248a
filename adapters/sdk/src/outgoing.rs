//! The one ordered stream to the broker: updates and receipts, in the order they were put in.

use std::sync::Arc;
use std::time::Duration;

use syncline_contract::Update;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Error;
use crate::backoff::Backoff;
use crate::transport::{Answer, NoAnswer, Transport};

/// Messages that wait at most; then whoever sends waits.
const ROOM: usize = 1000;
/// Messages in one request at most.
const AT_ONCE: usize = 200;
/// Bytes in one request, unless one message alone has more.
const BYTES: usize = 4 * 1024 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Resolves when the broker has a message.
pub(crate) type Ticket = oneshot::Receiver<Result<(), Error>>;

/// The end where messages are put in.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing(mpsc::Sender<Item>);

#[derive(Debug)]
struct Item {
    /// `None` only asks to be told when it is its turn.
    body: Option<String>,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Item {
    fn settle(self, outcome: Result<(), Error>) {
        if let Err(Err(error)) = self.done.send(outcome) {
            tracing::warn!(error = %error, "a message nobody waits for was not taken");
        }
    }
}

impl Outgoing {
    /// Starts the stream. It ends when nobody can put anything in any more.
    pub fn start(transport: Arc<dyn Transport>, stop: watch::Receiver<bool>) -> Self {
        let (put, queue) = mpsc::channel(ROOM);
        tokio::spawn(work(queue, transport, stop));
        Self(put)
    }

    /// Puts a message in; waits while there is no room.
    pub async fn put(&self, update: &Update) -> Result<Ticket, Error> {
        let body = serde_json::to_string(update).map_err(|error| Error::Model(error.to_string()))?;
        self.item(Some(body)).await
    }

    /// Waits until everything that was put in before has been answered.
    pub async fn flush(&self) -> Result<(), Error> {
        self.item(None).await?.await.unwrap_or(Err(Error::Stopped))
    }

    async fn item(&self, body: Option<String>) -> Result<Ticket, Error> {
        let (done, ticket) = oneshot::channel();
        self.0.send(Item { body, done }).await.map_err(|_| Error::Stopped)?;
        Ok(ticket)
    }
}

async fn work(mut queue: mpsc::Receiver<Item>, transport: Arc<dyn Transport>, mut stop: watch::Receiver<bool>) {
    let mut items = Vec::new();
    while queue.recv_many(&mut items, AT_ONCE).await > 0 {
        let mut at_once = AT_ONCE;
        let mut backoff = Backoff::default();
        while let Some(first) = items.first() {
            if first.body.is_none() {
                items.remove(0).settle(Ok(()));
                continue;
            }
            let count = fitting(&items, at_once);
            let outcome = transport.post("/v1/updates", body(&items[..count]), ANSWER_WITHIN).await;
            match judge(outcome, count) {
                Next::Taken => items.drain(..count).for_each(|item| item.settle(Ok(()))),
                Next::Without(refused) => refuse(&mut items, refused),
                Next::Fewer => at_once = (count / 2).max(1),
                Next::Later(wait, why) => {
                    tracing::warn!(error = %why, waiting = items.len(), "the broker does not take messages; trying again with the same ids");
                    if !backoff.wait(wait, &mut stop).await {
                        items.drain(..).for_each(|item| item.settle(Err(Error::Stopped)));
                    }
                    continue;
                }
            }
            backoff = Backoff::default();
        }
    }
}

/// How many messages go into the next request: at least one.
fn fitting(items: &[Item], at_once: usize) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += item.body.as_ref().map_or(0, String::len);
        item.body.is_some() && bytes <= BYTES
    };
    items.iter().take(at_once).take_while(fits).count().max(1)
}

fn body(items: &[Item]) -> Vec<u8> {
    let bodies: Vec<&str> = items.iter().filter_map(|item| item.body.as_deref()).collect();
    format!("[{}]", bodies.join(",")).into_bytes()
}

/// What to do after a request.
enum Next {
    /// The broker has all of it.
    Taken,
    /// These, by position, are refused; the others go again.
    Without(Vec<(usize, Error)>),
    /// Too much for one request.
    Fewer,
    /// Once more, after a wait the broker asked for or one of our own.
    Later(Option<Duration>, String),
}

fn judge(outcome: Result<Answer, NoAnswer>, count: usize) -> Next {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(none) => return Next::Later(None, none.to_string()),
    };
    match answer.status {
        200..=299 => Next::Taken,
        408 | 425 | 429 | 500..=599 => Next::Later(answer.retry_after, Error::refused(answer.status, &answer.body).to_string()),
        // Which of them can't be read, or are of another system than the token's.
        403 | 422 if !bad_ones(&answer).is_empty() => Next::Without(bad_ones(&answer)),
        400 | 413 | 422 if count > 1 => Next::Fewer,
        status @ (400 | 413 | 422) => Next::Without((0..count).map(|at| (at, Error::refused(status, &answer.body))).collect()),
        // Nothing is wrong with the messages: who sends them is not let in, or not here.
        status => Next::Without((0..count).map(|at| (at, Error::not_allowed(status, &answer.body))).collect()),
    }
}

/// The messages a problem document names.
fn bad_ones(answer: &Answer) -> Vec<(usize, Error)> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let rows = problem.get("problems").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let one = |row: &serde_json::Value| {
        let index = usize::try_from(row.get("index")?.as_u64()?).ok()?;
        Some((index, Error::refused(answer.status, row.get("problem")?.to_string().as_bytes())))
    };
    rows.iter().filter_map(one).collect()
}

fn refuse(items: &mut Vec<Item>, refused: Vec<(usize, Error)>) {
    // From the end, so that positions stay right.
    let mut refused = refused;
    refused.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    for (at, error) in refused {
        if at < items.len() {
            items.remove(at).settle(Err(error));
        }
    }
}
