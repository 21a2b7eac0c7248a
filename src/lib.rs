//! Syncline: a bidirectional multi-master sync broker.

pub mod domain;
pub mod wire;
