//! `asyncapi`: the contract of the message broker.

use crate::cli::args::Options;
use crate::cli::{Failure, Host, output, stores};
use crate::schema::asyncapi;

/// Runs `asyncapi`.
pub fn run(options: &Options, host: &Host) -> Result<(), Failure> {
    let config = stores::config(options)?;
    output::json(&asyncapi::document(&(host.topology)(&config)?))
}
