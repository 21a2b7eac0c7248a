//! Who did what: an entry for everything a person has changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::time::Timestamp;

/// Something somebody did. It is written once and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// A UUID of version 7, so that later ones sort later.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// As what; `None` where nobody has to prove who they are.
    #[serde(default)]
    pub role: Option<String>,
    /// What was done: `approve`, `pause`, `log_in`.
    pub act: String,
    /// To what.
    pub on: String,
    /// How that was before; null where there is nothing to say.
    #[serde(default)]
    pub before: Value,
    /// …and after.
    #[serde(default)]
    pub after: Value,
}
