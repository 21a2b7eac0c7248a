//! Syncline: a bidirectional multi-master sync broker.

pub mod app;
pub mod backends;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod ports;
pub mod wire;
