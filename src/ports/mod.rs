//! What the engine needs from the world, as small object-safe traits. Names no vendor.

pub mod audit;
pub mod broker;
pub mod clock;
pub mod error;
pub mod hold;
pub mod letter;
pub mod outbox;
pub mod presence;
pub mod store;
pub mod tally;
pub mod task;
#[cfg(feature = "testkit")]
pub mod testkit;
