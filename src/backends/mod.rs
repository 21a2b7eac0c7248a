//! Implementations of the ports.

pub mod embedded;
pub mod mongodb;
pub mod rabbitmq;
