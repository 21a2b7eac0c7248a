//! The real binary, on small files.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod batch;
mod commands;
mod real_data;
mod support;
