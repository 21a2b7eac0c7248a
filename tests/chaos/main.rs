//! The real program and the sample adapters under load, with everything that can happen to a process.
//!
//! `SYNCLINE_CHAOS_KILLS` and `SYNCLINE_CHAOS_EDITS` say how much of it; a few by default, so that every run has some.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod echo;
mod kills;
mod python;
#[path = "../support/servers.rs"]
mod servers;
mod world;
