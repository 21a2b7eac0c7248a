//! Finds records and decisions by what people know about them.

use std::sync::Arc;

use super::ViewError;
use super::rows::OwedRows;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::explain;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, NativeKey, SystemName};
use crate::domain::time::Timestamp;
use crate::ports::store::{DecisionFilter, Lookup, Store};

/// The record a person means: by canonical id, or as `system:native_id`.
pub async fn record(store: &dyn Store, entity_type: &str, id: &str) -> Result<Arc<CanonicalRecord>, ViewError> {
    let entity_type = EntityType::new(entity_type)?;
    let found = match id.split_once(':') {
        None => {
            CanonicalId::parse(id).map_err(|_| ViewError::Question(format!("{id:?} is no id; write a canonical id or system:native_id")))?
        }
        Some((system, native_id)) => {
            let system = SystemName::new(system)?;
            let key = NativeKey { system, entity_type: entity_type.clone(), native_id: NativeId::new(native_id)? };
            linked(store, &key).await?
        }
    };
    let mut records = store.records(&[found]).await?;
    if let Some(into) = records.first().and_then(|versioned| versioned.record.merged_into) {
        records = store.records(&[into]).await?;
    }
    let record = records.into_iter().next().filter(|versioned| versioned.record.entity_type == entity_type);
    record.map(|versioned| versioned.record).ok_or_else(|| ViewError::Absent(format!("there is no {entity_type} {found}")))
}

/// The canonical record a native record is linked to.
pub async fn linked(store: &dyn Store, key: &NativeKey) -> Result<CanonicalId, ViewError> {
    let NativeKey { system, entity_type, native_id } = key;
    let asked = Lookup { links: vec![key.clone()], waiting_of: vec![key.clone()], ..Lookup::default() };
    let found = store.look_up(&asked).await?;
    let absent = || match found.waiting.iter().find(|waiting| waiting.key == *key) {
        Some(waiting) => {
            let reason = explain::waiting(&waiting.waiting_for);
            format!("{system}'s {entity_type} {native_id} is no record yet: update {} is kept back, {reason}", waiting.update)
        }
        None => format!("{system} is not known to have a {entity_type} {native_id}"),
    };
    found.links.get(key).copied().ok_or_else(|| ViewError::Absent(absent()))
}

/// The outbox rows of one record.
pub async fn owed(store: &dyn Store, record: &CanonicalRecord) -> Result<OwedRows, ViewError> {
    owed_of_all(store, &[record]).await
}

/// The outbox rows of these records, in one question.
pub async fn owed_of_all(store: &dyn Store, records: &[&CanonicalRecord]) -> Result<OwedRows, ViewError> {
    let of = |record: &&CanonicalRecord| -> Vec<_> { record.links.iter().map(|link| (record.id, link.system.clone())).collect() };
    let pairs: Vec<_> = records.iter().flat_map(of).collect();
    if pairs.is_empty() {
        return Ok(OwedRows::new([]));
    }
    Ok(OwedRows::new(store.owed_of(&pairs).await?))
}

/// The rows of one record, oldest first.
pub async fn history(store: &dyn Store, record: CanonicalId) -> Result<Vec<Decision>, ViewError> {
    const PAGE: usize = 500;
    let filter = DecisionFilter { record: Some(record), ..DecisionFilter::default() };
    let (mut after, mut rows) = (None, Vec::new());
    loop {
        let page = store.decisions(&filter, after.as_ref(), PAGE).await?;
        rows.extend(page.items);
        after = page.next;
        if after.is_none() {
            rows.reverse();
            return Ok(rows);
        }
    }
}

/// A filter of decisions as it is written.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Canonical id or `system:native_id`.
    pub entity: Option<&'a str>,
    /// The source system.
    pub system: Option<&'a str>,
    /// The type.
    pub entity_type: Option<&'a str>,
    /// The kind of decision.
    pub decision: Option<&'a str>,
    /// Decided at or after.
    pub since: Option<&'a str>,
    /// Decided before.
    pub until: Option<&'a str>,
    /// Words of the reason.
    pub reason: Option<&'a str>,
}

/// Reads a filter.
pub async fn filter(store: &dyn Store, wanted: &Wanted<'_>) -> Result<DecisionFilter, ViewError> {
    let time = |text: Option<&str>| text.map(Timestamp::parse).transpose().map_err(ViewError::Question);
    let record = match (wanted.entity, wanted.entity_type) {
        (None, _) => None,
        (Some(id), Some(entity_type)) => Some(record(store, entity_type, id).await?.id),
        (Some(id), None) => Some(CanonicalId::parse(id).map_err(|_| {
            ViewError::Question("an entity written system:native_id needs its type too: ids count within a type".to_owned())
        })?),
    };
    Ok(DecisionFilter {
        record,
        system: wanted.system.map(SystemName::new).transpose()?,
        entity_type: wanted.entity_type.map(EntityType::new).transpose()?,
        decision: wanted.decision.map(kind).transpose()?,
        since: time(wanted.since)?,
        until: time(wanted.until)?,
        reason: wanted.reason.map(str::to_owned),
    })
}

fn kind(text: &str) -> Result<DecisionKind, ViewError> {
    let known = DecisionKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let all: Vec<&str> = DecisionKind::ALL.iter().map(|kind| kind.as_str()).collect();
        ViewError::Question(format!("there is no decision {text:?}; there are {}", all.join(", ")))
    })
}
