//! Takes messages from the broker and decodes them, while others are decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::gathering::Gathering;
use super::input::{Input, InputKind};
use super::settings::Settings;
use super::supervisor::stopped;
use crate::domain::change::{DeadReason, Inbound, Rejection};
use crate::domain::ids::{SystemName, UpdateId};
use crate::domain::origin::Senders;
use crate::domain::time::Timestamp;
use crate::ports::broker::{Broker, Delivery, Fact};
use crate::ports::error::PortError;
use crate::ports::hold::{Hold, HoldRow};
use crate::ports::store::{DeadLetter, Lookup, Store};
use crate::telemetry::{Fault, Metrics};
use crate::wire::{Limits, Transport, Undecodable, body_json, content_hash, decode};

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
    /// Who may publish for whom.
    senders: Arc<Senders>,
    /// The place of the last message in arrival order; grows from start to start.
    arrival: u64,
}

impl Intake {
    /// One that numbers messages from `arrival` on.
    pub fn new(broker: Arc<dyn Broker>, store: Arc<dyn Store>, metrics: Arc<Metrics>, settings: &Settings, arrival: u64) -> Self {
        Self { broker, store, left: BTreeSet::new(), metrics, limits: settings.limits, senders: settings.senders.clone(), arrival }
    }

    /// Hands on what is gathered, as long as someone takes it.
    pub async fn run(mut self, mut gathering: Gathering, to: mpsc::Sender<Chunk>, mut stop: watch::Receiver<bool>) {
        let mut wait = FIRST_WAIT;
        loop {
            // A take that is dropped loses nothing: what it took is not settled, and comes again after a start.
            let taken = tokio::select! {
                taken = self.take(&mut gathering) => taken,
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
    async fn take(&mut self, gathering: &mut Gathering) -> Result<Vec<Chunk>, PortError> {
        let deliveries = gathering.next().await?;
        // Only now: whoever paused a system finds that nothing it says from then on is decided.
        let mut wait = FIRST_WAIT;
        let rows = loop {
            match self.store.holds().await {
                Ok(rows) => break rows,
                Err(error) => self.wait_for_the_store(&mut wait, &error).await,
            }
        };
        let paused: BTreeSet<SystemName> = rows.into_iter().filter_map(paused_in).collect();
        if self.left.iter().any(|system| !paused.contains(system)) {
            gathering.begin_anew();
            self.broker.give_again().await?;
            self.left.clear();
            return Ok(Vec::new());
        }
        let any = !deliveries.is_empty();
        let chunks = self.chunks(deliveries, &paused).await;
        if any && chunks.is_empty() {
            // They were asked for, and none of them may be decided: whoever asked still has nothing to do.
            gathering.ask_again();
        }
        Ok(chunks)
    }

    async fn chunks(&mut self, deliveries: Vec<Delivery>, paused: &BTreeSet<SystemName>) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for delivery in deliveries {
            let alone = delivery.deliveries >= SUSPICIOUS;
            self.arrival += 1;
            let input = self.decoded(delivery).await;
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

    async fn decoded(&self, delivery: Delivery) -> Input {
        let Delivery { tag, body, message_id, received_at, origin, given_up, trace, .. } = delivery;
        let origin = origin.map(|origin| (origin, self.senders.clone()));
        let kind = match decode(&body, &Transport { message_id, origin, trace }, &self.limits) {
            Ok(message) => match given_up {
                // Decided, and the acknowledgement came too late: one row or one dead letter, never both.
                Some(why) if !self.is_decided(&message).await => {
                    InputKind::Broken(Arc::new(broken(poison(&message, why), &body, received_at)))
                }
                Some(_) | None => InputKind::Message(Arc::new(message)),
            },
            Err(undecodable) => InputKind::Broken(Arc::new(broken(undecodable, &body, received_at))),
        };
        Input { tag: Some(tag), received_at, arrival: self.arrival, kind }
    }

    /// Waits until the store can say it: having the message given again would count as one more delivery of many others.
    async fn is_decided(&self, message: &Inbound) -> bool {
        let Some(update) = update_of(message) else { return false };
        let lookup = Lookup { updates: vec![update.clone()], ..Lookup::default() };
        let mut wait = FIRST_WAIT;
        loop {
            match self.store.look_up(&lookup).await {
                Ok(found) => return found.markers.contains_key(update),
                Err(error) => self.wait_for_the_store(&mut wait, &error).await,
            }
        }
    }

    /// The store is asked until it answers: having messages given again would count as one more delivery of all of them.
    async fn wait_for_the_store(&self, wait: &mut Duration, error: &PortError) {
        self.metrics.fault(Fault::Store);
        tracing::warn!(error = %error, "the store does not say what is to be known about a message; trying again");
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(LAST_WAIT);
    }
}

fn update_of(message: &Inbound) -> Option<&UpdateId> {
    match message {
        Inbound::Change(change) => Some(&change.update),
        Inbound::Receipt(receipt) => Some(&receipt.update),
        Inbound::ChangeSet { .. } => None,
    }
}

/// A message the broker has given up on, as what it is kept as.
pub(super) fn poison(message: &Inbound, why: String) -> Undecodable {
    Undecodable::of_message(message, Rejection::new(DeadReason::Poison, why))
}

fn paused_in(row: HoldRow) -> Option<SystemName> {
    match row.hold {
        Hold::PauseIn { system } => row.holds.then_some(system),
        Hold::PauseOut { .. } | Hold::CreateBrake { .. } | Hold::DeleteBrake { .. } => None,
    }
}

fn system_of(input: &Input) -> Option<&SystemName> {
    match &input.kind {
        InputKind::Message(message) => sender(message),
        InputKind::Broken(_) | InputKind::Awake(_) | InputKind::Resend { .. } | InputKind::Step(_) | InputKind::Act(_) => None,
    }
}

fn sender(message: &Inbound) -> Option<&SystemName> {
    match message {
        Inbound::Change(change) => Some(&change.key.system),
        Inbound::Receipt(receipt) => Some(receipt.system()),
        Inbound::ChangeSet { updates, .. } => updates.first().and_then(sender),
    }
}

/// A message that can't be read, as it is kept. Without an id of its own it is named by its bytes, so that the same
/// message delivered twice is kept once.
#[must_use]
pub fn broken(undecodable: Undecodable, bytes: &[u8], received_at: Timestamp) -> DeadLetter {
    let Undecodable { rejection, system, entity_type, native_id, id } = undecodable;
    let (body, encoding) = body_json(bytes);
    let id = match id {
        // The id is another system's to give, so this must not take the place of anything that has it.
        Some(id) if rejection.reason == DeadReason::NotYourSystem => {
            format!("{}:{id}#{:032x}", system.as_deref().unwrap_or("unknown"), content_hash::of_bytes(bytes))
        }
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

/// What a commit leaves to do: what is told, and then acknowledged.
#[derive(Debug, Default)]
pub struct Settled {
    /// Deliveries.
    pub tags: Vec<u64>,
    /// What listeners are told first.
    pub facts: Vec<Fact>,
}

/// Tries that facts have before they are given up: they must not hold up what is acknowledged for ever.
const ANNOUNCE_TRIES: u32 = 3;

async fn announce(broker: &dyn Broker, facts: &[Fact], metrics: &Metrics) {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ANNOUNCE_TRIES {
        if facts.is_empty() {
            return;
        }
        let Err(error) = broker.announce(facts).await else { return };
        metrics.fault(Fault::Announce);
        tracing::warn!(error = %error, attempt, facts = facts.len(), "can't tell listeners what was decided");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Lets go of messages whose outcome is durable, in the order their commits ended.
pub async fn settle(broker: Arc<dyn Broker>, mut tags: mpsc::Receiver<Settled>, metrics: Arc<Metrics>) {
    let mut wait = FIRST_WAIT;
    while let Some(Settled { tags: mut some, mut facts }) = tags.recv().await {
        while let Ok(mut more) = tags.try_recv() {
            some.append(&mut more.tags);
            facts.append(&mut more.facts);
        }
        announce(broker.as_ref(), &facts, &metrics).await;
        while let Err(error) = broker.settle(&some).await {
            // Until it works they are only delivered again, and that is harmless.
            if tags.is_closed() {
                // Nobody decides any more, so nobody waits for this either.
                tracing::warn!(error = %error, "can't acknowledge; what was decided comes again after the next start");
                return;
            }
            metrics.fault(Fault::Settle);
            tracing::warn!(error = %error, "can't acknowledge; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
        wait = FIRST_WAIT;
    }
}
