//! The configuration: passive, strict, every key documented beside its default.
//!
//! One struct per subject. Reading reports every problem at once, with line, key and remedy; unknown keys are errors, and so
//! are keys whose feature this version does not have. [`Config::default`] is the zero configuration, which works.

mod address;
mod broker;
mod entity;
mod http;
mod limits;
mod load;
mod not_built;
mod orchestration;
mod problem;
mod reader;
mod store;
mod suggest;
mod survivorship;
mod system;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod units;
mod validate;
mod values;

use std::collections::BTreeMap;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::ids::{EntityType, SystemName};

pub use address::refuse_address;
pub use broker::{Broker, BrokerKind};
pub use entity::{
    Delete, DeleteConflict, DeletePolicy, Duplicates, Entity, InboundMissing, MatchKey, Normalize, OnMissingReference, OnParentDelete,
    OutboundMissing,
};
pub use http::{Http, HttpAuth, HttpTls};
pub use limits::Limits;
pub use load::environment;
pub use orchestration::{
    CircularUpdatePrevention, CreateBrake, DecisionLogging, DeleteBrake, FirstContact, HandlerTimeout, HandlerTimeoutVerdict,
    NotificationMode, Orchestration, Retention, RetryPolicy, ReviewTimeout, ReviewTimeoutVerdict,
};
pub use problem::{ConfigErrors, Problem};
pub use store::{Store, StoreKind};
pub use survivorship::{Chain, Rule};
pub use system::{Absent, Compare, Direction, Fields, Mode, OnReject, Receipts, System, SystemEntity, Writes};
pub use tokens::{Role, Token, Tokens, checked_name, open_to_all};
pub use units::{ByteSize, Expiry, duration};
pub use values::{FieldPath, InvalidFieldPath, Scalar, Secret, Switch};

reader::choice! {
    /// Whether a system that is not configured may take part.
    UnknownSystems {
        /// It may.
        Accept = "accept",
        /// It may not: its updates become dead letters.
        Reject = "reject",
        /// It may as long as no system is configured.
        #[default]
        Auto = "auto",
    }
}

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Systems without a section of their own. Default: `auto`.
    pub unknown_systems: UnknownSystems,
    /// `[broker]`.
    pub broker: Broker,
    /// `[store]`.
    pub store: Store,
    /// `[http]`.
    pub http: Http,
    /// `[limits]`.
    pub limits: Limits,
    /// `[orchestration]`.
    pub orchestration: Orchestration,
    /// `[entities.TYPE]`. Default: none; types are learned.
    pub entities: BTreeMap<EntityType, Entity>,
    /// `[systems.NAME]`. Default: none; systems are learned.
    pub systems: BTreeMap<SystemName, System>,
    /// What is not wrong but worth a thought, in line order. Filled by reading.
    pub warnings: Vec<Problem>,
}

/// What decisions depend on; the source of [`Config::hash`].
#[derive(Serialize)]
struct Semantic<'a> {
    takes_unknown_systems: bool,
    orchestration: Orchestration,
    entities: &'a BTreeMap<EntityType, Entity>,
    systems: &'a BTreeMap<SystemName, System>,
    /// Only where they are not the usual ones: the hash is that of versions that had no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

impl Config {
    /// Whether a system without a section of its own may take part.
    #[must_use]
    pub fn takes_unknown_systems(&self) -> bool {
        match self.unknown_systems {
            UnknownSystems::Accept => true,
            UnknownSystems::Reject => false,
            UnknownSystems::Auto => self.systems.is_empty(),
        }
    }

    /// Whether `system` is sent records of `entity_type` that it does not have: as configured, else if the type has keys.
    #[must_use]
    pub fn creates(&self, system: &SystemName, entity_type: &EntityType) -> bool {
        let keyed = self.entities.get(entity_type).is_some_and(|entity| !entity.keys.is_empty());
        let configured = self.systems.get(system).and_then(|system| system.entities.get(entity_type));
        configured.map_or(Switch::Auto, |entity| entity.create).or(keyed)
    }

    /// Sixteen hexadecimal digits that change when what is decided may change; kept with each decision.
    ///
    /// Equal for a default left out and a default written out, and whatever the batch and cache sizes, which decide nothing.
    #[must_use]
    pub fn hash(&self) -> String {
        let usual = Orchestration::default();
        let semantic = Semantic {
            takes_unknown_systems: self.takes_unknown_systems(),
            orchestration: Orchestration {
                batch_size: usual.batch_size,
                batch_timeout: usual.batch_timeout,
                id_cache: usual.id_cache,
                record_cache: usual.record_cache,
                ..self.orchestration.clone()
            },
            entities: &self.entities,
            systems: &self.systems,
            limits: Some(self.limits).filter(|limits| *limits != Limits::default()),
        };
        // By way of a value, whose keys are sorted: the order of our fields in the source must not matter.
        let json = serde_json::to_value(&semantic).expect("the configuration has text keys and finite numbers only");
        format!("{:016x}", xxh3_64(json.to_string().as_bytes()))
    }
}
