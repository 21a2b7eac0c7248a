//! What the engine is fed with.

use std::sync::Arc;

use super::acts::Act;
use crate::domain::change::Inbound;
use crate::domain::ids::CanonicalId;
use crate::domain::ids::SystemName;
use crate::domain::time::Timestamp;
use crate::domain::value::FieldPath;
use crate::domain::waiting::Waiting;
use crate::ports::store::{DeadLetter, Published};
use crate::ports::task::Task;

/// One thing to decide, with its place in arrival order.
#[derive(Clone, Debug)]
pub struct Input {
    /// The delivery to acknowledge once its outcome is durable.
    pub tag: Option<u64>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Its place in arrival order.
    pub arrival: u64,
    /// What it is.
    pub kind: InputKind,
}

/// What there is to decide.
#[derive(Clone, Debug)]
pub enum InputKind {
    /// A decoded message.
    Message(Arc<Inbound>),
    /// A message that could not be decoded.
    Broken(Arc<DeadLetter>),
    /// A waiting update whose time or parent has come.
    Awake(Arc<Waiting>),
    /// A record whose sends are looked at without an update.
    Resend {
        /// The record.
        record: CanonicalId,
        /// Why.
        what: Resend,
    },
    /// A step of work that an earlier commit left behind.
    Step(Step),
    /// What somebody wants done with an update that waits, or with a dead letter.
    Act(Arc<Act>),
}

/// Why sends are looked at without an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resend {
    /// To have every system sent what it lacks.
    Outdated,
    /// To break a cycle of references: this one is left out of the system's open create.
    Omit(SystemName, FieldPath),
    /// A message went out long after it was recorded: only from then on its system can have seen it.
    WentOut {
        /// What the broker has.
        message: Published,
        /// The last one before it that had gone out.
        after: u64,
        /// Since when.
        at: Timestamp,
    },
    /// What a system said looked like what it was to be sent, and left out some of it. None of it may have gone out.
    Unsaid {
        /// What is noted if there is nothing to send after all.
        nothing: Published,
        /// The last message that had gone out.
        after: u64,
    },
    /// Somebody asked for it.
    To {
        /// The only system it is about.
        system: SystemName,
        /// Also if the system is believed to hold it.
        everything: bool,
    },
}

/// A step of work that an earlier commit left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record that refers to a deleted one.
    Orphan {
        /// The record.
        child: CanonicalId,
        /// The deleted one.
        parent: CanonicalId,
    },
    /// A record that refers to one a system has again.
    Reunite {
        /// The record.
        child: CanonicalId,
        /// The other one.
        parent: CanonicalId,
        /// The system.
        system: SystemName,
    },
    /// A record that refers to one with another id in a system.
    Rename {
        /// The record.
        child: CanonicalId,
        /// The other one.
        parent: CanonicalId,
        /// The system.
        system: SystemName,
    },
    /// A record that was deleted long ago.
    Forget(CanonicalId),
    /// A dead letter whose values are erased.
    EraseLetter {
        /// Which.
        id: String,
        /// The record it is about.
        record: CanonicalId,
    },
    /// All of it is done.
    Done(Task),
}

impl Input {
    /// Whether it came from outside the engine: an update woken by another one of its unit did not.
    #[must_use]
    pub const fn is_original(&self) -> bool {
        match self.kind {
            InputKind::Awake(_) => self.tag.is_some(),
            InputKind::Message(_) | InputKind::Broken(_) | InputKind::Resend { .. } | InputKind::Step(_) | InputKind::Act(_) => true,
        }
    }
}
