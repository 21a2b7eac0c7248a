//! Where a system really differs from what it should hold.

use serde::Serialize;
use serde_json::Value;

use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName};
use crate::domain::link::LinkState;
use crate::domain::representation::Equality;
use crate::domain::rules::{Side, TypeRules};
use crate::domain::value::FieldPath;

/// One record a system holds otherwise than it should, or not at all.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The record.
    pub canonical_id: CanonicalId,
    /// Its type.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Its id there; `null`: the system does not have it.
    pub native_id: Option<NativeId>,
    /// The fields that differ, in canonical names.
    pub fields: Vec<Field>,
}

/// One field that differs.
#[derive(Clone, Debug, Serialize)]
pub struct Field {
    /// Its canonical name.
    pub field: FieldPath,
    /// What the system holds; `null`: nothing.
    pub held: Value,
    /// The canonical value.
    pub canonical: Value,
}

/// How a record differs there; `None`: it does not. What counts is what the system is known to hold, not what it was
/// sent meanwhile. `creates`: the system is to have records it lacks.
#[must_use]
pub fn difference(record: &CanonicalRecord, system: &SystemName, side: &Side, types: &TypeRules, creates: bool) -> Option<Difference> {
    let row = |native_id, fields| Difference { canonical_id: record.id, entity_type: record.entity_type.clone(), native_id, fields };
    let Some(link) = record.link_with(system).map(|index| &record.links[index]) else {
        return (creates && record.version > 0).then(|| row(None, Vec::new()));
    };
    match link.state {
        LinkState::Reserved => return Some(row(None, Vec::new())),
        LinkState::Detached => return None,
        LinkState::Linked => {}
    }
    let equality = Equality { types, side, stored: &link.shadow.stored };
    let differs = |path: &FieldPath, held: Option<&Value>| side.takes(path) && !equality.holds(path, record.data.get(path), held);
    let shown = |value: Option<&Value>| value.cloned().unwrap_or(Value::Null);
    let fields: Vec<Field> = link
        .shadow
        .held
        .differences()
        .filter(|(path, held)| differs(path, *held))
        .map(|(path, held)| Field { field: path.clone(), held: shown(held), canonical: shown(record.data.get(path)) })
        .collect();
    (!fields.is_empty()).then(|| row(link.native_id.clone(), fields))
}
