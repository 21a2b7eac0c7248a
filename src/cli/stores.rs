//! Which configuration and which store a command works on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Options;
use super::{Failure, Host};
use crate::config::{Config, ConfigErrors, environment};
use crate::domain::canonical::CanonicalRecord;
use crate::domain::explain;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName};
use crate::ports::store::{Lookup, Store};

/// The environment variable that names the store's folder.
const VARIABLE: &str = "SYNCLINE__STORE__PATH";

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

/// The store's folder, if `--store`, the configuration or the environment names one.
pub fn configured(options: &Options) -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = &options.store {
        return Ok(Some(folder.clone()));
    }
    let said = environment().any(|(name, _)| name.eq_ignore_ascii_case(VARIABLE)) || options.config.as_deref().is_some_and(names_a_store);
    Ok(if said { Some(config(options)?.store.path) } else { None })
}

/// Whether the file says where the store is: a default must not be taken for a choice.
fn names_a_store(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table.get("store").and_then(|store| store.get("path")).is_some()
}

/// Opens the store a command is about. Never makes one.
pub fn open(options: &Options, host: &Host) -> Result<Arc<dyn Store>, Failure> {
    let folder = configured(options)?.unwrap_or_else(|| PathBuf::from("syncline-data"));
    let is_store = |folder: &Path| folder.join("syncline.db").is_file();
    let inner = folder.join("store");
    let folder = if !is_store(&folder) && is_store(&inner) { inner } else { folder };
    if !is_store(&folder) {
        let message = format!("there is no store in {}; name its folder, or a batch's output folder, with --store", folder.display());
        return Err(Failure::absent(message));
    }
    Ok((host.open)(&folder)?)
}

/// The record that `id` (canonical, or `system:native_id`) names.
pub async fn record(store: &dyn Store, entity_type: &str, id: &str) -> Result<Arc<CanonicalRecord>, Failure> {
    let entity_type = EntityType::new(entity_type)?;
    let found = match id.split_once(':') {
        None => CanonicalId::parse(id).map_err(|_| Failure::usage(format!("{id:?} is no id; write a canonical id or system:native_id")))?,
        Some((system, native_id)) => {
            let key =
                NativeKey { system: SystemName::new(system)?, entity_type: entity_type.clone(), native_id: NativeId::new(native_id)? };
            let asked = Lookup { links: vec![key.clone()], waiting_of: vec![key.clone()], ..Lookup::default() };
            let found = store.look_up(&asked).await?;
            let absent = || match found.waiting.iter().find(|waiting| waiting.key == key) {
                Some(waiting) => {
                    let reason = explain::waiting(&waiting.waiting_for);
                    format!("{system}'s {entity_type} {native_id} is no record yet: update {} is kept back, {reason}", waiting.update)
                }
                None => format!("{system} is not known to have a {entity_type} {native_id}"),
            };
            *found.links.get(&key).ok_or_else(|| Failure::absent(absent()))?
        }
    };
    let records = store.records(&[found]).await?;
    let record = records.into_iter().next().filter(|versioned| versioned.record.entity_type == entity_type);
    record.map(|versioned| versioned.record).ok_or_else(|| Failure::absent(format!("there is no {entity_type} {found}")))
}
