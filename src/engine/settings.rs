//! What the engine runs by, compiled from a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::{self, Config};
use crate::domain::compensate::OnReject;
use crate::domain::decision::Logging;
use crate::domain::delete::{DeleteConflict, DeletePolicy};
use crate::domain::identity::{KeyRule, Normalizer};
use crate::domain::ids::EntityType;
use crate::domain::origin::Senders;
use crate::domain::orphans::ParentDelete;
use crate::domain::rules::{
    Compare, Duplicates, FirstContact, MissingParent, MissingTarget, NotificationMode, Receipts, Rules, Side, SystemRules, TypeRules,
    UnknownSystems,
};
use crate::domain::survivorship::Rule;
use crate::domain::value::FieldPath;
use crate::telemetry::Spans;
use crate::wire::Limits;

/// Numbers and limits the engine runs by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many deletes may come at once.
    pub delete_brake: super::delete_brake::Limit,
    /// What the domain decides by.
    pub rules: Arc<Rules>,
    /// Who may publish for whom.
    pub senders: Arc<Senders>,
    /// Whether decisions are told to whoever listens.
    pub events: bool,
    /// Updates decided at once at most.
    pub batch_size: usize,
    /// How long a batch waits to become full while another one is being committed.
    pub batch_timeout: Duration,
    /// How long a handler may take.
    pub handler_timeout: Duration,
    /// What a handler that takes longer is taken to have said; `None`: it is tried again.
    pub handler_timeout_verdict: Option<TimeoutVerdict>,
    /// Tries before a failing update becomes a dead letter.
    pub max_attempts: u32,
    /// Wait before the second try.
    pub retry_initial: Duration,
    /// Factor from try to try.
    pub retry_factor: f64,
    /// When a review ends by itself, and how; `None`: it never does.
    pub review_ends: Option<ReviewEnds>,
    /// Creates of one type that one system is sent at once.
    pub create_brake: super::brake::Limit,
    /// How long an unknown record waits while it may be a create of ours coming back.
    pub create_settle: Duration,
    /// Whether decisions are told as spans, so that what follows from them names them.
    pub spans: bool,
    /// How long a message may be on its way without an answer before it counts as timed out.
    pub answer_timeout: Duration,
    /// How long what is over is kept.
    pub keep: super::sweep::Keep,
    /// Bytes for the cache from native id to canonical id.
    pub id_cache_bytes: u64,
    /// Bytes for the cache of records.
    pub record_cache_bytes: u64,
    /// Limits of inbound messages.
    pub limits: Limits,
}

/// How a review ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewEnds {
    /// So long after it began.
    pub after: Duration,
    /// What was proposed is accepted; else it is skipped.
    pub accepts: bool,
}

/// What a handler that took too long is taken to have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutVerdict {
    /// Accept.
    Accept,
    /// Skip.
    Skip,
    /// Review.
    Review,
}

impl Settings {
    /// The wait before try number `attempt + 1`.
    #[must_use]
    pub fn backoff(&self, attempt: u32) -> Duration {
        let factor = self.retry_factor.max(1.0).powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(self.retry_initial.as_secs_f64() * factor)
            .unwrap_or(Duration::from_secs(3600))
            .min(Duration::from_secs(3600))
    }

    /// Compiles a configuration.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        let orchestration = &config.orchestration;
        let retry = &orchestration.retry_policy;
        Self {
            rules: Arc::new(rules(config)),
            senders: Arc::new(senders(config)),
            events: orchestration.events,
            batch_size: orchestration.batch_size.get(),
            batch_timeout: orchestration.batch_timeout,
            handler_timeout: orchestration.handler_timeout.after,
            handler_timeout_verdict: timeout_verdict(orchestration.handler_timeout.verdict),
            max_attempts: retry.max_attempts.get(),
            retry_initial: retry.initial,
            retry_factor: retry.backoff_multiplier,
            review_ends: review_ends(orchestration.review_timeout),
            create_brake: super::brake::Limit {
                count: usize::try_from(orchestration.create_brake.count).unwrap_or(usize::MAX),
                window: orchestration.create_brake.window,
            },
            delete_brake: super::delete_brake::Limit {
                count: usize::try_from(orchestration.delete_brake.count).unwrap_or(usize::MAX),
                percent: orchestration.delete_brake.percent,
                window: orchestration.delete_brake.window,
            },
            create_settle: orchestration.create_settle,
            spans: Spans::are_wanted(),
            answer_timeout: orchestration.answer_timeout,
            keep: super::sweep::Keep {
                unchanged: orchestration.retention.unchanged.duration(),
                echo: orchestration.retention.echo.duration(),
                others: orchestration.retention.default.duration(),
                markers: orchestration.dedup_retention.duration(),
                deleted: orchestration.tombstone_retention.duration(),
            },
            id_cache_bytes: orchestration.id_cache.bytes(),
            record_cache_bytes: orchestration.record_cache.bytes(),
            limits: config.limits.into(),
        }
    }

    /// Bytes of one record, about: what many messages made of it together.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        self.limits.message_bytes.saturating_mul(2)
    }

    /// The same with merge handlers of this version: decisions carry a hash of both.
    #[must_use]
    pub fn with_handlers(mut self, version: &str) -> Self {
        let rules = Arc::make_mut(&mut self.rules);
        let both = format!("{}\n{version}", rules.config_hash);
        rules.config_hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(both.as_bytes())).into();
        self
    }
}

impl From<config::Limits> for Limits {
    fn from(limits: config::Limits) -> Self {
        let size = |size: config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            message_bytes: size(limits.message),
            depth: count(limits.nesting),
            fields: count(limits.fields),
            field_name_bytes: size(limits.field_name),
            native_id_bytes: size(limits.native_id),
            id_bytes: size(limits.id),
            key_value_bytes: size(limits.key_value),
        }
    }
}

fn senders(config: &Config) -> Senders {
    let users = config.systems.iter().filter_map(|(name, system)| Some((name.clone(), system.amqp_user.clone()?)));
    Senders { users: users.collect(), required: config.broker.require_user_id }
}

fn review_ends(timeout: config::ReviewTimeout) -> Option<ReviewEnds> {
    let accepts = match timeout.verdict {
        config::ReviewTimeoutVerdict::Accept => true,
        config::ReviewTimeoutVerdict::Skip => false,
    };
    timeout.after.duration().map(|after| ReviewEnds { after, accepts })
}

fn timeout_verdict(verdict: config::HandlerTimeoutVerdict) -> Option<TimeoutVerdict> {
    match verdict {
        config::HandlerTimeoutVerdict::Retry => None,
        config::HandlerTimeoutVerdict::Accept => Some(TimeoutVerdict::Accept),
        config::HandlerTimeoutVerdict::Skip => Some(TimeoutVerdict::Skip),
        config::HandlerTimeoutVerdict::Review => Some(TimeoutVerdict::Review),
    }
}

fn rules(config: &Config) -> Rules {
    let orchestration = &config.orchestration;
    Rules {
        push_updates: orchestration.push_updates,
        notification_mode: match orchestration.notification_mode {
            config::NotificationMode::All => NotificationMode::All,
            config::NotificationMode::Selective => NotificationMode::Selective,
            config::NotificationMode::None => NotificationMode::None,
        },
        window: orchestration.circular_update_prevention.window,
        flips_max: {
            let prevention = &orchestration.circular_update_prevention;
            prevention.enabled.then(|| prevention.flips_max.get())
        },
        first_contact: match orchestration.first_contact {
            config::FirstContact::Fill => FirstContact::Fill,
            config::FirstContact::Rules => FirstContact::Rules,
            config::FirstContact::Overwrite => FirstContact::Overwrite,
        },
        unknown_systems: if config.takes_unknown_systems() { UnknownSystems::Accept } else { UnknownSystems::Reject },
        logging: match orchestration.decision_logging {
            config::DecisionLogging::All => Logging::All,
            config::DecisionLogging::Changes => Logging::Changes,
            config::DecisionLogging::None => Logging::None,
        },
        types: config.entities.iter().map(|(name, entity)| (name.clone(), Arc::new(type_rules(entity)))).collect(),
        systems: config.systems.iter().map(|(name, system)| (name.clone(), system_rules(system, &config.entities))).collect(),
        config_hash: config.hash().into(),
    }
}

fn path(path: &config::FieldPath) -> FieldPath {
    FieldPath::escaped(path.as_str())
}

fn paths<'a>(list: impl IntoIterator<Item = &'a config::FieldPath>) -> BTreeSet<FieldPath> {
    list.into_iter().map(path).collect()
}

fn type_rules(entity: &config::Entity) -> TypeRules {
    TypeRules {
        keys: entity.keys.iter().map(key_rule).collect(),
        key_required: entity.key_required,
        duplicates: match entity.duplicates {
            // "link" is refused when the configuration is read: what a system is sent of a record goes to one native id.
            config::Duplicates::Park | config::Duplicates::Link => Duplicates::Park,
            config::Duplicates::Separate => Duplicates::Separate,
        },
        references: entity.references.iter().map(|(field, target)| (path(field), target.clone())).collect(),
        missing_parent: match entity.on_missing_reference.inbound {
            config::InboundMissing::Park => MissingParent::Park,
            config::InboundMissing::Null => MissingParent::Null,
        },
        missing_target: match entity.on_missing_reference.outbound {
            config::OutboundMissing::Hold => MissingTarget::Hold,
            config::OutboundMissing::Omit => MissingTarget::Omit,
        },
        survivorship: entity.survivorship.iter().map(|(field, chain)| (path(field), chain.iter().map(rule).collect())).collect(),
        sets: paths(&entity.sets),
        redact: paths(&entity.redact),
        delete_policy: match entity.delete.policy {
            config::DeletePolicy::Propagate => DeletePolicy::Propagate,
            config::DeletePolicy::Unlink => DeletePolicy::Unlink,
            config::DeletePolicy::Ignore => DeletePolicy::Ignore,
            config::DeletePolicy::Review => DeletePolicy::Review,
        },
        delete_conflict: match entity.delete.conflict {
            config::DeleteConflict::DeleteWins => DeleteConflict::DeleteWins,
            config::DeleteConflict::UpdateRevives => DeleteConflict::UpdateRevives,
        },
        on_parent_delete: match entity.on_parent_delete {
            config::OnParentDelete::Keep => ParentDelete::Keep,
            config::OnParentDelete::Clear => ParentDelete::Clear,
            config::OnParentDelete::Cascade => ParentDelete::Cascade,
            config::OnParentDelete::Review => ParentDelete::Review,
        },
    }
}

fn key_rule(key: &config::MatchKey) -> KeyRule {
    let step = |step: &config::Normalize| match step {
        config::Normalize::Trim => Normalizer::Trim,
        config::Normalize::Lowercase => Normalizer::Lowercase,
        config::Normalize::Digits => Normalizer::Digits,
        config::Normalize::CollapseSpaces => Normalizer::CollapseSpaces,
        config::Normalize::Nfc => Normalizer::Nfc,
    };
    KeyRule::new(key.fields.iter().map(path).collect(), key.normalize.iter().map(step).collect(), &key.ignore)
}

fn rule(rule: &config::Rule) -> Rule {
    match rule {
        config::Rule::Latest => Rule::Latest,
        config::Rule::SourcePriority { sources } => Rule::SourcePriority(sources.clone()),
        config::Rule::SourceOfTruth { system, fallback } => {
            Rule::SourceOfTruth { system: system.clone(), fallback: fallback.iter().map(self::rule).collect() }
        }
        config::Rule::First => Rule::First,
        config::Rule::Min => Rule::Min,
        config::Rule::Max => Rule::Max,
        config::Rule::Longest => Rule::Longest,
        config::Rule::Shortest => Rule::Shortest,
        config::Rule::NonEmpty => Rule::NonEmpty,
        config::Rule::Union => Rule::Union,
        config::Rule::SumDelta => Rule::SumDelta,
    }
}

fn system_rules(system: &config::System, entities: &BTreeMap<EntityType, config::Entity>) -> SystemRules {
    let is_key =
        |entity: &config::Entity, field: &FieldPath| entity.keys.iter().any(|key| key.fields.iter().any(|key| path(key) == *field));
    let of_type = |name: &EntityType| {
        let side = side(system, system.entities.get(name));
        without_foreign_ids(side, |field| entities.get(name).is_some_and(|entity| is_key(entity, field)))
    };
    let types = system.entities.keys().map(|name| (name.clone(), Arc::new(of_type(name)))).collect();
    let defaults = without_foreign_ids(side(system, None), |field| entities.values().any(|entity| is_key(entity, field)));
    SystemRules { defaults: Arc::new(defaults), types }
}

/// Where a system has the id of its record, no field of others belongs; but one by which it is to find the record.
fn without_foreign_ids(mut side: Side, is_key: impl Fn(&FieldPath) -> bool) -> Side {
    let id = FieldPath::name(&side.id_field);
    if !side.rename.contains_key(&id) && !is_key(&id) {
        side.exclude.insert(id);
    }
    side
}

fn side(system: &config::System, entity: Option<&config::SystemEntity>) -> Side {
    let general = Side {
        id_field: system.id_field.clone(),
        receipts: match system.receipts {
            config::Receipts::Auto => Receipts::Auto,
            config::Receipts::Required => Receipts::Required,
            config::Receipts::None => Receipts::None,
        },
        writes_changed_only: system.writes == config::Writes::Changed,
        echo: match system.echo {
            config::Switch::Auto => None,
            config::Switch::On => Some(true),
            config::Switch::Off => Some(false),
        },
        absent_clears: system.absent == config::Absent::Clear,
        on_reject: entity.map_or(OnReject::Keep, |entity| match entity.on_reject {
            config::OnReject::Keep => OnReject::Keep,
            config::OnReject::Review => OnReject::Review,
            config::OnReject::Compensate => OnReject::Compensate,
        }),
        trust_time: system.trust_time,
        observed: system.mode == config::Mode::Observe,
        ..Side::default()
    };
    let Some(entity) = entity else { return general };
    let (only, exclude) = match &entity.fields {
        config::Fields::All => (None, BTreeSet::new()),
        config::Fields::Only(fields) => (Some(paths(fields)), BTreeSet::new()),
        config::Fields::Exclude(fields) => (None, paths(fields)),
    };
    Side {
        inbound: entity.direction.takes_in(),
        outbound: entity.direction.sends_out(),
        create: match entity.create {
            config::Switch::Auto => None,
            config::Switch::On => Some(true),
            config::Switch::Off => Some(false),
        },
        only,
        exclude,
        rename: entity.rename.iter().map(|(canonical, native)| (path(canonical), path(native))).collect(),
        values: entity.values.iter().map(|(field, pairs)| (path(field), value_pairs(pairs))).collect(),
        compare: entity.compare.iter().map(|(field, compare)| (path(field), self::compare(compare))).collect(),
        ..general
    }
}

fn value_pairs(pairs: &BTreeMap<String, config::Scalar>) -> Vec<(Value, Value)> {
    let value = |scalar: &config::Scalar| match scalar {
        config::Scalar::Text(text) => Value::from(text.as_str()),
        config::Scalar::Integer(number) => Value::from(*number),
        config::Scalar::Float(number) => Value::from(*number),
        config::Scalar::Boolean(flag) => Value::from(*flag),
    };
    pairs.iter().map(|(canonical, native)| (Value::from(canonical.as_str()), value(native))).collect()
}

fn compare(compare: &config::Compare) -> Compare {
    Compare {
        trim: compare.trim,
        case: compare.case,
        nfc: compare.nfc,
        decimals: compare.decimals,
        max_length: compare.max_length.map(|max| max.get() as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_configuration_are_those_messages_are_read_under() {
        assert_eq!(Limits::from(config::Limits::default()), Limits::default());
        assert_eq!(Limits::from(config::Limits::LARGEST), Limits::LARGEST);
    }
}
