//! Checks across keys, after each key was read on its own.

use std::collections::BTreeSet;

use super::address::refuse_address;
use super::broker::{Broker, BrokerKind};
use super::problem::{KeyPath, Report};
use super::store::StoreKind;
use super::suggest;
use super::survivorship::Rule;
use super::system::{Fields, Receipts, System, SystemEntity};
use super::tree::Node;
use super::units::Expiry;
use super::values::{FieldPath, Scalar, Secret, Switch};
use super::{Config, Entity, OnParentDelete, UnknownSystems};
use crate::domain::ids::{EntityType, SystemName};

/// Longest prefix of RabbitMQ's objects, in bytes.
const PREFIX_MAX: usize = 200;

/// Reports what is wrong or doubtful about the configuration as a whole.
pub(super) fn validate(config: &Config, root: &Node, report: &Report<'_>) {
    let checks = Checks { config, root, report };
    checks.backends();
    checks.http();
    checks.retention();
    for (entity_type, entity) in &config.entities {
        checks.entity(entity_type, entity);
    }
    for (name, system) in &config.systems {
        if name.is_own() {
            checks.error(&KeyPath::of(&["systems", SystemName::OWN]), "is the name of the broker's own decisions; give the system another");
        }
        for (entity_type, entity) in &system.entities {
            checks.system_entity(name, system, entity_type, entity);
        }
    }
}

struct Checks<'a> {
    config: &'a Config,
    root: &'a Node,
    report: &'a Report<'a>,
}

impl Checks<'_> {
    fn error(&self, path: &KeyPath, message: impl Into<String>) {
        self.report.error(&self.root.place_of(path), path, message);
    }

    /// An error that adds nothing where the key has been refused already.
    fn first_error(&self, path: &KeyPath, message: &str) {
        if !self.report.has_error_at(path) {
            self.error(path, message);
        }
    }

    fn warning(&self, path: &KeyPath, message: impl Into<String>) {
        self.report.warning(&self.root.place_of(path), path, message);
    }

    fn backends(&self) {
        let (broker, store) = (&self.config.broker, &self.config.store);
        let rabbitmq = broker.kind == BrokerKind::Rabbitmq;
        let prefix = broker.prefix.as_str();
        if rabbitmq && (prefix.is_empty() || prefix.len() > PREFIX_MAX || prefix.starts_with("amq.") || prefix.contains(char::is_control)) {
            let message = format!("must be 1 to {PREFIX_MAX} bytes of text that does not begin with \"amq.\"");
            self.error(&KeyPath::of(&["broker", "prefix"]), message);
        }
        if !rabbitmq {
            self.only_rabbitmq(broker);
        }
        let schemes = ("amqp", "amqps", broker.allow_plain_text);
        self.address("broker", rabbitmq, (&broker.url, broker.url_file.is_some()), schemes);
        let mongodb = store.kind == StoreKind::Mongodb;
        let schemes = ("mongodb", "mongodb+srv", store.allow_plain_text);
        self.address("store", mongodb, (&store.url, store.url_file.is_some()), schemes);
        if !mongodb && store.allow_plain_text {
            self.error(&KeyPath::of(&["store", "allow_plain_text"]), "means nothing to the embedded one; set \"kind\" or leave it out");
        }
    }

    /// Keys that change nothing without RabbitMQ must not look as if they did.
    fn only_rabbitmq(&self, broker: &Broker) {
        let usual = Broker::default();
        let changed = [
            ("prefix", broker.prefix != usual.prefix),
            ("partitions", broker.partitions != usual.partitions),
            ("prefetch", broker.prefetch != usual.prefetch),
            ("require_user_id", broker.require_user_id != usual.require_user_id),
            ("allow_plain_text", broker.allow_plain_text),
        ];
        for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
            let path = KeyPath::of(&["broker", key]);
            self.error(&path, "means nothing to the embedded one; set \"kind\" or leave it out");
        }
    }

    /// A backend on the network has exactly one address, and one that does not leak.
    fn address(&self, section: &str, on_network: bool, (url, file): (&Option<Secret>, bool), schemes: (&str, &str, bool)) {
        let (plain, secure, plain_text) = schemes;
        let path = KeyPath::of(&[section]);
        match (on_network, url.is_some(), file) {
            (true, true, true) => self.first_error(&path.key("url_file"), "stands beside \"url\"; keep one of them"),
            (true, false, false) => self.first_error(&path.key("kind"), "needs \"url\" or \"url_file\""),
            (false, true, _) => self.first_error(&path.key("url"), "means nothing to the embedded one; set \"kind\" or leave it out"),
            (false, false, true) => {
                self.first_error(&path.key("url_file"), "means nothing to the embedded one; set \"kind\" or leave it out");
            }
            (true, true, false) | (true, false, true) | (false, false, false) => {}
        }
        if let Some(refusal) = url.as_ref().and_then(|url| refuse_address(url.reveal(), plain, secure, plain_text)) {
            self.error(&path.key("url"), refusal);
        }
    }

    /// A duplicate of what a row is kept for must not be taken for new.
    fn retention(&self) {
        let orchestration = &self.config.orchestration;
        let Some(markers) = orchestration.dedup_retention.duration() else { return };
        let rows = &orchestration.retention;
        let longer = |rows: Expiry| rows.duration().is_none_or(|rows| rows > markers);
        if [rows.default, rows.unchanged, rows.echo].into_iter().any(longer) {
            let message = "is shorter than \"retention\": a decision would still be shown while its message, delivered again, counts as new; \
                           make it at least as long";
            self.error(&KeyPath::of(&["orchestration", "dedup_retention"]), message);
        }
    }

    fn http(&self) {
        let http = &self.config.http;
        let path = |key| KeyPath::of(&["http", key]);
        // A section that was written but could not be read has its own problem.
        let none = |key: &str, is_none: bool| is_none && !self.report.has_error_at(&KeyPath::of(&["http", key]));
        let (no_auth, no_tls) = (none("auth", http.auth.is_none()), none("tls", http.tls.is_none()));
        for (index, host) in http.allowed_hosts.iter().enumerate() {
            let fits = !host.contains(|c: char| c == '/' || c == '@' || c == ':' || c.is_whitespace() || c.is_control());
            if !fits {
                let message =
                    format!("{host:?} is no name of a machine; write one without scheme and port, such as \"syncline.example.com\"");
                self.error(&path("allowed_hosts").index(index), message);
            }
        }
        if no_auth && !http.allowed_hosts.is_empty() {
            self.error(&path("allowed_hosts"), "whoever comes by another name than localhost has to prove who they are; add [http.auth]");
        }
        if http.listen.ip().is_loopback() {
            return;
        }
        let listen = http.listen;
        if no_auth {
            let message = format!("{listen} can be reached from other machines and needs [http.auth]; listen on 127.0.0.1");
            self.error(&path("listen"), message);
        } else if no_tls && !http.allow_plain_text {
            let message = format!(
                "{listen} can be reached from other machines, and tokens would leave this one without encryption; add [http.tls], or \
                 allow_plain_text = true where something before it encrypts"
            );
            self.error(&path("listen"), message);
        }
        if http.allowed_hosts.is_empty() {
            self.warning(
                &path("listen"),
                "requests that name this machine by anything but an address are refused; list its names in allowed_hosts",
            );
        }
    }

    fn entity(&self, entity_type: &EntityType, entity: &Entity) {
        let path = KeyPath::of(&["entities", entity_type.as_str()]);
        for (field, target) in &entity.references {
            self.known_type(&path.key("references").key(field.as_str()), target);
        }
        if entity.on_parent_delete != OnParentDelete::default() && entity.references.is_empty() {
            self.warning(
                &path.key("on_parent_delete"),
                "the type has no references, so nothing it belongs to can be deleted; add \"references\"",
            );
        }
        if entity.key_required && entity.keys.is_empty() {
            self.warning(&path.key("key_required"), "the type has no keys, so every new record will be parked; add \"keys\"");
        }
        for (field, chain) in &entity.survivorship {
            let path = path.key("survivorship").key(field.as_str());
            for rule in chain {
                self.sources(&path, rule);
            }
            // What stands after a rule that always decides is not what its author believes.
            let ends = |rule: &Rule| matches!(rule, Rule::Latest | Rule::SourceOfTruth { .. });
            if let Some(rule) = chain.iter().rev().skip(1).find(|rule| ends(rule)) {
                self.warning(&path, format!("{} always decides; the rules after it never will", rule.name()));
            }
        }
    }

    fn known_type(&self, path: &KeyPath, entity_type: &EntityType) {
        let known = &self.config.entities;
        if !known.contains_key(entity_type) {
            let hint = suggest::did_you_mean(entity_type.as_str(), known.keys().map(EntityType::as_str));
            self.warning(path, format!("type \"{entity_type}\" is not configured under [entities]{hint}"));
        }
    }

    fn sources(&self, path: &KeyPath, rule: &Rule) {
        match rule {
            Rule::SourcePriority { sources } => {
                // One that is like no other name is no slip: it may come to be configured.
                sources.iter().for_each(|source| self.known_system(path, source, false));
            }
            Rule::SourceOfTruth { system, fallback } => {
                self.known_system(path, system, true);
                for rule in fallback {
                    self.sources(path, rule);
                }
            }
            Rule::Latest
            | Rule::First
            | Rule::Min
            | Rule::Max
            | Rule::Longest
            | Rule::Shortest
            | Rule::NonEmpty
            | Rule::Union
            | Rule::SumDelta => {}
        }
    }

    /// `needed`: without it, the rule never comes to anything.
    fn known_system(&self, path: &KeyPath, system: &SystemName, needed: bool) {
        let known = &self.config.systems;
        if known.is_empty() || known.contains_key(system) {
            return;
        }
        let hint = suggest::did_you_mean(system.as_str(), known.keys().map(SystemName::as_str));
        let message = format!("system \"{system}\" is not configured under [systems]{hint}");
        // Where unknown systems are welcome, one may still come.
        if self.config.unknown_systems == UnknownSystems::Accept || !needed && hint.is_empty() {
            self.warning(path, message);
        } else {
            self.error(path, message);
        }
    }

    fn system_entity(&self, name: &SystemName, system: &System, entity_type: &EntityType, entity: &SystemEntity) {
        let path = KeyPath::of(&["systems", name.as_str(), "entities", entity_type.as_str()]);
        let configured = self.config.entities.get(entity_type);
        if !self.config.entities.is_empty() {
            self.known_type(&path, entity_type);
        }
        let keyed = configured.is_some_and(|entity| !entity.keys.is_empty());
        if entity.create == Switch::On && !keyed && system.receipts == Receipts::None {
            self.warning(
                &path.key("create"),
                format!("type \"{entity_type}\" has no keys and \"{name}\" sends no receipts: a create sent twice makes two records"),
            );
        }
        if entity.create == Switch::Auto && !keyed && entity.direction.sends_out() && self.config.orchestration.push_updates {
            self.warning(
                &path,
                format!("type \"{entity_type}\" has no keys, so \"{name}\" is sent no creates of it; give it keys, or say create = true or false"),
            );
        }
        self.rename(&path.key("rename"), system, entity, configured);
        self.values(&path.key("values"), entity);
        self.references_out(&path, system, entity, configured);
    }

    fn rename(&self, path: &KeyPath, system: &System, entity: &SystemEntity, configured: Option<&Entity>) {
        let renames: Vec<(&FieldPath, &FieldPath)> = entity.rename.iter().collect();
        for (index, (canonical, native)) in renames.iter().enumerate() {
            let path = path.key(canonical.as_str());
            if let Some((other, _)) = renames[..index].iter().find(|(_, taken)| taken.holds(native) || native.holds(taken)) {
                self.error(&path, format!("\"{native}\" is already the native name of \"{other}\"; give each field its own"));
            }
            if native.as_str() == system.id_field {
                self.error(
                    &path,
                    format!("\"{native}\" is the native id's field (id_field), which is taken out of the record; use another name"),
                );
            }
            let collides = |field: &&FieldPath| !entity.rename.contains_key(*field) && (field.holds(native) || native.holds(field));
            if let Some(field) = named_fields(entity, configured).into_iter().find(collides) {
                self.error(&path, format!("the native name \"{native}\" collides with the field \"{field}\"; rename that field, too"));
            }
        }
    }

    fn values(&self, path: &KeyPath, entity: &SystemEntity) {
        for (field, values) in &entity.values {
            let path = path.key(field.as_str());
            let pairs: Vec<(&String, &Scalar)> = values.iter().collect();
            for (index, (canonical, native)) in pairs.iter().enumerate() {
                if let Some((other, _)) = pairs[..index].iter().find(|(_, taken)| taken.same(native)) {
                    self.error(
                        &path.key(canonical),
                        format!("{native} already stands for \"{other}\"; values must be one to one, to be read back"),
                    );
                }
            }
        }
    }

    /// A system that is sent a type but never what it refers to gets it without the reference.
    fn references_out(&self, path: &KeyPath, system: &System, entity: &SystemEntity, configured: Option<&Entity>) {
        let Some(configured) = configured.filter(|_| entity.direction.sends_out()) else { return };
        for (field, target) in &configured.references {
            if system.entities.get(target).is_some_and(|target| !target.direction.sends_out()) {
                self.warning(path, format!("is not sent type \"{target}\", so \"{field}\" will be left out of what it is sent"));
            }
        }
    }
}

/// Canonical fields the configuration names for the type, except those only on the left of `rename`.
fn named_fields<'a>(entity: &'a SystemEntity, configured: Option<&'a Entity>) -> BTreeSet<&'a FieldPath> {
    let mut fields: BTreeSet<&FieldPath> = entity.values.keys().chain(entity.compare.keys()).collect();
    if let Fields::Only(only) = &entity.fields {
        fields.extend(only);
    }
    if let Some(configured) = configured {
        fields.extend(configured.keys.iter().flat_map(|key| &key.fields));
        fields.extend(configured.references.keys().chain(configured.survivorship.keys()).chain(&configured.sets).chain(&configured.redact));
    }
    if let Fields::Exclude(excluded) = &entity.fields {
        fields.retain(|field| !excluded.contains(*field));
    }
    fields
}
