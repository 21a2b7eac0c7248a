//! Which systems take part in which types, and what is known about them. Shared by deciding and sending.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::Value;

use crate::domain::ids::{EntityType, SystemName};
use crate::domain::rules::{MissingTarget, Receipts, Rules, TypeRules};
use crate::domain::sending::Target;
use crate::domain::value::{FieldPath, Leaves};
use crate::ports::store::SystemFacts;

/// The declared rules together with what systems have shown of themselves.
#[derive(Debug)]
pub struct Directory {
    rules: Arc<Rules>,
    known: RwLock<Known>,
    /// Fields that look like references and are not declared as such, of which was warned.
    warned: Mutex<HashSet<(EntityType, FieldPath)>>,
}

/// Fields warned of at most: names of fields may be data.
const WARNED_MAX: usize = 1_000;

#[derive(Debug, Default)]
struct Known {
    facts: HashMap<SystemName, SystemFacts>,
    targets: HashMap<EntityType, Arc<Vec<Target>>>,
}

/// What one update shows about its system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// It sends this type.
    pub entity_type: Option<&'a EntityType>,
    /// It says what it had applied.
    pub base: bool,
    /// It answers what it is sent.
    pub receipt: bool,
}

impl Directory {
    /// A directory that starts from what was stored.
    #[must_use]
    pub fn new(rules: Arc<Rules>, facts: Vec<SystemFacts>) -> Self {
        let facts = facts.into_iter().map(|facts| (facts.system.clone(), facts)).collect();
        Self { rules, known: RwLock::new(Known { facts, targets: HashMap::new() }), warned: Mutex::default() }
    }

    /// Notes what an update shows; returns the system's facts if that was news.
    pub fn learn(&self, system: &SystemName, shown: Shown<'_>) -> Option<SystemFacts> {
        let covers = |facts: &SystemFacts| {
            shown.entity_type.is_none_or(|entity_type| facts.types.contains(entity_type))
                && (facts.base_seen || !shown.base)
                && (facts.receipts_seen || !shown.receipt)
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.facts.get(system).is_some_and(covers) || !self.rules.knows(system) {
            return None;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let facts = known.facts.entry(system.clone()).or_insert_with(|| SystemFacts::new(system.clone()));
        facts.types.extend(shown.entity_type.cloned());
        facts.base_seen |= shown.base;
        facts.receipts_seen |= shown.receipt;
        let facts = facts.clone();
        known.targets.clear();
        Some(facts)
    }

    /// Warns once of each field that looks like another record's id and is not declared as a reference: every system would be
    /// sent the id of the one that said it. Returns those it has just warned of.
    pub fn warn_of_ids(&self, entity_type: &EntityType, types: &TypeRules, leaves: &Leaves) -> Vec<FieldPath> {
        if !self.rules.push_updates {
            return Vec::new();
        }
        let is_key = |path: &FieldPath| types.keys.iter().any(|key| key.fields.contains(path));
        let looks = |path: &FieldPath, value: &Value| {
            let holds = matches!(value, Value::String(text) if !text.is_empty()) || value.is_number();
            holds && path.as_str().ends_with("_id") && !types.references.contains_key(path) && !is_key(path)
        };
        let mut new = Vec::new();
        for (path, _) in leaves.iter().filter(|(path, value)| looks(path, value)) {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.len() < WARNED_MAX && warned.insert((entity_type.clone(), path.clone())) {
                tracing::warn!(entity_type = %entity_type, field = %path, "field looks like a reference and is not declared as one");
                new.push(path.clone());
            }
        }
        new
    }

    /// How a system takes part in a type.
    #[must_use]
    pub fn target(&self, system: &SystemName, entity_type: &EntityType) -> Target {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.describe(&known, system, entity_type)
    }

    fn describe(&self, known: &Known, system: &SystemName, entity_type: &EntityType) -> Target {
        let side = self.rules.side(system, entity_type);
        let facts = known.facts.get(system);
        let receipts = match side.receipts {
            Receipts::Required => true,
            Receipts::None => false,
            Receipts::Auto => facts.is_some_and(|facts| facts.receipts_seen),
        };
        Target { system: system.clone(), side, receipts, says_base: facts.is_some_and(|facts| facts.base_seen) }
    }

    /// Every system that takes part in a type: configured for it, or seen with it.
    #[must_use]
    pub fn targets(&self, entity_type: &EntityType) -> Arc<Vec<Target>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(targets) = known.targets.get(entity_type) {
            return targets.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let configured = self.rules.systems.iter().filter(|(_, rules)| rules.types.contains_key(entity_type)).map(|(name, _)| name);
        // Who is not known (any more) is not told anything either: nobody says what of it and by which names.
        let takes_part = |facts: &&SystemFacts| facts.types.contains(entity_type) && self.rules.knows(&facts.system);
        let seen = known.facts.values().filter(takes_part).map(|facts| &facts.system);
        let systems: BTreeSet<SystemName> = configured.chain(seen).cloned().collect();
        let targets = Arc::new(systems.iter().map(|system| self.describe(&known, system, entity_type)).collect::<Vec<_>>());
        known.targets.insert(entity_type.clone(), targets.clone());
        targets
    }

    /// Whether a system is sent a record without a reference to one it lacks, instead of not before it has that.
    #[must_use]
    pub fn omits(&self, types: &TypeRules, field: &FieldPath, system: &SystemName) -> bool {
        let takes = |entity_type| self.targets(entity_type).iter().any(|target| target.system == *system && target.side.outbound);
        types.missing_target == MissingTarget::Omit || !types.references.get(field).is_some_and(takes)
    }

    /// Everything known about systems.
    #[must_use]
    pub fn facts(&self) -> Vec<SystemFacts> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut facts: Vec<SystemFacts> = known.facts.values().cloned().collect();
        facts.sort_by(|a, b| a.system.cmp(&b.system));
        facts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_reference_is_warned_of_once() {
        let sensor = EntityType::new("sensor").unwrap();
        let mut types = TypeRules::default();
        types.references.insert(FieldPath::name("device_id"), EntityType::new("device").unwrap());
        let entity = json!({"device_id": "d1", "site_id": "s1", "empty_id": "", "none_id": null, "floor_id": 3, "width": 4});
        let leaves = Leaves::open(entity.as_object().cloned().unwrap());
        let warned = |push_updates: bool, again: bool| {
            let directory = Directory::new(Arc::new(Rules { push_updates, ..Rules::default() }), Vec::new());
            let first = directory.warn_of_ids(&sensor, &types, &leaves);
            if again { directory.warn_of_ids(&sensor, &types, &leaves) } else { first }
        };
        assert_eq!(warned(true, false), [FieldPath::name("floor_id"), FieldPath::name("site_id")]);
        assert_eq!(warned(true, true), []);
        assert_eq!(warned(false, false), [], "nobody is sent it");
    }
}
