//! What becomes of the records that refer to one that is deleted (§1.10).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::delete::entomb;
use super::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use super::link::{Link, LinkState, Shadow};
use super::projection::canonical_references;
use super::provenance::{ByKind, DecidedBy, Source};
use super::rules::{MissingTarget, Rules, TypeRules};
use super::time::Timestamp;
use super::value::FieldPath;

/// What becomes of a record when one it refers to is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentDelete {
    /// It stays as it is; its reference is sent as null.
    #[default]
    Keep,
    /// Its reference becomes null.
    Clear,
    /// It is deleted, too.
    Cascade,
    /// A person says whether the other one is deleted at all.
    Review,
}

impl ParentDelete {
    /// The name, as in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Clear => "clear",
            Self::Cascade => "cascade",
            Self::Review => "review",
        }
    }

    /// Who decides where this policy does.
    #[must_use]
    pub fn decides(self) -> DecidedBy {
        DecidedBy::named(ByKind::Rule, format!("on_parent_delete: {}", self.as_str()))
    }
}

impl Rules {
    /// The types with records that may refer to those of a type, and what becomes of them when such a one is deleted.
    #[must_use]
    pub fn children_of(&self, parent: &EntityType) -> BTreeMap<&EntityType, ParentDelete> {
        let refers = |types: &TypeRules| types.references.values().any(|target| target == parent);
        self.types.iter().filter(|(_, types)| refers(types)).map(|(name, types)| (name, types.on_parent_delete)).collect()
    }
}

/// The records a live one refers to.
#[must_use]
pub fn refers_to(record: &CanonicalRecord, types: &TypeRules) -> BTreeSet<CanonicalId> {
    if !record.is_live() {
        return BTreeSet::new();
    }
    canonical_references(&record.data, types).map(|(_, id)| id).collect()
}

/// The fields by which a record refers to one of these.
#[must_use]
pub fn fields_to(record: &CanonicalRecord, types: &TypeRules, gone: &BTreeSet<CanonicalId>) -> Vec<FieldPath> {
    let fields: BTreeSet<&FieldPath> =
        canonical_references(&record.data, types).filter(|(_, id)| gone.contains(id)).map(|(field, _)| field).collect();
    fields.into_iter().cloned().collect()
}

/// What is left of a reference without those to these records. A list keeps its other references.
fn without(value: Option<&Value>, gone: &BTreeSet<CanonicalId>) -> Value {
    let names = |value: &Value| value.as_str().and_then(|text| CanonicalId::parse(text).ok()).is_some_and(|id| gone.contains(&id));
    match value {
        Some(Value::Array(items)) => Value::Array(items.iter().filter(|item| !names(item)).cloned().collect()),
        Some(other) if !names(other) => other.clone(),
        Some(_) | None => Value::Null,
    }
}

/// A system that has a record again after it was without it, or has it under another native id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reunion {
    /// The system.
    pub system: SystemName,
    /// The id there.
    pub native_id: NativeId,
    /// For which time.
    pub count: u32,
    /// A type of records that refer to it.
    pub children: EntityType,
}

/// Which systems have a record that they `were` without, if there may be records that refer to it. They are noted in its links.
pub fn reunions(was: &CanonicalRecord, record: &mut CanonicalRecord, rules: &Rules) -> Vec<Reunion> {
    if !record.is_live() || record.links.iter().all(|link| !is_new_there(was, link)) {
        return Vec::new();
    }
    let all: BTreeSet<EntityType> = rules.children_of(&record.entity_type).into_keys().cloned().collect();
    let mut found = Vec::new();
    for link in record.links.iter_mut().filter(|link| is_new_there(was, link)) {
        let may_lack = |children: &&EntityType| lacks_it(was, link, children, rules);
        let types: BTreeSet<EntityType> = all.iter().filter(may_lack).cloned().collect();
        let Some(native_id) = link.native_id.clone().filter(|_| !types.is_empty()) else { continue };
        link.reunions += 1;
        link.reuniting.clone_from(&types);
        let (system, count) = (link.system.clone(), link.reunions);
        found.extend(types.iter().cloned().map(|children| Reunion {
            system: system.clone(),
            native_id: native_id.clone(),
            count,
            children,
        }));
    }
    found
}

/// Whether a system has a record by this link that it was without, or had under another native id.
#[must_use]
pub fn is_there_again(was: &CanonicalRecord, link: &Link) -> bool {
    let Some(native_id) = link.native_id.as_ref().filter(|_| link.state == LinkState::Linked) else { return false };
    let let_go = |other: &Link| other.system == link.system && other.state == LinkState::Detached;
    match was.native_id(&link.system) {
        // What is deleted is away for everybody.
        Some(had) if had == native_id => was.tombstone.is_some(),
        Some(had) => !link.aliases.contains(had),
        None => was.links.iter().any(let_go),
    }
}

/// Whether a system has a record by this link that it did not have, or had under another native id.
fn is_new_there(was: &CanonicalRecord, link: &Link) -> bool {
    link.state == LinkState::Linked && was.native_id(&link.system).is_none() || is_there_again(was, link)
}

/// Whether a system may have been told of records of a type without their references to a record it was without: those it let go
/// of, and those it never had where the type's records are not held back until it has them.
#[must_use]
pub fn lacks_it(was: &CanonicalRecord, link: &Link, children: &EntityType, rules: &Rules) -> bool {
    // Who is not configured for the type of the parent is not sent it before it has said something of that type.
    let configured = || rules.systems.get(&link.system).is_some_and(|system| system.types.contains_key(&was.entity_type));
    let takes = || configured() && rules.side(&link.system, &was.entity_type).outbound;
    let left_out = || rules.of_type(children).missing_target == MissingTarget::Omit || !takes();
    is_there_again(was, link) || is_new_there(was, link) && left_out()
}

/// Ends a reunion: all records of the type were looked at.
pub fn reunited(record: &mut CanonicalRecord, reunion: &Reunion) {
    let Some(index) = record.link_of(&reunion.system, &reunion.native_id) else { return };
    let link = &mut record.links[index];
    if link.reunions == reunion.count {
        link.reuniting.remove(&reunion.children);
    }
}

/// A system was told of a record without its references to these, and so does not hold them. What it refused then is not what it
/// would be sent now.
pub fn told_without(record: &mut CanonicalRecord, system: &SystemName, fields: &[FieldPath], gone: &BTreeSet<CanonicalId>) {
    if fields.is_empty() {
        return;
    }
    let CanonicalRecord { links, data, .. } = record;
    for link in links.iter_mut().filter(|link| link.system == *system && link.state != LinkState::Detached) {
        link.rejected = None;
        let Shadow { held, sends, .. } = &mut link.shadow;
        for values in std::iter::once(held).chain(sends.iter_mut().map(|sent| &mut sent.values)) {
            for field in fields {
                let left = without(values.get(data, field), gone);
                values.set(data, field.clone(), Some(left));
            }
        }
    }
}

/// Takes references out of a record: a new version.
pub fn clear(record: &mut CanonicalRecord, fields: &[FieldPath], gone: &BTreeSet<CanonicalId>, update: &UpdateId, now: Timestamp) {
    let mut data = record.data.clone();
    for field in fields {
        let left = without(data.get(field), gone);
        data.set(field.clone(), left);
    }
    record.version += 1;
    record.updated_at = now;
    record.replace_data(data, fields);
    let (system, by) = (update.system.clone(), ParentDelete::Clear.decides());
    let source = Source { system, update: update.clone(), version: record.version, at: now, occurred_at: None, by };
    record.provenance.set(fields.iter().cloned(), &source);
}

/// Deletes a record with the one it belonged to. Nobody but Syncline has deleted it, so every system that has it is told.
pub fn bury_with_parent(record: &mut CanonicalRecord, update: &UpdateId, now: Timestamp) {
    record.version += 1;
    record.updated_at = now;
    entomb(record, update.system.clone(), update, now);
}
