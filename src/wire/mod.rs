//! Contract messages to domain values and back; the only place that parses outside bytes.
//!
//! [`inbound::decode`] takes one message as it came from a transport and gives an [`Inbound`](crate::domain::change::Inbound)
//! whose every id, limit and type is checked, or an [`Undecodable`] that says what is wrong and whatever could still be read.

pub mod body;
mod clues;
pub mod content_hash;
mod envelope;
pub mod inbound;
pub mod limits;
pub mod outbound;
pub mod route;
pub mod strict_json;
mod suggest;

pub use body::body_json;
pub use inbound::{Transport, Undecodable, decode, decode_value};
pub use limits::Limits;
pub use outbound::encode;
pub use route::routing_key;

#[cfg(test)]
mod bad_input_tests;
#[cfg(test)]
mod compat_tests;
#[cfg(test)]
mod decode_tests;
