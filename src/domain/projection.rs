//! Between a system's native model and the canonical record: names, values, ids, references. In both directions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::change::{DeadReason, Record, Rejection};
use super::ids::{CanonicalId, EntityType, NativeId, NativeKey};
use super::link::{Link, SendOp};
use super::planted;
use super::rules::{MissingParent, Side, TypeRules};
use super::value::{FieldPath, Leaves, same, same_held};
use super::waiting::MissingReference;

/// A native record in canonical names and values; its references are still native ids.
pub fn open_native(entity: Record, key: &NativeKey, side: &Side) -> Result<Leaves, Rejection> {
    let mut entity = entity;
    if let Some(own) = entity.remove(&side.id_field)
        && !own.is_null()
        && native_id(&own).as_deref() != Some(key.native_id.as_str())
    {
        let detail = format!(
            "the entity's own id field {:?} says {own}, the envelope says {:?}; send the same id in both",
            side.id_field,
            key.native_id.as_str()
        );
        return Err(Rejection::new(DeadReason::IdMismatch, detail).at(format!("/entity/{}", side.id_field)));
    }
    let mut leaves = Leaves::open(entity);
    if !side.rename.is_empty() {
        let names: Vec<_> = side.rename.iter().map(|(canonical, native)| (native, canonical)).collect();
        leaves = renamed(leaves, &names);
    }
    for (path, pairs) in &side.values {
        if let Some(value) = leaves.get(path)
            && let Some((canonical, _)) = pairs.iter().find(|(_, native)| same(native, value))
        {
            leaves.set(path.clone(), canonical.clone());
        }
    }
    Ok(leaves)
}

fn renamed(leaves: Leaves, names: &[(&FieldPath, &FieldPath)]) -> Leaves {
    let (mut kept, mut moved) = (Leaves::new(), Vec::new());
    for (path, value) in leaves {
        match names.iter().find(|(from, _)| path.is_within(from)) {
            Some((from, to)) => {
                moved.push((FieldPath::escaped(&format!("{to}{}", path.as_str().strip_prefix(from.as_str()).unwrap_or_default())), value));
            }
            None => kept.set(path, value),
        }
    }
    // A declared name wins over a field that happens to have it.
    for (path, value) in moved {
        kept.set(path, value);
    }
    kept
}

fn native_id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One reference a native record makes.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeReference {
    /// The reference field.
    pub field: FieldPath,
    /// The record it names.
    pub key: NativeKey,
}

/// The records a native record refers to. Null refers to nothing; an array refers to each element.
pub fn native_references(leaves: &Leaves, key: &NativeKey, types: &TypeRules) -> Result<Vec<NativeReference>, Rejection> {
    let mut references = Vec::new();
    for (field, entity_type) in &types.references {
        let items = match leaves.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => items.iter().collect(),
            Some(value) => vec![value],
        };
        for item in items {
            references.push(NativeReference { field: field.clone(), key: referenced(item, field, key, entity_type)? });
        }
    }
    Ok(references)
}

fn referenced(value: &Value, field: &FieldPath, key: &NativeKey, entity_type: &EntityType) -> Result<NativeKey, Rejection> {
    let id = native_id(value).and_then(|text| NativeId::new(text).ok());
    let Some(native_id) = id else {
        let detail = format!("the reference {field} holds {value}, which cannot be an id; send the native id of a {entity_type}, or null");
        return Err(Rejection::new(DeadReason::BadReference, detail).at(format!("/entity/{field}")));
    };
    Ok(NativeKey { system: key.system.clone(), entity_type: entity_type.clone(), native_id })
}

/// Puts canonical ids where native references stood. Fields whose record is not known are taken out and returned,
/// unless the type wants them as null.
pub fn resolve_references(
    leaves: &mut Leaves,
    references: &[NativeReference],
    types: &TypeRules,
    known: impl Fn(&NativeKey) -> Option<CanonicalId>,
) -> Vec<MissingReference> {
    let mut missing = Vec::new();
    let mut by_field: BTreeMap<&FieldPath, Vec<&NativeKey>> = BTreeMap::new();
    for reference in references {
        by_field.entry(&reference.field).or_default().push(&reference.key);
    }
    for (field, keys) in by_field {
        let found: Vec<Option<CanonicalId>> = keys.iter().map(|key| known(key)).collect();
        let unknown = keys.iter().zip(&found).filter(|(_, id)| id.is_none());
        let lacks: Vec<_> = unknown.map(|(key, _)| MissingReference { field: field.clone(), key: (*key).clone() }).collect();
        if lacks.is_empty() {
            let ids: Vec<Value> = found.into_iter().flatten().map(|id| Value::from(id.to_string())).collect();
            let single = !leaves.get(field).is_some_and(Value::is_array);
            let value = if single { ids.into_iter().next().unwrap_or(Value::Null) } else { Value::Array(ids) };
            leaves.set(field.clone(), value);
        } else if types.missing_parent == MissingParent::Null {
            leaves.set(field.clone(), Value::Null);
        } else {
            missing.extend(lacks);
        }
    }
    missing
}

/// The canonical ids that the references in some canonical values point to, by field.
pub fn canonical_references<'a>(data: &'a Leaves, types: &'a TypeRules) -> impl Iterator<Item = (&'a FieldPath, CanonicalId)> {
    types.references.keys().filter_map(|field| Some((field, data.get(field)?))).flat_map(|(field, value)| {
        let items = if let Value::Array(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
        items.iter().filter_map(Value::as_str).filter_map(|text| CanonicalId::parse(text).ok()).map(move |id| (field, id))
    })
}

/// What the message to a system says at a path: what was recorded with it, whatever waits by now. The same message always has the
/// same bytes, and what it writes is known. Where none is recorded: what one would say.
fn told<'a>(record: &'a CanonicalRecord, link: &'a Link, path: &FieldPath) -> Option<&'a Value> {
    match link.newest().filter(|sent| sent.rev == link.rev && sent.op != SendOp::Delete) {
        Some(sent) => sent.values.get(&record.data, path),
        None if link.is_waiting(path) => link.shadow.held.get(&record.data, path),
        None => record.data.get(path),
    }
}

/// The canonical ids in references in which the message to a system says something else than the canonical record: what the system
/// holds, as its change waits.
pub fn own_references(record: &CanonicalRecord, link: &Link, types: &TypeRules) -> Vec<CanonicalId> {
    let mut own = Leaves::new();
    for field in types.references.keys().filter(|field| !link.is_unresolved(field)) {
        if let Some(value) = told(record, link, field).filter(|value| Some(*value) != record.data.get(field)) {
            own.set(field.clone(), value.clone());
        }
    }
    canonical_references(&own, types).map(|(_, id)| id).collect()
}

/// Why a native model can't be made yet: the target lacks these records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacks(pub Vec<CanonicalId>);

/// What a reference field of an outbound model becomes where the target lacks the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// The whole message waits.
    Hold,
    /// The field is left out.
    Omit,
    /// It refers to nothing: the record is gone.
    Null,
}

/// What one system is sent of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeModel {
    /// The model: its ids, its references, its names, its fields only.
    pub entity: Record,
    /// References that are not in it, as the system does not have the record they name.
    pub left_out: BTreeSet<FieldPath>,
}

/// The native model of one system.
///
/// A field whose change waited for a decision when the message was recorded keeps what the system holds. `delivered`: messages up to
/// it have gone out. `native_of` gives the target's id of a referenced record, `unlinked` what to do where it has none.
pub fn native_model(
    record: &CanonicalRecord,
    link: &Link,
    side: &Side,
    types: &TypeRules,
    delivered: u64,
    native_of: impl Fn(CanonicalId) -> Option<NativeId>,
    unlinked: impl Fn(&FieldPath, CanonicalId) -> Unlinked,
) -> Result<NativeModel, Lacks> {
    let mut model = Leaves::new();
    let mut left_out = BTreeSet::new();
    let mut lacks = Vec::new();
    for path in model_paths(record, link, side, delivered) {
        if link.omits.contains(&path) {
            // Recorded as not sent with the open create; that it could be by now does not matter.
            left_out.insert(path);
            continue;
        }
        let value = told(record, link, &path);
        let is_own = !same_held(value, record.data.get(&path));
        let mut value = value.cloned().unwrap_or(Value::Null);
        if is_own && types.references.contains_key(&path) {
            match own_reference(&value, &native_of, link.is_unresolved(&path)) {
                Some(native) => value = native,
                None => {
                    left_out.insert(path);
                    continue;
                }
            }
        } else if types.references.contains_key(&path) {
            match native_reference(&value, &path, &native_of, &unlinked, link.is_unresolved(&path)) {
                Ok(Some(native)) => value = native,
                Ok(None) => {
                    left_out.insert(path);
                    continue;
                }
                Err(missing) => lacks.extend(missing),
            }
        }
        if let Some(pairs) = side.values.get(&path)
            && let Some((_, native)) = pairs.iter().find(|(canonical, _)| same(canonical, &value))
        {
            value = native.clone();
        }
        model.set(path, value);
    }
    if !lacks.is_empty() {
        return Err(Lacks(lacks));
    }
    if !side.rename.is_empty() {
        let names: Vec<_> = side.rename.iter().collect();
        model = renamed(model, &names);
    }
    let mut entity = model.close();
    if let Some(native_id) = &link.native_id {
        entity.insert(side.id_field.clone(), Value::from(native_id.as_str()));
    }
    Ok(NativeModel { entity, left_out })
}

/// A reference as its system holds it, by its own ids; `None` if that cannot be said, as the system lacks the record. `unresolved`:
/// it may be an id of its own already, whatever that looks like.
fn own_reference(value: &Value, native_of: &impl Fn(CanonicalId) -> Option<NativeId>, unresolved: bool) -> Option<Value> {
    let own = |item: &Value| own_reference(item, native_of, unresolved);
    match value {
        Value::Array(items) => items.iter().map(own).collect::<Option<Vec<_>>>().map(Value::Array),
        value => match value.as_str().map(CanonicalId::parse) {
            Some(Ok(id)) => native_of(id).map(|native| Value::from(native.as_str())).or_else(|| unresolved.then(|| value.clone())),
            Some(Err(_)) | None => Some(value.clone()),
        },
    }
}

/// The fields of a system's model: the canonical ones it takes, and those that are gone although it holds them, or is on the way to.
fn model_paths(record: &CanonicalRecord, link: &Link, side: &Side, delivered: u64) -> Vec<FieldPath> {
    let mut paths: Vec<FieldPath> = record.data.iter().map(|(path, _)| path.clone()).collect();
    let gone = |path: &&FieldPath| {
        let data = &record.data;
        data.get(path).is_none() && !data.has_inside(path) && data.around(path).is_empty()
    };
    let held = link.shadow.held.differences().filter(|(_, held)| held.is_some()).map(|(path, _)| path);
    let on_its_way = link.shadow.sends.iter().flat_map(|sent| &sent.fields).filter(|_| !planted::fault("gone_while_sent_unsaid"));
    let on_its_way = on_its_way.chain(link.shadow.taken_after(delivered));
    paths.extend(held.chain(on_its_way).filter(gone).cloned().collect::<BTreeSet<_>>());
    // A field that came to be after the message was recorded is not in it: the same message always has the same bytes.
    let unsaid = |path: &FieldPath| link.newest().is_some_and(|sent| sent.unsaid.contains(path));
    paths.retain(|path| side.takes(path) && !unsaid(path));
    paths
}

fn native_reference(
    value: &Value,
    path: &FieldPath,
    native_of: &impl Fn(CanonicalId) -> Option<NativeId>,
    unlinked: &impl Fn(&FieldPath, CanonicalId) -> Unlinked,
    unresolved: bool,
) -> Result<Option<Value>, Vec<CanonicalId>> {
    let one = |value: &Value| -> Result<Option<Value>, Vec<CanonicalId>> {
        let Some(id) = value.as_str().and_then(|text| CanonicalId::parse(text).ok()) else {
            // What it holds by an id of its own that nobody knows yet is that.
            return Ok(Some(if unresolved { value.clone() } else { Value::Null }));
        };
        match (native_of(id), unlinked(path, id)) {
            (_, Unlinked::Null) => Ok(Some(Value::Null)),
            (Some(native), _) => Ok(Some(Value::from(native.as_str()))),
            (None, Unlinked::Omit) => Ok(None),
            (None, Unlinked::Hold) => Err(vec![id]),
        }
    };
    match value {
        Value::Array(items) => {
            let natives: Result<Vec<Option<Value>>, _> = items.iter().map(one).collect();
            natives.map(|items| Some(Value::Array(items.into_iter().flatten().filter(|item| !item.is_null()).collect())))
        }
        value => one(value),
    }
}

/// A field's name in a system's own model.
#[must_use]
pub fn native_name(path: &FieldPath, side: &Side) -> String {
    match side.rename.iter().find(|(canonical, _)| path.is_within(canonical)) {
        Some((canonical, native)) => format!("{native}{}", path.as_str().strip_prefix(canonical.as_str()).unwrap_or_default()),
        None => path.as_str().to_owned(),
    }
}
