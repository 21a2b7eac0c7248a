//! What comes back: leased, applied, answered.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use syncline_contract::{Outbound, OutboundOp, Update};

use crate::Error;
use crate::adapter::{Adapter, HANDLING, new_id};
use crate::backoff::Backoff;
use crate::handlers::{Done, Refusal};
use crate::state::Applied;

/// Messages fetched at once.
const MAX: u64 = 50;
/// How long a lease waits for something to come.
const WAIT: Duration = Duration::from_secs(20);
/// How long the broker keeps leased messages from being given again.
const LEASE: Duration = Duration::from_secs(60);
/// How much longer than its wait a lease may take.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stop waits for receipts to be taken.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Leased {
    updates: Vec<Outbound>,
}

enum Fetched {
    Messages(Vec<Outbound>),
    Later(Option<Duration>, String),
}

impl Adapter {
    /// Fetches messages, gives them to the handlers and answers them, until [`Adapter::stop`]. A broker that is away is
    /// waited for.
    ///
    /// Fails when the broker refuses, for instance because it does not know the system.
    pub async fn run(&self) -> Result<(), Error> {
        let mut stop = self.inner.stop.subscribe();
        let mut backoff = Backoff::default();
        while !*stop.borrow() {
            let fetched = tokio::select! {
                fetched = self.fetch() => fetched?,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match fetched {
                Fetched::Messages(messages) => {
                    backoff = Backoff::default();
                    for message in messages {
                        if *stop.borrow() {
                            break;
                        }
                        self.take(message).await?;
                    }
                }
                Fetched::Later(wait, why) => {
                    tracing::warn!(error = %why, "can't fetch messages; trying again");
                    backoff.wait(wait, &mut stop).await;
                }
            }
        }
        // The receipts of what was applied; the broker sends again whatever it has none for.
        tokio::time::timeout(FLUSH_WITHIN, self.inner.outgoing.flush()).await.unwrap_or(Ok(()))
    }

    async fn fetch(&self) -> Result<Fetched, Error> {
        let path = format!("/v1/systems/{}/lease", self.inner.system);
        let wish = json!({ "max": MAX, "wait_ms": WAIT.as_millis(), "lease_ms": LEASE.as_millis(), "ack": "receipt" });
        let answer = match self.inner.transport.post(&path, wish.to_string().into_bytes(), WAIT + GRACE).await {
            Ok(answer) => answer,
            Err(none) => return Ok(Fetched::Later(None, none.to_string())),
        };
        match answer.status {
            200..=299 => Ok(match serde_json::from_slice::<Leased>(&answer.body) {
                Ok(leased) => Fetched::Messages(leased.updates),
                Err(error) => Fetched::Later(None, format!("the broker's answer can't be read: {error}")),
            }),
            408 | 425 | 429 | 500..=599 => Ok(Fetched::Later(answer.retry_after, Error::refused(answer.status, &answer.body).to_string())),
            status => Err(Error::not_allowed(status, &answer.body)),
        }
    }

    /// Applies one message, unless it or a newer one was applied before, and puts its receipt into the stream: before
    /// anything that is read from now on, because the gate opens only afterwards.
    async fn take(&self, message: Outbound) -> Result<(), Error> {
        let gate = self.inner.gate.clone().write_owned().await;
        let known = self.inner.state.of_canonical(&message.canonical_id)?;
        match known.filter(|known| !message.is_newer_than(known.epoch, known.rev)) {
            Some(known) => self.answer_again(&message, known).await?,
            None => {
                let receipt = self.apply(&message).await?;
                self.inner.outgoing.put(&receipt).await?;
            }
        }
        drop(gate);
        Ok(())
    }

    /// Answers what was applied before, so that the broker lets go of it.
    async fn answer_again(&self, message: &Outbound, known: Applied) -> Result<(), Error> {
        let (system, outgoing) = (&self.inner.system, &self.inner.outgoing);
        let native_id = known.native_id.clone().or_else(|| message.native_id.clone()).or_else(|| known.former_id.clone());
        outgoing.put(&Update { native_id, ..Update::applied(new_id(), system, message, "") }).await?;
        // The first answer may have been lost: then the broker learns only now under which id the record was made, and could not
        // know before what was deleted.
        if let (OutboundOp::Create, None, Some(gone)) = (message.op, &known.native_id, &known.former_id) {
            outgoing.put(&Update::delete(new_id(), system, &message.entity_type, gone)).await?;
        }
        Ok(())
    }

    /// Has a handler apply a message; the receipt says what became of it.
    async fn apply(&self, message: &Outbound) -> Result<Update, Error> {
        let system = &self.inner.system;
        let known = self.known_as(message)?;
        let mut routed = message.clone();
        // A create that was answered and then sent again with newer content: the record is there.
        if let (OutboundOp::Create, Some(native_id)) = (message.op, &known) {
            routed.op = OutboundOp::Update;
            routed.native_id = Some(native_id.clone());
        }
        let native_id = routed.native_id.clone();
        let done = match self.handle(routed).await {
            Ok(done) => done,
            Err(Refusal::Failed(reason)) => {
                tracing::warn!(message.id = %message.id, reason, "a message could not be applied; it will come again");
                return Ok(Update { native_id, ..Update::failed(new_id(), system, message, reason) });
            }
            Err(Refusal::Rejected(reason)) => {
                tracing::warn!(message.id = %message.id, reason, "a message was rejected");
                return Ok(Update { native_id, ..Update::rejected(new_id(), system, message, reason) });
            }
        };
        let native_id = done.native_id.or(native_id).unwrap_or_default();
        let applied = Applied {
            canonical_id: message.canonical_id.clone(),
            entity_type: message.entity_type.clone(),
            native_id: Some(native_id.clone()),
            former_id: None,
            epoch: message.epoch,
            rev: message.rev,
        };
        self.inner.state.save(&if message.op == OutboundOp::Delete { applied.deleted() } else { applied })?;
        Ok(Update { stored: done.stored, ..Update::applied(new_id(), system, message, native_id) })
    }

    /// The native record that is known as the record of a message, and not as another one by now.
    fn known_as(&self, message: &Outbound) -> Result<Option<String>, Error> {
        let state = &self.inner.state;
        let Some(native_id) = state.of_canonical(&message.canonical_id)?.and_then(|known| known.native_id) else { return Ok(None) };
        let now = state.of_native(&message.entity_type, &native_id)?;
        Ok(Some(native_id).filter(|_| now.is_some_and(|now| now.canonical_id == message.canonical_id)))
    }

    async fn handle(&self, message: Outbound) -> Result<Done, Refusal> {
        let Some(handler) = self.inner.handlers.of(&message.entity_type, message.op) else {
            let op = message.op.as_str();
            return Err(Refusal::failed(format!("this adapter has no handler for {op} of {}", message.entity_type)));
        };
        // In a task of its own, so that a panic is an answer and not the end of the adapter.
        let applying = tokio::spawn(HANDLING.scope((), async move { handler(message).await }));
        applying.await.unwrap_or_else(|_| Err(Refusal::failed("the handler panicked")))
    }
}
