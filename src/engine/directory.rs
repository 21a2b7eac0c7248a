//! Which systems take part in which types, and what is known about them. Shared by deciding and sending.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{EntityType, SystemName};
use crate::domain::rules::{Receipts, Rules};
use crate::domain::sending::Target;
use crate::ports::store::SystemFacts;

/// The declared rules together with what systems have shown of themselves.
#[derive(Debug)]
pub struct Directory {
    rules: Arc<Rules>,
    known: RwLock<Known>,
}

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
        Self { rules, known: RwLock::new(Known { facts, targets: HashMap::new() }) }
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
        let seen = known.facts.values().filter(|facts| facts.types.contains(entity_type)).map(|facts| &facts.system);
        let systems: BTreeSet<SystemName> = configured.chain(seen).cloned().collect();
        let targets = Arc::new(systems.iter().map(|system| self.describe(&known, system, entity_type)).collect::<Vec<_>>());
        known.targets.insert(entity_type.clone(), targets.clone());
        targets
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
