//! Orchestrators at work on one store.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// One orchestrator at work on a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its own id, another one with every start.
    pub id: String,
    /// Hash of the configuration it decides by.
    pub config: String,
    /// Since when.
    pub since: Timestamp,
}
