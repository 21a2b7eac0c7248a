//! The story behind a record's fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ViewError;
use super::rows::OwedRows;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::explain_why::{Delivery, field as explain};
use crate::domain::ids::SystemName;
use crate::domain::link::{Link, LinkState};
use crate::domain::value::FieldPath;

/// Every field's value, source and story, and what each system holds of it.
#[must_use]
pub fn rows(record: &CanonicalRecord, fields: &[FieldPath], owed: &OwedRows) -> Value {
    let deliveries = deliveries(record, owed);
    let row = |path: &FieldPath| {
        // Of several native records of a system the one in place counts.
        let in_place = |link: &&Link| link.state != LinkState::Detached || record.link_with(&link.system).is_none();
        let held: BTreeMap<_, _> =
            record.links.iter().filter(in_place).map(|link| (link.system.as_str(), link.shadow.held.get(&record.data, path))).collect();
        json!({ "field": path, "value": record.data.get(path), "source": record.provenance.of(path), "held": held,
            "text": explain(record, path, &deliveries) })
    };
    let rows: Vec<Value> = fields.iter().map(row).collect();
    json!({ "id": record.id, "type": record.entity_type, "version": record.version, "fields": rows })
}

/// The same as sentences, one a field.
#[must_use]
pub fn sentences(record: &CanonicalRecord, fields: &[FieldPath], owed: &OwedRows) -> Vec<String> {
    let deliveries = deliveries(record, owed);
    fields.iter().map(|path| explain(record, path, &deliveries)).collect()
}

/// The fields meant by a name: one, those inside it, or all.
pub fn fields(record: &CanonicalRecord, wanted: Option<&str>) -> Result<Vec<FieldPath>, ViewError> {
    let Some(wanted) = wanted else { return Ok(record.data.iter().map(|(path, _)| path.clone()).collect()) };
    let path = FieldPath::escaped(wanted);
    let mut found: Vec<FieldPath> = record.data.get(&path).map(|_| path.clone()).into_iter().collect();
    found.extend(record.data.inside(&path));
    let held = || record.links.iter().any(|link| link.shadow.held.get(&record.data, &path).is_some());
    if found.is_empty() && held() {
        found.push(path);
    }
    if found.is_empty() {
        let known: Vec<String> = record.data.iter().map(|(path, _)| path.to_string()).collect();
        return Err(ViewError::Absent(format!("it has no field {wanted}; its fields are {}", known.join(", "))));
    }
    Ok(found)
}

/// How far each system's newest message has come.
fn deliveries(record: &CanonicalRecord, owed: &OwedRows) -> BTreeMap<SystemName, Delivery> {
    let of = |system: &SystemName| match owed.of(record.id, system) {
        None => Delivery::Settled,
        Some(row) if row.attempts > 0 => Delivery::Failing,
        Some(row) if owed.is_overdue(row) => Delivery::Unanswered,
        Some(row) if row.published >= row.rev => Delivery::Unconfirmed,
        Some(row) if row.published > 0 && row.answer_by.is_some() => Delivery::Behind(row.published),
        Some(_) => Delivery::Pending,
    };
    record.links.iter().map(|link| (link.system.clone(), of(&link.system))).collect()
}
