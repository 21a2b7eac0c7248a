//! How messages come in and go out.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::error::PortError;
use crate::domain::ids::{CanonicalId, EntityType, SystemName};
use crate::domain::link::SendOp;
use crate::domain::origin::Origin;
use crate::domain::time::Timestamp;
use crate::domain::trace::TraceParent;

/// One inbound message as the broker delivered it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names the delivery when it is settled.
    pub tag: u64,
    /// The bytes.
    pub body: Vec<u8>,
    /// The transport's own message id.
    pub message_id: Option<String>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
    /// Who published it, where the broker vouches for that; `None`: it came in by way of us, and was checked there.
    pub origin: Option<Origin>,
    /// Why the broker has given up on it. It comes a last time, to become a dead letter.
    pub given_up: Option<String>,
    /// The trace it belongs to, if the transport says so.
    pub trace: Option<TraceParent>,
}

/// One native model for one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundMessage {
    /// `{canonical_id}:{system}:{rev}`; the same id always carries the same bytes.
    pub id: String,
    /// Whom it is for.
    pub system: SystemName,
    /// The record it shows.
    pub record: CanonicalId,
    /// The type of the record.
    pub entity_type: EntityType,
    /// Create or update.
    pub op: SendOp,
    /// Its number.
    pub rev: u64,
    /// The envelope, encoded.
    pub body: Vec<u8>,
    /// The trace of the update it follows from. Stands in the body, too.
    pub trace: Option<TraceParent>,
}

/// One small fact about a decision, for those who only listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Names the decision and its state: the same twice is the same fact.
    pub id: String,
    /// `{type}.{decision}`.
    pub routing_key: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// Carries messages in both directions. At least once each way; the engine makes that harmless.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// Waits up to `wait` for messages and returns at most `max`, in arrival order; an empty list if none came. What was
    /// returned and not settled is delivered again after a restart.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, PortError>;

    /// Begins anew: gives out again, in their order, all messages that are not settled.
    async fn give_again(&self) -> Result<(), PortError>;

    /// Lets go of messages whose outcome is durable. Tags of an earlier round (before a [`give_again`](Self::give_again) or a
    /// lost connection) mean nothing any more and are ignored. A message that is settled while an earlier one is not may
    /// still come again with it.
    async fn settle(&self, tags: &[u64]) -> Result<(), PortError>;

    /// Hands over messages and returns, for each, whether the broker has it durably. Messages for one (record, system)
    /// are given in `rev` order and stay in it.
    async fn publish(&self, messages: Vec<OutboundMessage>) -> Vec<Result<(), PortError>>;

    /// Tells whoever listens. That nobody does is no error; a broker that nobody can listen at does nothing.
    async fn announce(&self, facts: &[Fact]) -> Result<(), PortError> {
        let _ = facts;
        Ok(())
    }
}

/// A message that came in by another way than the broker: over HTTP, or in the same process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedIn {
    /// `{system}.{type}.{native_id}`: what is about one native record stays in order.
    pub routing_key: String,
    /// The transport's own message id.
    pub message_id: Option<String>,
    /// The bytes.
    pub body: Vec<u8>,
}

/// A broker as seen by the other ways in.
#[async_trait]
pub trait Inbox: Broker {
    /// Takes messages in, durably. After an error none or some of them are in, and they may all be handed in again.
    ///
    /// Fails with [`Full`](super::error::PortErrorKind::Full) when too many wait already.
    async fn hand_in(&self, messages: Vec<HandedIn>, now: Timestamp) -> Result<(), PortError>;

    /// How many messages wait: inbound, and for each system outbound as far as that is known.
    async fn depth(&self) -> Result<(u64, Vec<(SystemName, u64)>), PortError>;

    /// Whether messages come in and go out at present; the error says why not.
    fn connected(&self) -> Result<(), PortError>;

    /// What an adapter of this system has to consume from; `None` where it fetches from us.
    fn queue_of(&self, system: &SystemName) -> Option<String>;
}

/// A message broker as an adapter sees it, for commands that need no orchestrator.
#[async_trait]
pub trait Tap: Debug + Send + Sync + 'static {
    /// Hands messages in, durably. After an error none or some of them are in.
    async fn hand_in(&self, messages: &[HandedIn]) -> Result<(), PortError>;

    /// The messages that wait for a system, oldest first. With `keep` they stay where they are.
    async fn take(&self, system: &SystemName, max: usize, keep: bool) -> Result<Vec<Vec<u8>>, PortError>;
}

/// Messages one adapter has leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Names the lease.
    pub id: u64,
    /// The messages, oldest first.
    pub messages: Vec<OutboundMessage>,
}

/// A broker that is its own queue server: adapters hand in and fetch here, by way of HTTP or in the same process.
#[async_trait]
pub trait LocalQueues: Inbox {
    /// Takes messages in, durably and all or none. Fails with [`Full`](super::error::PortErrorKind::Full) when the
    /// inbound queue has reached its bound.
    async fn enqueue(&self, messages: Vec<(Option<String>, Vec<u8>)>, now: Timestamp) -> Result<(), PortError>;

    /// Gives a system its next messages. They are given again once `lease` has passed, unless [`release`](Self::release)d.
    /// At most one message of a record is out at a time, and it is the newest.
    async fn lease(&self, system: &SystemName, max: usize, lease: Duration, now: Timestamp) -> Result<Leased, PortError>;

    /// Forgets messages that were applied: everything of the record up to `rev`.
    async fn release(&self, system: &SystemName, applied: &[(CanonicalId, u64)]) -> Result<(), PortError>;

    /// Changes when there may be something new to lease. Take it before [`lease`](Self::lease), and nothing is missed.
    fn news(&self) -> watch::Receiver<u64>;
}
