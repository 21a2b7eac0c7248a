//! Scenes that must hold: messages in, then what was decided, what is canonical and who was sent what, as a readable story.
//!
//! Everything runs through the real engine and the real embedded store; only the clock, the ids and the outbound side are
//! the scene's own, so that a story reads the same every time.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/message.rs"]
mod message;

mod beside;
mod breaker;
mod changed;
mod creates;
mod cycles;
mod deletes;
mod edges;
mod erasure;
mod faults;
mod freed;
mod holds;
mod identity;
mod merging;
mod omitted;
mod orphans;
mod people;
mod redaction;
mod references;
mod regroup;
mod rekeyed;
mod repeated;
mod retention;
mod revived;
mod rules;
mod saga;
mod sending;
mod shapes;
mod story;
mod support;
mod undecided;
mod unlinking;
mod unsent;
