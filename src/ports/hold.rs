//! What keeps messages back until a person lets them go: paused systems and pulled brakes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{EntityType, SystemName};
use crate::domain::tag::state_tag;
use crate::domain::time::Timestamp;

/// What is kept back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Hold {
    /// Everything a system says: it stays in the inbound queue.
    PauseIn {
        /// The system.
        system: SystemName,
    },
    /// Everything a system would be sent: a person paused it.
    PauseOut {
        /// The system.
        system: SystemName,
    },
    /// New records of a type for a system: there were too many at once.
    CreateBrake {
        /// The system.
        system: SystemName,
        /// The type.
        #[serde(rename = "type")]
        entity_type: EntityType,
    },
    /// Deletes of a type by a system: there were too many at once.
    DeleteBrake {
        /// The system.
        system: SystemName,
        /// The type.
        #[serde(rename = "type")]
        entity_type: EntityType,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PauseIn { system } => write!(f, "pause-in:{system}"),
            Self::PauseOut { system } => write!(f, "pause-out:{system}"),
            Self::CreateBrake { system, entity_type } => write!(f, "create:{system}:{entity_type}"),
            Self::DeleteBrake { system, entity_type } => write!(f, "delete:{system}:{entity_type}"),
        }
    }
}

/// A hold as it is kept. One that was released stays, to say what it let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRow {
    /// What is kept back.
    #[serde(flatten)]
    pub hold: Hold,
    /// Since when, the last time.
    pub since: Timestamp,
    /// Whether it holds now.
    pub holds: bool,
    /// When it was last released: what was recorded up to then may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Timestamp>,
}

impl HoldRow {
    /// Names this very state of it: whoever decides about it can say which one they looked at.
    #[must_use]
    pub fn tag(&self) -> String {
        state_tag(self)
    }

    /// A hold that begins now, after what may be known of an earlier one.
    #[must_use]
    pub fn begin(hold: Hold, earlier: Option<&Self>, now: Timestamp) -> Self {
        match earlier {
            Some(earlier) if earlier.holds => earlier.clone(),
            Some(earlier) => Self { since: now, holds: true, ..earlier.clone() },
            None => Self { hold, since: now, holds: true, released_at: None },
        }
    }

    /// The same, off, with nothing let go.
    #[must_use]
    pub fn lifted(self) -> Self {
        Self { holds: false, ..self }
    }

    /// The same, let go.
    #[must_use]
    pub fn released(self, now: Timestamp) -> Self {
        Self { holds: false, released_at: Some(now), ..self }
    }
}
