//! The wire contract of Syncline: what an adapter sends ([`Update`], [`ChangeSet`]) and what it receives ([`Outbound`]).
//!
//! Types only, with serde. Ids are plain strings here: the orchestrator checks every limit when a message arrives, and
//! answers a bad one with a dead letter (over HTTP: a 4xx) that says what to do.
//!
//! ```
//! use syncline_contract::{Outbound, Update};
//! use serde_json::json;
//!
//! // A message that arrived for the system `oem` …
//! let message: Outbound = serde_json::from_value(json!({
//!     "id": "0192f0c4-7c1e-7aaa-8000-000000000001:oem:1", "type": "device", "op": "create", "native_id": null,
//!     "canonical_id": "0192f0c4-7c1e-7aaa-8000-000000000001", "rev": 1, "epoch": 1, "version": 1,
//!     "entity": { "serial_no": "SN-001" }, "changed": ["serial_no"]
//! }))?;
//! // … was applied under the new id `oemD9`; this is the answer.
//! let receipt = Update::applied("r-1", "oem", &message, "oemD9");
//! assert_eq!(receipt.native_id.as_deref(), Some("oemD9"));
//! assert_eq!(receipt.canonical_id, Some(message.canonical_id));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod outbound;
#[cfg(feature = "schema")]
pub mod schema;
mod update;

pub use outbound::{Outbound, OutboundOp};
pub use update::{ChangeSet, Op, ReceiptStatus, Update};

/// A record as JSON: field name to value.
pub type Record = serde_json::Map<String, serde_json::Value>;
