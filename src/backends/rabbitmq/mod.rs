//! The RabbitMQ backend: messages come in and go out over a RabbitMQ server.
//!
//! Two connections, one to consume and one to publish, because a server that is short of memory stops reading from those who
//! publish, acknowledgements included. Each is kept up by a task of its own (`link`), which makes everything anew when
//! anything about it fails. What was delivered over a connection that is gone is forgotten: it is delivered again, and the
//! engine finds what it has decided already.

mod address;
mod consume;
mod error;
mod link;
mod message;
mod publish;
mod topology;
mod window;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use self::address::Address;
use self::consume::Inlet;
use self::link::{Health, connect, keep, until_up};
use self::publish::Outlet;
pub use self::topology::{Argument, Names, Object, objects};
use crate::domain::ids::SystemName;
use crate::domain::time::Timestamp;
use crate::ports::broker::{Broker, Delivery, Fact, HandedIn, Inbox, OutboundMessage, Tap};
use crate::ports::clock::Clock;
use crate::ports::error::{PortError, PortErrorKind};

/// Longest prefix, so that every name fits into 255 bytes.
const PREFIX_MAX: usize = 200;

/// What to connect to, and what to make there.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: Address,
    /// The names of exchanges and queues.
    pub names: Names,
    /// Queues the native records are spread over.
    pub partitions: u16,
    /// Deliveries each consumer may have out.
    pub prefetch: u16,
    /// Deliveries after which the server gives a message up. The engine gives up long before what ends it.
    pub deliveries_max: u32,
    /// Whether systems are sent anything.
    pub push_updates: bool,
    /// Whether decisions are told to whoever listens.
    pub events: bool,
    /// Systems whose queue is made at start; others get theirs before their first message.
    pub systems: Vec<SystemName>,
    /// Says when a message has arrived.
    pub clock: Arc<dyn Clock>,
    /// How long the server may take to be reached at start.
    pub connect_within: Duration,
}

impl Options {
    /// For one server and prefix, with the usual numbers: one inbound queue, 1,000 deliveries, 15 seconds to connect.
    ///
    /// Fails with [`Invalid`](PortErrorKind::Invalid) if the prefix can't begin the name of a queue.
    pub fn new(address: Address, prefix: &str, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || prefix.starts_with("amq.") || prefix.chars().any(char::is_control) {
            let message = format!("the prefix must be 1 to {PREFIX_MAX} bytes of text that does not begin with \"amq.\"");
            return Err(PortError::new(PortErrorKind::Invalid, "name the queues", message));
        }
        let (partitions, prefetch, deliveries_max, connect_within) = (1, 1_000, topology::DELIVERIES_MAX, Duration::from_secs(15));
        let names = Names::new(prefix);
        Ok(Self {
            address,
            names,
            partitions,
            prefetch,
            deliveries_max,
            push_updates: true,
            events: false,
            systems: Vec::new(),
            clock,
            connect_within,
        })
    }
}

/// A RabbitMQ server as a broker. Connected as long as it lives.
#[derive(Debug)]
pub struct RabbitBroker {
    options: Arc<Options>,
    inlet: Arc<Inlet>,
    outlet: Arc<Outlet>,
    health: [watch::Receiver<Health>; 2],
    /// Ends both connections when it is dropped.
    _stop: watch::Sender<bool>,
}

impl RabbitBroker {
    /// Connects, and makes the exchanges and queues that are missing.
    ///
    /// Fails with [`Unavailable`](PortErrorKind::Unavailable) if the server can't be reached in the time it has, and at once
    /// with [`Invalid`](PortErrorKind::Invalid) if it refuses the user, or has something of ours in another form.
    pub async fn open(options: Options) -> Result<Self, PortError> {
        let options = Arc::new(options);
        let (inlet, outlet) = (Arc::new(Inlet::new(options.clone())), Arc::new(Outlet::new(options.clone())));
        let (stop, told) = watch::channel(false);
        let (consuming, consume_health) = watch::channel(Health::Starting);
        let (publishing, publish_health) = watch::channel(Health::Starting);
        tokio::spawn(keep(inlet.clone(), consuming, told.clone()));
        // One after the other, so that a refusal is said once, and the objects are made by one.
        until_up(consume_health.clone(), options.connect_within).await?;
        tokio::spawn(keep(outlet.clone(), publishing, told));
        until_up(publish_health.clone(), options.connect_within).await?;
        Ok(Self { options, inlet, outlet, health: [consume_health, publish_health], _stop: stop })
    }

    /// Looks whether what these options ask for is at the server; returns what is missing or different. Changes nothing. Bindings are
    /// not looked at: the protocol has no question for them.
    ///
    /// Fails with [`Invalid`](PortErrorKind::Invalid) if there are queues of another number of partitions.
    pub async fn check(options: &Options) -> Result<Vec<(Object, String)>, PortError> {
        let connection = connect(&options.address, "check", &AtomicBool::new(false)).await?;
        topology::refuse_other_partitions(&connection, options, false).await?;
        topology::check(&connection, &objects(options)).await
    }
}

/// The publishing side alone, for a command that hands something in or looks into a queue.
#[derive(Debug)]
pub struct RabbitTap {
    outlet: Arc<Outlet>,
    _stop: watch::Sender<bool>,
}

impl RabbitTap {
    /// Connects. Fails like [`RabbitBroker::open`].
    pub async fn open(options: Options) -> Result<Self, PortError> {
        let within = options.connect_within;
        let outlet = Arc::new(Outlet::new(Arc::new(options)));
        let ((stop, told), (publishing, health)) = (watch::channel(false), watch::channel(Health::Starting));
        tokio::spawn(keep(outlet.clone(), publishing, told));
        until_up(health, within).await?;
        Ok(Self { outlet, _stop: stop })
    }
}

#[async_trait]
impl Tap for RabbitTap {
    async fn hand_in(&self, messages: &[HandedIn]) -> Result<(), PortError> {
        self.outlet.hand_in(messages).await
    }

    async fn take(&self, system: &SystemName, max: usize, keep: bool) -> Result<Vec<Vec<u8>>, PortError> {
        self.outlet.take(system, max, keep).await
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError> {
        Ok(self.inlet.receive(max, wait).await)
    }

    async fn give_again(&self) -> Result<(), PortError> {
        self.inlet.give_again();
        Ok(())
    }

    async fn settle(&self, tags: &[u64]) -> Result<(), PortError> {
        self.inlet.settle(tags).await
    }

    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>> {
        if messages.is_empty() {
            return Vec::new();
        }
        self.outlet.publish(&messages).await
    }

    async fn announce(&self, facts: &[Fact]) -> Result<(), PortError> {
        if facts.is_empty() || !self.options.events {
            return Ok(());
        }
        self.outlet.announce(facts).await
    }
}

#[async_trait]
impl Inbox for RabbitBroker {
    async fn hand_in(&self, messages: Vec<HandedIn>, _: Timestamp) -> Result<(), PortError> {
        self.outlet.hand_in(&messages).await
    }

    async fn depth(&self) -> Result<(u64, Vec<(SystemName, u64)>), PortError> {
        let names = &self.options.names;
        let mut queues = names.intake(self.options.partitions);
        queues.push(names.dead());
        let systems: &[SystemName] = if self.options.push_updates { &self.options.systems } else { &[] };
        let inbound = queues.len();
        queues.extend(systems.iter().map(|system| names.updates(system)));
        let depths = self.outlet.depths(&queues).await?;
        let waiting: u64 = depths[..inbound].iter().flatten().sum();
        let outbound = systems.iter().cloned().zip(&depths[inbound..]).filter_map(|(system, depth)| Some((system, (*depth)?)));
        // What is out is in no queue's count until it is let go of.
        Ok((waiting + self.inlet.out() as u64, outbound.collect()))
    }

    fn connected(&self) -> Result<(), PortError> {
        self.health.iter().try_for_each(|health| health.borrow().up())
    }

    fn queue_of(&self, system: &SystemName) -> Option<String> {
        Some(self.options.names.updates(system))
    }
}
