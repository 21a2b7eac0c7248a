//! The real program and the sample adapters under load, with everything that can happen to a process.
//!
//! `SYNCLINE_CHAOS_KILLS`, `SYNCLINE_CHAOS_RESTARTS` and `SYNCLINE_CHAOS_EDITS` say how much of it; a few by default, so that every run has some.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod deletes;
mod echo;
mod kills;
mod python;
mod restarts;
#[path = "../support/servers.rs"]
mod servers;
mod two;
mod world;
