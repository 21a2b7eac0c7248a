//! The way out: everything persistent, mandatory and confirmed, many messages in flight.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Options;
use super::error::{again, failed, too_slow};
use super::link::{Health, Session, connect, watch_over};
use super::{message, topology};
use crate::domain::ids::SystemName;
use crate::ports::broker::{Fact, HandedIn, OutboundMessage};
use crate::ports::error::{PortError, PortErrorKind};

pub(super) const PUBLISH: &str = "publish";
const ANNOUNCE: &str = "tell listeners";
const HAND_IN: &str = "hand in";
const TAKE: &str = "take";
/// Seconds until a message that is not confirmed counts as not published. It may be there all the same, and comes twice.
const CONFIRM_WITHIN: u64 = 15;
/// How long publishing waits for a connection, or for the server to take messages again.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The publishing side.
#[derive(Debug)]
pub(super) struct Outlet {
    options: Arc<Options>,
    current: watch::Sender<Option<Arc<Open>>>,
}

/// A connection at work.
#[derive(Debug)]
struct Open {
    connection: Connection,
    channel: Channel,
    /// Systems whose queue is there.
    declared: Mutex<HashSet<SystemName>>,
    /// Why the server takes no messages at present.
    blocked: watch::Sender<Option<String>>,
    /// Rings when it is of no use any more.
    broken: Notify,
}

/// One message on its way.
struct Parcel<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    body: &'a [u8],
    properties: BasicProperties,
    /// Whether a queue has to take it.
    mandatory: bool,
}

impl Open {
    fn declared(&self) -> MutexGuard<'_, HashSet<SystemName>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet {
    pub fn new(options: Arc<Options>) -> Self {
        Self { options, current: watch::Sender::new(None) }
    }

    /// Messages for systems; the outcome of each.
    pub async fn publish(&self, messages: &[OutboundMessage]) -> Vec<Result<(), PortError>> {
        let open = match self.open(PUBLISH).await {
            Ok(open) => open,
            Err(error) => return messages.iter().map(|_| Err(again(&error, PUBLISH))).collect(),
        };
        let refused = self.declare_queues(&open, messages).await;
        let exchange = self.options.names.outbound();
        let parcel = |message| outbound(&exchange, message);
        let parcels = messages.iter().filter(|message| !refused.contains_key(&message.system)).map(parcel).collect();
        let mut sent = send(&open, parcels, PUBLISH).await.into_iter();
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in messages {
            let outcome = match refused.get(&message.system) {
                Some(error) => Err(again(error, PUBLISH)),
                None => sent.next().unwrap_or_else(|| Err(too_slow(PUBLISH, CONFIRM_WITHIN))),
            };
            if outcome.is_err() {
                // Its queue may be gone or unbound: the next try makes sure that it is there.
                open.declared().remove(&message.system);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Facts for whoever has bound a queue to the exchange of decisions.
    pub async fn announce(&self, facts: &[Fact]) -> Result<(), PortError> {
        let open = self.open(ANNOUNCE).await?;
        let exchange = self.options.names.events();
        let parcel = |fact| told(&exchange, fact);
        send(&open, facts.iter().map(parcel).collect(), ANNOUNCE).await.into_iter().collect()
    }

    /// Messages that came in by another way. Of those about one record the next is published only once the one before is there:
    /// sent again after it, the older one would be the newer.
    pub async fn hand_in(&self, messages: &[HandedIn]) -> Result<(), PortError> {
        let open = self.open(HAND_IN).await?;
        let exchange = self.options.names.inbound();
        let user = self.options.address.user();
        let mut rest = messages;
        while !rest.is_empty() {
            let mut keys = HashSet::new();
            let count = rest.iter().take_while(|message| keys.insert(message.routing_key.as_str())).count();
            let (now, later) = rest.split_at(count);
            let parcels = now.iter().map(|message| inbound(&exchange, message, user)).collect();
            send(&open, parcels, HAND_IN).await.into_iter().collect::<Result<(), PortError>>()?;
            rest = later;
        }
        Ok(())
    }

    /// How many messages wait in each of these queues that is there.
    pub async fn depths(&self, queues: &[String]) -> Result<Vec<Option<u64>>, PortError> {
        let open = self.open("measure the queues").await?;
        let mut depths = Vec::with_capacity(queues.len());
        for queue in queues {
            depths.push(topology::depth(&open.connection, queue).await?);
        }
        Ok(depths)
    }

    /// Messages of a system, oldest first, as its adapter would get them. With `keep` they stay in the queue.
    pub async fn take(&self, system: &SystemName, max: usize, keep: bool) -> Result<Vec<Vec<u8>>, PortError> {
        let open = self.open(TAKE).await?;
        let channel = open.connection.create_channel().await.map_err(failed(TAKE))?;
        let queue = self.options.names.updates(system);
        let mut bodies = Vec::new();
        let mut last = None;
        while bodies.len() < max {
            let got = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: false }).await.map_err(failed(TAKE))?;
            let Some(got) = got else { break };
            last = Some(got.delivery.delivery_tag);
            bodies.push(got.delivery.data);
        }
        if let Some(last) = last.filter(|_| !keep) {
            // All of them at once: if anything fails before, they stay in the queue.
            channel.basic_ack(last, BasicAckOptions { multiple: true }).await.map_err(failed(TAKE))?;
        }
        // What was not acknowledged goes back to its place.
        channel.close(200, "seen".into()).await.map_err(failed(TAKE))?;
        Ok(bodies)
    }

    /// The connection, once it is there and the server takes messages.
    async fn open(&self, operation: &'static str) -> Result<Arc<Open>, PortError> {
        let until = Instant::now() + OPEN_WITHIN;
        let unavailable = |message: String| PortError::new(PortErrorKind::Unavailable, operation, message);
        let mut current = self.current.subscribe();
        let open = match timeout_at(until, current.wait_for(Option::is_some)).await {
            Ok(Ok(open)) => open.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(open) = open else { return Err(unavailable("there is no connection to RabbitMQ".to_owned())) };
        let mut blocked = open.blocked.subscribe();
        if timeout_at(until, blocked.wait_for(Option::is_none)).await.is_err() {
            let why = blocked.borrow().clone().unwrap_or_default();
            return Err(unavailable(format!("RabbitMQ takes no messages at present ({why})")));
        }
        Ok(open)
    }

    /// Makes sure that the systems' queues are there; returns those that can't be made.
    async fn declare_queues(&self, open: &Open, messages: &[OutboundMessage]) -> HashMap<SystemName, PortError> {
        let wanted: HashSet<&SystemName> = messages.iter().map(|message| &message.system).collect();
        let missing: Vec<SystemName> = {
            let declared = open.declared();
            wanted.into_iter().filter(|system| !declared.contains(*system)).cloned().collect()
        };
        let mut refused = HashMap::new();
        for system in missing {
            match topology::declare(&open.connection, &topology::outbound(&self.options.names, &system)).await {
                Ok(()) => {
                    open.declared().insert(system);
                }
                Err(error) => {
                    refused.insert(system, error);
                }
            }
        }
        refused
    }

    async fn work(&self, health: &watch::Sender<Health>) -> Result<(), PortError> {
        let error = failed("connect to RabbitMQ");
        let connection = connect(&self.options.address, Self::NAME).await?;
        let mut events = Box::pin(connection.events_listener());
        // The consuming side declares the same; whoever comes first makes it.
        topology::declare(&connection, &topology::objects(&self.options)).await?;
        let channel = connection.create_channel().await.map_err(error)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(error)?;
        let declared = if self.options.push_updates { self.options.systems.iter().cloned().collect() } else { HashSet::new() };
        let (declared, blocked) = (Mutex::new(declared), watch::Sender::new(None));
        let open = Arc::new(Open { connection, channel, declared, blocked, broken: Notify::new() });
        self.current.send_replace(Some(open.clone()));
        health.send_replace(Health::Up);
        tracing::info!(broker = %self.options.address, connection = Self::NAME, "connected to RabbitMQ");
        let queue = self.options.names.dead();
        let watch_over = watch_over(&open.connection, &queue, || open.blocked.borrow().is_some());
        tokio::pin!(watch_over);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                error = &mut watch_over => return Err(error),
                () = open.broken.notified() => return Err(too_slow(PUBLISH, CONFIRM_WITHIN)),
            };
            match event {
                Some(Event::ConnectionBlocked(why)) => {
                    tracing::warn!(why, "RabbitMQ takes no messages; publishing waits, consuming goes on");
                    open.blocked.send_replace(Some(why));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("RabbitMQ takes messages again");
                    open.blocked.send_replace(None);
                }
                Some(Event::Error(fault)) => return Err(error(fault)),
                Some(_) => {}
                None => return Err(PortError::new(PortErrorKind::Unavailable, PUBLISH, "the connection has ended")),
            }
        }
    }
}

impl Session for Outlet {
    const NAME: &'static str = "publish";

    async fn run(&self, health: &watch::Sender<Health>) -> PortError {
        match self.work(health).await {
            Err(error) => error,
            Ok(()) => PortError::new(PortErrorKind::Unavailable, PUBLISH, "the session has ended"),
        }
    }

    fn ended(&self) {
        self.current.send_replace(None);
    }
}

fn outbound<'a>(exchange: &'a str, message: &'a OutboundMessage) -> Parcel<'a> {
    Parcel { exchange, routing_key: message.system.as_str(), body: &message.body, properties: message::outbound(message), mandatory: true }
}

fn inbound<'a>(exchange: &'a str, message: &'a HandedIn, user: Option<&str>) -> Parcel<'a> {
    Parcel {
        exchange,
        routing_key: &message.routing_key,
        body: &message.body,
        properties: message::handed_in(message, user),
        mandatory: true,
    }
}

fn told<'a>(exchange: &'a str, fact: &'a Fact) -> Parcel<'a> {
    Parcel { exchange, routing_key: &fact.routing_key, body: &fact.body, properties: message::fact(fact), mandatory: false }
}

/// Sends messages in their order, all in flight at once; the outcome of each.
async fn send(open: &Open, parcels: Vec<Parcel<'_>>, operation: &'static str) -> Vec<Result<(), PortError>> {
    let until = Instant::now() + Duration::from_secs(CONFIRM_WITHIN);
    let mut ways: Vec<_> = parcels.into_iter().map(|parcel| Way::Open(Box::pin(one(&open.channel, parcel, operation)))).collect();
    // Each is handed to the client here, one after the other; only then are the answers waited for.
    std::future::poll_fn(|context| {
        for way in &mut ways {
            if let Way::Open(sending) = way
                && let Poll::Ready(outcome) = sending.as_mut().poll(context)
            {
                *way = Way::Done(outcome);
            }
        }
        Poll::Ready(())
    })
    .await;
    let rest = ways.into_iter().map(|way| async move {
        match way {
            Way::Done(outcome) => outcome,
            Way::Open(sending) => timeout_at(until, sending).await.unwrap_or_else(|_| Err(too_slow(operation, CONFIRM_WITHIN))),
        }
    });
    let outcomes = join_all(rest).await;
    // A server that takes nothing says so, and answers when it is over. One that does not even say so is given up, with all
    // answers that may still come.
    if Instant::now() >= until && open.blocked.borrow().is_none() {
        open.broken.notify_one();
    }
    outcomes
}

enum Way<F> {
    Open(Pin<Box<F>>),
    Done(Result<(), PortError>),
}

async fn one(channel: &Channel, parcel: Parcel<'_>, operation: &'static str) -> Result<(), PortError> {
    let options = BasicPublishOptions { mandatory: parcel.mandatory, ..BasicPublishOptions::default() };
    let name = |text: &str| {
        ShortString::try_new(text).map_err(|error| PortError::new(PortErrorKind::Invalid, operation, format!("{text:.60?}…: {error}")))
    };
    let (exchange, routing_key) = (name(parcel.exchange)?, name(parcel.routing_key)?);
    let confirming = channel.basic_publish(exchange, routing_key, options, parcel.body, parcel.properties).await;
    let (kind, message) = match confirming.map_err(failed(operation))?.await.map_err(failed(operation))? {
        Confirmation::Ack(None) => return Ok(()),
        // No queue took it, which counts as done for the server.
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            (PortErrorKind::Unavailable, format!("no queue takes {}: {}", parcel.routing_key, returned.reply_text))
        }
        Confirmation::Nack(None) => (PortErrorKind::Full, "RabbitMQ refused it; the queue may be full".to_owned()),
        Confirmation::NotRequested => (PortErrorKind::Unavailable, "the channel gives no confirmations".to_owned()),
    };
    Err(PortError::new(kind, operation, message))
}
