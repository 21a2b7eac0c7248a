//! Syncline: a bidirectional multi-master sync broker.
//!
//! Several business systems each hold copies of the same things. Syncline takes in what each of them changed, finds out
//! which canonical record it is about and what really changed, lets rules and your merge handlers decide, keeps one
//! canonical record, writes down why, and sends every other system its own native model.
//!
//! With this crate the orchestrator runs inside your program, with your merge handlers:
//!
//! ```
//! use serde_json::json;
//! use syncline::prelude::*;
//!
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let mut config = Config::default();
//! config.store.path = folder.path().join("data");
//! let orchestrator = Syncline::new(config)
//!     .on_update("device", |device: &mut Record, _: Option<&Record>, meta: &UpdateMeta| {
//!         device.insert("seen_by".into(), meta.source().into());
//!         Verdict::accept(None)
//!     })
//!     .start().await?;
//! orchestrator.submit(&[json!({
//!     "id": "u-1", "system": "bms", "type": "device", "native_id": "bmsD1", "entity": {"name": "Air handler"},
//! })]).await?;
//! # let update = syncline::domain::ids::UpdateId::try_from("bms:u-1".to_owned())?;
//! # let decision = loop {
//! #     if let Some(decision) = orchestrator.store().decision(&update).await? { break decision; }
//! #     tokio::task::yield_now().await;
//! # };
//! # assert_eq!(serde_json::to_value(decision.accepted_snapshot)?, json!({"name": "Air handler", "seen_by": "bms"}));
//! orchestrator.stop().await?;
//! # Ok(()) }
//! ```
//!
//! Where to read on: [`Syncline`](app::Syncline) is the front door, [`domain`] decides, [`engine::pipeline`] is a message's way, [`ports`] is
//! what a store or a message broker must be able to do.

pub mod app;
pub mod backends;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod ports;
pub mod schema;
pub mod telemetry;
pub mod views;
pub mod wire;

/// What a program with merge handlers needs.
pub mod prelude {
    pub use async_trait::async_trait;

    pub use crate::app::{Orchestrator, StartError, Syncline};
    pub use crate::config::Config;
    pub use crate::domain::change::Record;
    pub use crate::domain::handler::{UpdateMeta, Verdict};
    pub use crate::engine::handlers::{HandlerError, MergeHandler, UpdateFn};
}
