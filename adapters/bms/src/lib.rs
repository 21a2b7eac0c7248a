//! A sample adapter: a small building management system.
//!
//! [`database`] is the system, with ids, names and formats of its own; [`sync`] connects it.

pub mod database;
pub mod sync;

pub use database::{Bms, Device, Sensor};
pub use sync::{run, run_as};
pub use syncline_sdk::Credentials;
