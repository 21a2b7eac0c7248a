//! The real binary, on small files.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod batch;
mod commands;
mod expected;
mod on_servers;
mod real_data;
mod repeated;
#[path = "../support/servers.rs"]
mod servers;
mod support;
mod whatif;
