//! What an adapter of Syncline is built with.
//!
//! An adapter connects one system: it sends what changed there, and applies what comes back. It needs no ids but its own,
//! and no memory of what it sent. This is one:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use syncline_sdk::{Adapter, NativeModel};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Device { #[serde(default)] id: String, serial: String, name: String }
//!
//! impl NativeModel for Device {
//!     const TYPE: &'static str = "device";
//!     fn native_id(&self) -> String { self.id.clone() }
//! }
//!
//! # mod database {
//! #     pub fn update(_: super::Device) -> Result<(), std::io::Error> { Ok(()) }
//! #     pub fn find_or_insert(_: super::Device) -> Result<String, std::io::Error> { Ok("bmsD2".into()) }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), syncline_sdk::Error> {
//! # let broker = syncline_sdk::testing::Broker::new();
//! let adapter = Adapter::new("http://127.0.0.1:7171", "bms")?;
//! # let adapter = broker.adapter("bms");
//! adapter.on::<Device>(async |device, _| { Ok(database::update(device)?) });
//! adapter.on_new::<Device>(async |device, _| { Ok(database::find_or_insert(device)?) });
//! let running = tokio::spawn({ let adapter = adapter.clone(); async move { adapter.run().await } });
//!
//! // For every change in the system:
//! adapter.send(&Device { id: "bmsD1".into(), serial: "SN-001".into(), name: "Air handler".into() }).await?;
//! # broker.push(broker.create("device", "c-2", 1, serde_json::json!({"serial": "SN-002", "name": "Pump"})));
//! # assert_eq!(broker.next_update().await.native_id.as_deref(), Some("bmsD1"));
//! # assert_eq!(broker.next_update().await.native_id.as_deref(), Some("bmsD2"));
//! # adapter.stop();
//! # running.await.expect("the adapter ended")?;
//! # Ok(()) }
//! ```
//!
//! What it does by itself:
//!
//! - **Order.** Updates and receipts go out in one stream, in order, and again with the same id until the broker has them.
//! - **`base`.** With every record it says which message the record had seen when it was read; so the broker knows which
//!   fields a person changed and which are only old. Where handlers run beside, read under [`Adapter::reading`].
//! - **Receipts.** What a handler did is answered before anything that is read afterwards.
//! - **Once.** A message that was applied is not applied again; give [`Adapter::with`] a [`FileState`] and this holds over
//!   restarts too.
//!
//! To test an adapter without a broker there is [`testing::Broker`].

mod adapter;
#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "amqp")]
mod amqp_address;
mod backoff;
mod credentials;
mod error;
mod handlers;
mod incoming;
mod outgoing;
pub mod state;
pub mod testing;
pub mod transport;

pub use syncline_contract as contract;
pub use syncline_contract::{Outbound, Record, Update};

pub use crate::adapter::{Adapter, NativeModel, Reading};
#[cfg(feature = "amqp")]
pub use crate::amqp::Amqp;
pub use crate::credentials::Credentials;
pub use crate::error::Error;
pub use crate::handlers::{CreateHandler, Refusal, Registration, Stored, UpdateHandler};
pub use crate::state::{Applied, FileState, MemoryState, State};
pub use crate::transport::{Http, Transport};
