//! Takes messages from the broker and decodes them, while others are decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::input::{Input, InputKind};
use super::supervisor::stopped;
use crate::domain::change::Inbound;
use crate::domain::ids::SystemName;
use crate::domain::time::Timestamp;
use crate::ports::broker::{Broker, Delivery};
use crate::ports::error::PortError;
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::{DeadLetter, Store};
use crate::telemetry::{Fault, Metrics};
use crate::wire::{Limits, Transport, Undecodable, body_json, content_hash, decode};

/// How long one look for messages lasts.
const LOOK: Duration = Duration::from_secs(1);
/// The wait after a failed look, doubled up to the last one.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// From this delivery on a message is decided and committed alone, so that it can harm nobody else.
const SUSPICIOUS: u32 = 3;

/// Inputs that came together.
#[derive(Debug)]
pub struct Chunk {
    /// In arrival order.
    pub inputs: Vec<Input>,
    /// They must not share a transaction with others.
    pub alone: bool,
}

/// Receives and decodes until told to stop.
#[derive(Debug)]
pub struct Intake {
    /// Where messages come from.
    broker: Arc<dyn Broker>,
    /// Knows which systems are paused.
    store: Arc<dyn Store>,
    /// Paused systems of which messages were left in the queue.
    left: BTreeSet<SystemName>,
    /// Counts what fails.
    metrics: Arc<Metrics>,
    /// How big messages may be.
    limits: Limits,
    /// Messages of one chunk at most.
    chunk: usize,
    /// The place of the last message in arrival order; grows from start to start.
    arrival: u64,
}

impl Intake {
    /// One that takes `chunk` messages at a time and numbers them from `arrival` on.
    pub fn new(broker: Arc<dyn Broker>, store: Arc<dyn Store>, metrics: Arc<Metrics>, chunk: usize, arrival: u64) -> Self {
        Self { broker, store, left: BTreeSet::new(), metrics, limits: Limits::default(), chunk, arrival }
    }

    /// Hands on what comes, as long as someone takes it.
    pub async fn run(mut self, to: mpsc::Sender<Chunk>, mut stop: watch::Receiver<bool>) {
        let mut wait = FIRST_WAIT;
        loop {
            // A take that is dropped loses nothing: what it took is not settled, and comes again after a start.
            let taken = tokio::select! {
                taken = self.take() => taken,
                () = stopped(&mut stop) => return,
                // The engine has ended by itself; whoever waits for it must not wait for the next message.
                () = to.closed() => return,
            };
            match taken {
                Ok(chunks) => {
                    wait = FIRST_WAIT;
                    for chunk in chunks {
                        if to.send(chunk).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    self.metrics.fault(Fault::Receive);
                    tracing::warn!(error = %error, "can't receive; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stopped(&mut stop) => return,
                        () = to.closed() => return,
                    }
                    wait = (wait * 2).min(LAST_WAIT);
                }
            }
        }
    }

    /// Waits for the next messages. Those of a paused system stay in the queue; when it goes on they are given out again
    /// from the first one, before any newer one is looked at.
    async fn take(&mut self) -> Result<Vec<Chunk>, PortError> {
        let deliveries = self.broker.receive(self.chunk, LOOK).await?;
        // Only now: whoever paused a system finds that nothing it says from then on is decided.
        let paused = match self.store.holds().await {
            Ok(rows) => rows.into_iter().filter_map(paused_in).collect::<BTreeSet<_>>(),
            Err(error) => {
                self.broker.give_again().await?;
                return Err(error);
            }
        };
        if self.left.iter().any(|system| !paused.contains(system)) {
            self.broker.give_again().await?;
            self.left.clear();
            return Ok(Vec::new());
        }
        Ok(self.chunks(deliveries, &paused))
    }

    fn chunks(&mut self, deliveries: Vec<Delivery>, paused: &BTreeSet<SystemName>) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for delivery in deliveries {
            let alone = delivery.deliveries >= SUSPICIOUS;
            self.arrival += 1;
            let input = decoded(delivery, self.arrival, &self.limits);
            if let Some(system) = system_of(&input).filter(|system| paused.contains(*system)) {
                // Not acknowledged, so the queue keeps it.
                self.left.insert(system.clone());
                continue;
            }
            match chunks.last_mut().filter(|last| !alone && !last.alone) {
                Some(last) => last.inputs.push(input),
                None => chunks.push(Chunk { inputs: vec![input], alone }),
            }
        }
        chunks
    }
}

fn paused_in(row: HoldRow) -> Option<SystemName> {
    match row.hold {
        Hold::PauseIn { system } => row.holds.then_some(system),
        Hold::PauseOut { .. } | Hold::CreateBrake { .. } => None,
    }
}

fn system_of(input: &Input) -> Option<&SystemName> {
    match &input.kind {
        InputKind::Message(message) => sender(message),
        InputKind::Broken(_) | InputKind::Awake(_) | InputKind::Resend { .. } => None,
    }
}

fn sender(message: &Inbound) -> Option<&SystemName> {
    match message {
        Inbound::Change(change) => Some(&change.key.system),
        Inbound::Receipt(receipt) => Some(receipt.system()),
        Inbound::ChangeSet { updates, .. } => updates.first().and_then(sender),
    }
}

fn decoded(delivery: Delivery, arrival: u64, limits: &Limits) -> Input {
    let Delivery { tag, body, message_id, received_at, .. } = delivery;
    let kind = match decode(&body, &Transport { message_id }, limits) {
        Ok(message) => InputKind::Message(Arc::new(message)),
        Err(undecodable) => InputKind::Broken(Arc::new(broken(undecodable, &body, received_at))),
    };
    Input { tag: Some(tag), received_at, arrival, kind }
}

/// A message that can't be read, as it is kept. Without an id of its own it is named by its bytes, so that the same
/// message delivered twice is kept once.
#[must_use]
pub fn broken(undecodable: Undecodable, bytes: &[u8], received_at: Timestamp) -> DeadLetter {
    let Undecodable { rejection, system, entity_type, native_id, id } = undecodable;
    let (body, encoding) = body_json(bytes);
    let id = match id {
        Some(id) => format!("{}:{id}", system.as_deref().unwrap_or("unknown")),
        None => format!("bytes:{:032x}", content_hash::of_bytes(bytes)),
    };
    DeadLetter {
        id,
        reason: rejection.reason,
        detail: rejection.detail,
        received_at,
        system,
        entity_type,
        native_id,
        body: Some(body),
        encoding: encoding.map(str::to_owned),
        marks: None,
    }
}

/// Lets go of messages whose outcome is durable, in the order their commits ended.
pub async fn settle(broker: Arc<dyn Broker>, mut tags: mpsc::Receiver<Vec<u64>>, metrics: Arc<Metrics>) {
    let mut wait = FIRST_WAIT;
    while let Some(mut some) = tags.recv().await {
        while let Ok(mut more) = tags.try_recv() {
            some.append(&mut more);
        }
        while let Err(error) = broker.settle(&some).await {
            // Until it works they are only delivered again, and that is harmless.
            metrics.fault(Fault::Settle);
            tracing::warn!(error = %error, "can't acknowledge; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
        wait = FIRST_WAIT;
    }
}
