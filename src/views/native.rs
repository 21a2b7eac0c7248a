//! A canonical record as one system would get it.

use std::collections::HashMap;
use std::sync::Arc;

use super::ViewError;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Record;
use crate::domain::ids::{CanonicalId, NativeId, SystemName};
use crate::domain::link::{Link, Shadow};
use crate::domain::overlay::Overlay;
use crate::domain::projection::{Unlinked, canonical_references, native_model};
use crate::domain::rules::{Side, TypeRules};
use crate::ports::store::Store;

/// What a system is known to hold of a record, in its own names and with its own ids; `None`: it is not known to have it.
pub async fn held(
    store: &dyn Store,
    record: &CanonicalRecord,
    system: &SystemName,
    side: &Side,
    types: &TypeRules,
) -> Result<Option<(NativeId, Record)>, ViewError> {
    let Some(link) = record.link_with(system).map(|index| &record.links[index]) else { return Ok(None) };
    let Some(native_id) = link.native_id.clone() else { return Ok(None) };
    let data = link.shadow.held.all(&record.data).map(|(path, value)| (path.clone(), value.clone())).collect();
    let mut there = CanonicalRecord { data, ..record.clone() };
    // What is on its way there is not there yet.
    there.links.iter_mut().for_each(|link| link.shadow = Shadow::default());
    Ok(Some((native_id, model(store, &there, system, side, types).await?)))
}

/// The native model. References to records the system does not have are left out.
pub async fn model(
    store: &dyn Store,
    record: &CanonicalRecord,
    system: &SystemName,
    side: &Side,
    types: &TypeRules,
) -> Result<Record, ViewError> {
    let wanted: Vec<CanonicalId> = canonical_references(&record.data, types).map(|(_, id)| id).collect();
    let others = if wanted.is_empty() { Vec::new() } else { store.records(&wanted).await? };
    let into: Vec<CanonicalId> = others.iter().filter_map(|other| other.record.merged_into).collect();
    let into = if into.is_empty() { Vec::new() } else { store.records(&into).await? };
    let meant =
        |other: &CanonicalRecord| into.iter().find(|into| other.merged_into == Some(into.record.id)).map(|into| into.record.clone());
    let native = |other: &Arc<CanonicalRecord>| meant(other).unwrap_or_else(|| other.clone()).native_id(system).cloned();
    let natives: HashMap<CanonicalId, NativeId> =
        others.iter().filter_map(|other| Some((other.record.id, native(&other.record)?))).collect();
    let link = match record.link_with(system) {
        Some(index) => record.links[index].clone(),
        None => Link::new(system.clone(), None, Overlay::new()),
    };
    let native_of = |id: CanonicalId| if id == record.id { link.native_id.clone() } else { natives.get(&id).cloned() };
    native_model(record, &link, side, types, u64::MAX, native_of, |_, _| Unlinked::Omit)
        .map(|model| model.entity)
        .map_err(|_| ViewError::Absent(format!("{system} can't be shown this record yet: it lacks what it refers to")))
}
