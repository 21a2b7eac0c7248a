//! Which configuration and which store a command works on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Options;
use super::{Failure, Host};
use crate::config::{self, Config, ConfigErrors, StoreKind, environment};
use crate::ports::store::Store;

/// The environment variables that say where the store is.
const VARIABLES: [&str; 2] = ["SYNCLINE__STORE__PATH", "SYNCLINE__STORE__KIND"];

/// Where a store is.
#[derive(Debug)]
pub enum Place {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// On a server.
    Server(config::Store),
}

/// Reads the configuration; the zero configuration if none is named.
pub fn read(options: &Options) -> Result<Config, ConfigErrors> {
    match &options.config {
        Some(path) => Config::load(path, environment()),
        None => Config::from_env(environment()),
    }
}

/// The configuration, or why there is none.
pub fn config(options: &Options) -> Result<Config, Failure> {
    Ok(read(options)?)
}

/// Where the store is, if `--store`, the configuration or the environment says so.
pub fn configured(options: &Options) -> Result<Option<Place>, Failure> {
    if let Some(folder) = &options.store {
        return Ok(Some(Place::Folder(folder.clone())));
    }
    // A default must not be taken for a choice.
    let in_file = |key| options.config.as_deref().is_some_and(|path| says(path, key));
    let in_environment = |variable: &str| environment().any(|(name, _)| name.eq_ignore_ascii_case(variable));
    let [path, kind] = VARIABLES.map(in_environment);
    let (path, kind) = (path || in_file("path"), kind || in_file("kind"));
    if !path && !kind {
        return Ok(None);
    }
    let store = config(options)?.store;
    Ok(match store.kind {
        StoreKind::Mongodb => Some(Place::Server(store)),
        StoreKind::Embedded => path.then_some(Place::Folder(store.path)),
    })
}

/// Whether the store is on a server, which any number of processes may use.
pub fn on_a_server(options: &Options) -> Result<bool, Failure> {
    Ok(matches!(configured(options)?, Some(Place::Server(_))))
}

/// Whether the file has this key of `[store]`.
fn says(path: &Path, key: &str) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table.get("store").and_then(|store| store.get(key)).is_some()
}

/// Opens the store a command is about. Never makes one.
pub async fn open(options: &Options, host: &Host) -> Result<Arc<dyn Store>, Failure> {
    let folder = match configured(options)? {
        Some(Place::Folder(folder)) => folder,
        Some(Place::Server(store)) => return (host.connect)(store, false).await,
        None => PathBuf::from("syncline-data"),
    };
    let is_store = |folder: &Path| folder.join("syncline.db").is_file();
    let inner = folder.join("store");
    let folder = if !is_store(&folder) && is_store(&inner) { inner } else { folder };
    if !is_store(&folder) {
        let message = format!("there is no store in {}; name its folder, or a batch's output folder, with --store", folder.display());
        return Err(Failure::absent(message));
    }
    Ok((host.open)(&folder)?)
}
