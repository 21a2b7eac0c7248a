//! The engine as it runs: messages in a durable queue, several tasks, starts and stops.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod ends;
mod holds;
mod killers;
mod lanes;
mod load;
mod mongodb;
mod people;
mod queue;
mod support;
#[cfg(feature = "otel")]
mod traces;
mod tutorial;
