//! The declared rules the domain decides by, compiled from a configuration. Canonical names throughout.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::compensate::OnReject;
use super::decision::Logging;
use super::delete::{DeleteConflict, DeletePolicy};
use super::handler::shown;
use super::identity::{Claim, KeyRule};
use super::ids::{EntityType, SystemName};
use super::orphans::ParentDelete;
use super::survivorship::Rule;
use super::value::FieldPath;

/// Everything declared, for all types and systems.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether other systems are sent what was decided.
    pub push_updates: bool,
    /// Who is told: see [`NotificationMode`].
    pub notification_mode: NotificationMode,
    /// How long an unconfirmed send of an inexact system counts as not yet seen.
    pub window: Duration,
    /// After how many equal answers in a row a value is not corrected any more; `None`: never.
    pub flips_max: Option<u32>,
    /// How a record that joins an existing one is merged.
    pub first_contact: FirstContact,
    /// What becomes of systems nobody configured.
    pub unknown_systems: UnknownSystems,
    /// Which decisions are kept as rows.
    pub logging: Logging,
    /// Types that are configured.
    pub types: HashMap<EntityType, Arc<TypeRules>>,
    /// Systems that are configured.
    pub systems: HashMap<SystemName, SystemRules>,
    /// Stands for the configuration and handlers in decisions.
    pub config_hash: Arc<str>,
}

/// Which systems are pending after a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotificationMode {
    /// Every linked system except the source, on every new version.
    All,
    /// Those whose model differs from what they hold.
    #[default]
    Selective,
    /// None.
    None,
}

/// What a record that joins an existing canonical record may do to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstContact {
    /// Fill gaps; declared rules decide their fields; everything else stays.
    #[default]
    Fill,
    /// The rules decide every field, `latest` included.
    Rules,
    /// The newcomer's values win.
    Overwrite,
}

impl FirstContact {
    /// The name under which filling gaps appears in decisions and provenance, as if it were a rule.
    pub const FILL: &str = "first_contact: fill";
}

/// What becomes of systems nobody configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSystems {
    /// Taken.
    Accept,
    /// Dead letters.
    Reject,
    /// Refused as soon as any system is configured.
    #[default]
    Auto,
}

/// What is declared for one entity type.
#[derive(Clone, Debug, Default)]
pub struct TypeRules {
    /// The match keys.
    pub keys: Vec<KeyRule>,
    /// Whether a record without any key value is parked.
    pub key_required: bool,
    /// What a second native record of one system with the same key is.
    pub duplicates: Duplicates,
    /// Reference fields and the type they point to.
    pub references: BTreeMap<FieldPath, EntityType>,
    /// What an unknown parent does to an update.
    pub missing_parent: MissingParent,
    /// What a parent the target lacks does to an outbound message.
    pub missing_target: MissingTarget,
    /// Survivorship rules by field, tried in order.
    pub survivorship: BTreeMap<FieldPath, Vec<Rule>>,
    /// Arrays that merge as sets.
    pub sets: BTreeSet<FieldPath>,
    /// Fields whose values are kept out of snapshots, the console and logs.
    pub redact: BTreeSet<FieldPath>,
    /// What a system's delete means.
    pub delete_policy: DeletePolicy,
    /// What an update of a deleted record does.
    pub delete_conflict: DeleteConflict,
    /// What becomes of a record when one it refers to is deleted.
    pub on_parent_delete: ParentDelete,
}

impl TypeRules {
    /// The survivorship rules of a field: its own, else those of the nearest field it lies within.
    #[must_use]
    pub fn chain(&self, path: &FieldPath) -> &[Rule] {
        let declared = self.survivorship.iter().filter(|(field, _)| *field == path || path.is_within(field));
        declared.max_by_key(|(field, _)| field.as_str().len()).map_or(&[], |(_, chain)| chain.as_slice())
    }

    /// Whether the value of a field is kept out of what is told about a record.
    #[must_use]
    pub fn redacts(&self, path: &FieldPath) -> bool {
        self.redact.iter().any(|field| path == field || path.is_within(field))
    }

    /// A value of a field, as it may be told in a sentence.
    #[must_use]
    pub fn shown(&self, path: &FieldPath, value: &Value) -> String {
        if self.redacts(path) { "…".to_owned() } else { shown(value) }
    }

    /// A key value, as it may be told.
    #[must_use]
    pub fn told(&self, claim: &Claim) -> String {
        let key = self.keys.iter().find(|key| key.name == claim.key);
        let hidden = key.is_some_and(|key| key.fields.iter().any(|field| self.redacts(field)));
        if hidden { claim.key.to_string() } else { claim.to_string() }
    }
}

/// A system has two native records with the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// The second waits for a person.
    #[default]
    Park,
    /// They are two things: the second becomes a record of its own, and the key stays with the first.
    Separate,
}

/// Inbound: the parent of a record is not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingParent {
    /// The update waits for it.
    #[default]
    Park,
    /// The reference is taken as null.
    Null,
}

/// Outbound: the target lacks the referenced record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingTarget {
    /// The message waits until the target has it.
    #[default]
    Hold,
    /// The reference is left out.
    Omit,
}

/// What is declared for one system.
#[derive(Clone, Debug, Default)]
pub struct SystemRules {
    /// Applies to types without rules of their own; also the pattern for learned types.
    pub defaults: Arc<Side>,
    /// Types with rules of their own.
    pub types: HashMap<EntityType, Arc<Side>>,
}

/// How one system takes part in one entity type.
#[derive(Clone, Debug)]
pub struct Side {
    /// Whether it sends us this type.
    pub inbound: bool,
    /// Whether we send it this type.
    pub outbound: bool,
    /// Whether it is sent records it does not have; `None`: if the type has keys.
    pub create: Option<bool>,
    /// The only fields it is sent, if restricted.
    pub only: Option<BTreeSet<FieldPath>>,
    /// Fields it is never sent.
    pub exclude: BTreeSet<FieldPath>,
    /// Canonical name to native name.
    pub rename: BTreeMap<FieldPath, FieldPath>,
    /// Canonical value to native value, by canonical field.
    pub values: BTreeMap<FieldPath, Vec<(Value, Value)>>,
    /// How it stores values.
    pub compare: BTreeMap<FieldPath, Compare>,
    /// The field of the native model that holds its own id.
    pub id_field: String,
    /// Whether it answers what it is sent.
    pub receipts: Receipts,
    /// Whether applying a message writes all fields, or the changed ones only.
    pub writes_changed_only: bool,
    /// Whether its feed reports what it applied; `None`: not known.
    pub echo: Option<bool>,
    /// Whether a field missing from a whole record is cleared.
    pub absent_clears: bool,
    /// Whether its `occurred_at` can be believed.
    pub trust_time: bool,
    /// It is only watched: nothing is sent to it.
    pub observed: bool,
    /// What its refusal of a message means for the change that message carries.
    pub on_reject: OnReject,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            inbound: true,
            outbound: true,
            create: None,
            only: None,
            exclude: BTreeSet::new(),
            rename: BTreeMap::new(),
            values: BTreeMap::new(),
            compare: BTreeMap::new(),
            id_field: "id".to_owned(),
            receipts: Receipts::Auto,
            writes_changed_only: false,
            echo: None,
            absent_clears: false,
            trust_time: false,
            observed: false,
            on_reject: OnReject::Keep,
        }
    }
}

impl Side {
    /// Whether a field (or the object it lies in) belongs to this system's native model.
    #[must_use]
    pub fn takes(&self, path: &FieldPath) -> bool {
        let listed = |set: &BTreeSet<FieldPath>| set.contains(path) || set.iter().any(|listed| path.is_within(listed));
        self.only.as_ref().is_none_or(&listed) && !listed(&self.exclude)
    }
}

/// Whether a system answers what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receipts {
    /// On once one was seen.
    #[default]
    Auto,
    /// Always.
    Required,
    /// Never.
    None,
}

/// The form in which a system stores a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    /// White space around text does not count.
    pub trim: bool,
    /// Upper and lower case are the same.
    pub case: bool,
    /// Unicode forms are the same.
    pub nfc: bool,
    /// Numbers are rounded to this many decimals.
    pub decimals: Option<u32>,
    /// Text is cut off after this many characters.
    pub max_length: Option<usize>,
}

impl Rules {
    /// What is declared for a type; nothing, if it is a learned one.
    #[must_use]
    pub fn of_type(&self, entity_type: &EntityType) -> Arc<TypeRules> {
        self.types.get(entity_type).cloned().unwrap_or_default()
    }

    /// How a system takes part in a type.
    #[must_use]
    pub fn side(&self, system: &SystemName, entity_type: &EntityType) -> Arc<Side> {
        match self.systems.get(system) {
            Some(rules) => rules.types.get(entity_type).unwrap_or(&rules.defaults).clone(),
            None => Arc::default(),
        }
    }

    /// Whether updates of this system are taken at all.
    #[must_use]
    pub fn knows(&self, system: &SystemName) -> bool {
        match self.unknown_systems {
            UnknownSystems::Accept => true,
            UnknownSystems::Reject => self.systems.contains_key(system),
            UnknownSystems::Auto => self.systems.is_empty() || self.systems.contains_key(system),
        }
    }

    /// Whether a system is sent records of this type that it does not have.
    #[must_use]
    pub fn creates(&self, side: &Side, type_rules: &TypeRules) -> bool {
        side.outbound && side.create.unwrap_or(!type_rules.keys.is_empty())
    }
}
