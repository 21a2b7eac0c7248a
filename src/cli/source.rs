//! Where a reading command looks: into a store's folder, or at the orchestrator that has it open.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::Options;
use super::client::Client;
use super::{Failure, Host, credentials, stores};
use crate::cli::error::UNREACHABLE;
use crate::ports::store::Store;

/// Where to look.
pub enum Source {
    /// A store nobody else has open.
    Store(Arc<dyn Store>),
    /// A running orchestrator.
    Running(Client),
}

impl Source {
    /// The orchestrator at `--url`, else the store; if a running orchestrator has that open, it is asked instead.
    pub async fn of(options: &Options, host: &Host) -> Result<Self, Failure> {
        if options.url.is_some() {
            return Ok(Self::Running(Client::new(options)?));
        }
        match stores::open(options, host).await {
            Ok(store) => Ok(Self::Store(store)),
            Err(failure) if failure.code == UNREACHABLE && !stores::on_a_server(options)? => Ok(Self::Running(Client::new(options)?)),
            Err(failure) => Err(failure),
        }
    }
}

/// A value of an answer, as the type it was made from.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::internal(format!("the orchestrator answers in a form this version can't read: {error}")))
}

/// The whole of a file, or of stdin.
pub fn whole_text(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    read.map_err(|error| Failure::file("read", path, &error))
}

/// Who acts: the name given, else the name of whoever is logged in. A token says itself whose it is.
pub fn login_name(given: Option<&str>, options: &Options) -> Option<String> {
    if given.is_none() && credentials::has_token(options) {
        return None;
    }
    let known = || ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    Some(given.map(str::to_owned).or_else(known).unwrap_or_else(|| "unknown".to_owned()))
}

/// A part of a path or query, so that no character of it is taken for more.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
