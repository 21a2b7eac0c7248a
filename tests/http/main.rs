//! The HTTP edge over a real socket, and the commands that are its clients.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod access;
mod audit;
mod commands;
mod console;
mod demo;
mod events;
mod guarded;
mod identity;
mod metrics;
mod openapi;
mod people;
mod reading;
mod secrets;
mod sessions;
mod steering;
mod support;
mod tls;
mod tokens;
mod updates;
