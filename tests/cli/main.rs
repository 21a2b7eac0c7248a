//! The real binary, on small files.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod batch;
mod commands;
mod expected;
mod real_data;
mod repeated;
mod support;
mod whatif;
