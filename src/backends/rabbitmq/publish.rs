//! The way out: everything persistent, mandatory and confirmed, many messages in flight.
//!
//! A message that no queue takes is returned by the server before it is confirmed, but the client tells of it with whatever
//! confirmation comes next. So what is published together has a channel to itself until all of it is answered, and a returned
//! message is known by what it says.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, Event};
use tokio::sync::{Notify, Semaphore, watch};
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
/// Seconds facts may take.
const ANNOUNCE_WITHIN: u64 = 2;
/// How long publishing waits for a connection, or for the server to take messages again.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Callers that publish at once; more wait for their turn.
const CHANNELS: usize = 32;

/// The publishing side.
#[derive(Debug)]
pub(super) struct Outlet {
    options: Arc<Options>,
    current: watch::Sender<Option<Arc<Open>>>,
    /// Whether everything was there once. What is in another form after that, holds up only its own messages.
    declared: AtomicBool,
    /// See [`connect`].
    silent: AtomicBool,
}

/// A connection at work.
#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Channels nobody publishes on at present, and nothing is unanswered on.
    idle: Mutex<Vec<Channel>>,
    turns: Semaphore,
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

impl Parcel<'_> {
    fn is(&self, returned: &BasicReturnMessage) -> bool {
        self.routing_key == returned.delivery.routing_key.as_str() && self.body == returned.delivery.data
    }
}

impl Open {
    fn declared(&self) -> MutexGuard<'_, HashSet<SystemName>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel on which nothing is unanswered.
    async fn channel(&self, operation: &'static str) -> Result<Channel, PortError> {
        let idle = self.idle().pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await.map_err(failed(operation))?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed(operation))?;
        Ok(channel)
    }

    /// Gives a channel back on which everything was answered.
    fn give_back(&self, channel: Channel) {
        if channel.status().connected() {
            self.idle().push(channel);
        }
    }
}

impl Outlet {
    pub fn new(options: Arc<Options>) -> Self {
        Self { options, current: watch::Sender::new(None), declared: AtomicBool::new(false), silent: AtomicBool::new(false) }
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

    /// Facts for whoever has bound a queue to the exchange of decisions. They are not waited for long: acknowledgements wait for
    /// them, and those are what a server needs that takes no messages.
    pub async fn announce(&self, facts: &[Fact]) -> Result<(), PortError> {
        let open = self.connected(Instant::now() + OPEN_WITHIN, ANNOUNCE).await?;
        if let Some(why) = open.blocked.borrow().clone() {
            return Err(blocked(&why, ANNOUNCE));
        }
        let exchange = self.options.names.events();
        let parcel = |fact| told(&exchange, fact);
        let sending = send(&open, facts.iter().map(parcel).collect(), ANNOUNCE);
        match tokio::time::timeout(Duration::from_secs(ANNOUNCE_WITHIN), sending).await {
            Ok(outcomes) => outcomes.into_iter().collect(),
            Err(_) => Err(too_slow(ANNOUNCE, ANNOUNCE_WITHIN)),
        }
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
        let open = self.connected(until, operation).await?;
        let mut free = open.blocked.subscribe();
        if timeout_at(until, free.wait_for(Option::is_none)).await.is_err() {
            return Err(blocked(&free.borrow().clone().unwrap_or_default(), operation));
        }
        Ok(open)
    }

    /// The connection, once it is there.
    async fn connected(&self, until: Instant, operation: &'static str) -> Result<Arc<Open>, PortError> {
        let mut current = self.current.subscribe();
        let open = match timeout_at(until, current.wait_for(Option::is_some)).await {
            Ok(Ok(open)) => open.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        open.ok_or_else(|| PortError::new(PortErrorKind::Unavailable, operation, "there is no connection to RabbitMQ"))
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

    /// Makes what is missing; returns the systems whose queues are there. The first time everything has to be as it should. Later
    /// a system whose queue somebody has made in another form is sent nothing, and the others are.
    async fn declare(&self, connection: &Connection) -> Result<HashSet<SystemName>, PortError> {
        if self.declared.load(Ordering::Relaxed) {
            topology::declare(connection, &topology::common(&self.options)).await?;
            return Ok(HashSet::new());
        }
        // The consuming side declares the same; whoever comes first makes it.
        topology::declare(connection, &topology::objects(&self.options)).await?;
        self.declared.store(true, Ordering::Relaxed);
        Ok(if self.options.push_updates { self.options.systems.iter().cloned().collect() } else { HashSet::new() })
    }

    async fn work(&self, health: &watch::Sender<Health>) -> Result<(), PortError> {
        let error = failed("connect to RabbitMQ");
        let connection = connect(&self.options.address, Self::NAME, &self.silent).await?;
        let mut events = Box::pin(connection.events_listener());
        let declared = self.declare(&connection).await?;
        let (declared, blocked) = (Mutex::new(declared), watch::Sender::new(None));
        let (idle, turns) = (Mutex::default(), Semaphore::new(CHANNELS));
        let open = Arc::new(Open { connection, idle, turns, declared, blocked, broken: Notify::new() });
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
                // One channel alone has failed: who uses it gets to know.
                Some(Event::Error(_)) if open.connection.status().connected() => {}
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

fn blocked(why: &str, operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::Unavailable, operation, format!("RabbitMQ takes no messages at present ({why})"))
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
    let ready = async {
        // It is never closed.
        let turn = open.turns.acquire().await.ok();
        open.channel(operation).await.map(|channel| (turn, channel))
    };
    let ready = timeout_at(until, ready).await.unwrap_or_else(|_| Err(too_slow(operation, CONFIRM_WITHIN)));
    let outcomes = match ready {
        Ok((_turn, channel)) => {
            let answers = answers(&channel, &parcels, until, operation).await;
            if answers.iter().all(Answer::is_final) {
                open.give_back(channel);
            }
            outcomes(&parcels, answers, operation)
        }
        Err(error) => parcels.iter().map(|_| Err(again(&error, operation))).collect(),
    };
    // A server that takes nothing says so, and answers when it is over. One that does not even say so is given up, with all
    // answers that may still come.
    if Instant::now() >= until && open.blocked.borrow().is_none() {
        open.broken.notify_one();
    }
    outcomes
}

/// What the server said about one message, and what it returned by the way.
enum Answer {
    Taken,
    /// This was told with its confirmation, whichever message it is.
    Returned(Box<BasicReturnMessage>),
    Refused(Option<Box<BasicReturnMessage>>),
    Failed(PortError),
    Late,
}

impl Answer {
    const fn is_final(&self) -> bool {
        match self {
            Self::Taken | Self::Returned(_) | Self::Refused(_) => true,
            Self::Failed(_) | Self::Late => false,
        }
    }
}

/// Publishes all of them and waits for their answers.
async fn answers(channel: &Channel, parcels: &[Parcel<'_>], until: Instant, operation: &'static str) -> Vec<Answer> {
    let mut ways: Vec<_> = parcels.iter().map(|parcel| Way::Open(Box::pin(one(channel, parcel, operation)))).collect();
    // Each is handed to the client here, one after the other; only then are the answers waited for.
    std::future::poll_fn(|context| {
        for way in &mut ways {
            if let Way::Open(sending) = way
                && let Poll::Ready(answer) = sending.as_mut().poll(context)
            {
                *way = Way::Done(answer);
            }
        }
        Poll::Ready(())
    })
    .await;
    let rest = ways.into_iter().map(|way| async move {
        match way {
            Way::Done(answer) => Way::Done(answer),
            Way::Open(mut sending) => match timeout_at(until, &mut sending).await {
                Ok(answer) => Way::Done(answer),
                Err(_) => Way::Open(sending),
            },
        }
    });
    let ways = join_all(rest).await;
    // Looked at once more, after all others: what comes last may tell of a message whose own confirmation was seen in time.
    ways.into_iter().map(Way::answer).collect()
}

enum Way<F> {
    Open(Pin<Box<F>>),
    Done(Answer),
}

impl<F: Future<Output = Answer>> Way<F> {
    fn answer(self) -> Answer {
        match self {
            Self::Done(answer) => answer,
            Self::Open(sending) => sending.now_or_never().unwrap_or(Answer::Late),
        }
    }
}

/// What became of each message. A returned one was told with the confirmation of any of them, at the latest with its own.
fn outcomes(parcels: &[Parcel<'_>], answers: Vec<Answer>, operation: &'static str) -> Vec<Result<(), PortError>> {
    let no_queue = |returned: &BasicReturnMessage| {
        let message = format!("no queue takes {}: {}", returned.delivery.routing_key, returned.reply_text);
        PortError::new(PortErrorKind::Unavailable, operation, message)
    };
    let mut returned = Vec::new();
    let mut outcomes: Vec<Result<(), PortError>> = Vec::with_capacity(parcels.len());
    for (teller, answer) in answers.into_iter().enumerate() {
        outcomes.push(match answer {
            Answer::Taken => Ok(()),
            Answer::Returned(other) => {
                returned.push((teller, other));
                Ok(())
            }
            Answer::Refused(other) => {
                returned.extend(other.map(|other| (teller, other)));
                Err(PortError::new(PortErrorKind::Full, operation, "RabbitMQ refused it; the queue may be full"))
            }
            Answer::Failed(error) => Err(error),
            Answer::Late => Err(too_slow(operation, CONFIRM_WITHIN)),
        });
    }
    for (teller, returned) in returned {
        let own: Vec<usize> = (0..parcels.len()).filter(|index| parcels[*index].is(&returned)).collect();
        // Nothing else was published here. Should it not be known again all the same, it counts as the one that told of it.
        for index in if own.is_empty() { vec![teller] } else { own } {
            outcomes[index] = Err(no_queue(&returned));
        }
    }
    outcomes
}

async fn one(channel: &Channel, parcel: &Parcel<'_>, operation: &'static str) -> Answer {
    let options = BasicPublishOptions { mandatory: parcel.mandatory, ..BasicPublishOptions::default() };
    let name = |text: &str| {
        ShortString::try_new(text).map_err(|error| PortError::new(PortErrorKind::Invalid, operation, format!("{text:.60?}…: {error}")))
    };
    let sent = async {
        let (exchange, routing_key) = (name(parcel.exchange)?, name(parcel.routing_key)?);
        let confirming = channel.basic_publish(exchange, routing_key, options, parcel.body, parcel.properties.clone()).await;
        confirming.map_err(failed(operation))?.await.map_err(failed(operation))
    };
    match sent.await {
        Ok(Confirmation::Ack(None)) => Answer::Taken,
        Ok(Confirmation::Ack(Some(returned))) => Answer::Returned(Box::new(returned)),
        Ok(Confirmation::Nack(returned)) => Answer::Refused(returned.map(Box::new)),
        Ok(Confirmation::NotRequested) => {
            Answer::Failed(PortError::new(PortErrorKind::Unavailable, operation, "the channel gives no confirmations"))
        }
        Err(error) => Answer::Failed(error),
    }
}
