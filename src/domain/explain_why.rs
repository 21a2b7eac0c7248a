//! Why a field has the value it has, and what every system holds of it, in sentences. Said from what is stored. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canonical::CanonicalRecord;
use super::handler::shown;
use super::ids::SystemName;
use super::link::{Link, LinkState, SendOp, Sent};
use super::provenance::{ByKind, DecidedBy, Source};
use super::rules::FirstContact;
use super::value::{FieldPath, same_held};

/// How far the newest message to a system has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing is owed.
    Settled,
    /// It is still to be sent.
    Pending,
    /// It is still to be sent, and the message of this rev before it is not answered.
    Behind(u64),
    /// It was sent and not answered yet.
    Unconfirmed,
    /// It was sent, and the time for an answer is over.
    Unanswered,
    /// It could not be delivered and is tried again.
    Failing,
}

/// The story of one field: its value, who said so, who decided, and what each system holds instead.
#[must_use]
pub fn field(record: &CanonicalRecord, path: &FieldPath, deliveries: &BTreeMap<SystemName, Delivery>) -> String {
    let value = record.data.get(path);
    let mut sentences = vec![match value {
        Some(value) => format!("{path} is {}.", shown(value)),
        None => format!("{path} is not part of the record."),
    }];
    if let Some(source) = record.provenance.of(path) {
        sentences.push(said(source));
    }
    let mut agree: Vec<&SystemName> = Vec::new();
    for link in &record.links {
        let delivery = deliveries.get(&link.system).copied().unwrap_or(Delivery::Settled);
        let held = link.shadow.held.get(&record.data, path);
        if link.state == LinkState::Linked && same_held(held, value) && !pending(link, path) {
            agree.push(&link.system);
        } else {
            sentences.push(holds(record, link, path, held, delivery));
        }
    }
    agree.retain(|system| record.provenance.of(path).is_none_or(|source| source.system != **system));
    match agree.as_slice() {
        [] => {}
        [one] => sentences.push(format!("{one} holds the same.")),
        many => sentences.push(format!("{} hold the same.", super::explain::list(many.iter()))),
    }
    sentences.join(" ")
}

fn said(source: &Source) -> String {
    let Source { system, update, version, at, by, .. } = source;
    format!("{system} said so on {at}, in update {update} (version {version}), {}.", decided(by))
}

fn decided(by: &DecidedBy) -> String {
    let named = |what: &str| match &by.name {
        Some(name) => format!("decided by {what} {name}"),
        None => format!("decided by a {what}"),
    };
    match by.kind {
        ByKind::Default => "and nothing spoke against it".to_owned(),
        ByKind::Rule if by.name.as_deref() == Some(FirstContact::FILL) => {
            "when its record joined this one, which had no value there".to_owned()
        }
        ByKind::Rule => named("rule"),
        ByKind::Handler => named("handler"),
        ByKind::Person => by.name.as_ref().map_or_else(|| "approved by a person".to_owned(), |name| format!("approved by {name}")),
        ByKind::Timeout => match &by.name {
            Some(name) => format!("because the handler {name} did not answer in time"),
            None => "because nobody decided in time".to_owned(),
        },
        ByKind::System => "decided by Syncline itself".to_owned(),
    }
}

/// Whether a message that has not been confirmed writes this field.
fn pending(link: &Link, path: &FieldPath) -> bool {
    link.shadow.sends.iter().any(|sent| sent.fields.contains(path))
}

fn holds(record: &CanonicalRecord, link: &Link, path: &FieldPath, held: Option<&Value>, delivery: Delivery) -> String {
    let system = &link.system;
    let value = record.data.get(path);
    let head = match (link.state, held) {
        (LinkState::Reserved, _) => format!("{system} does not have the record yet"),
        (LinkState::Detached, _) if link.spare => format!("{system} made it beside the one it had, and is sent nothing about it"),
        (LinkState::Detached, _) => format!("{system} let go of the record and is sent nothing"),
        (LinkState::Linked, None) => format!("{system} holds no value"),
        (LinkState::Linked, Some(held)) if same_held(Some(held), value) => format!("{system} holds the same"),
        (LinkState::Linked, Some(held)) => format!("{system} holds {} instead", shown(held)),
    };
    if let Some((_, stored)) = super::breaker::frozen(link).find(|(frozen, _)| *frozen == path) {
        return format!("{system} keeps {} instead, however often it is told; it is not corrected any more.", shown(&stored.stored));
    }
    let newest = link.shadow.sends.iter().rev().find(|sent| sent.fields.contains(path) || sent.op == SendOp::Create);
    match newest {
        Some(sent) => format!("{head}; {}.", sending(record, link, path, sent, delivery)),
        None if link.is_waiting(path) => format!("{head}; its change waits for a decision."),
        None if link.rejected.is_some() => format!("{head}; it refused the correction."),
        None => format!("{head}."),
    }
}

fn sending(record: &CanonicalRecord, link: &Link, path: &FieldPath, sent: &Sent, delivery: Delivery) -> String {
    let what = match sent.values.get(&record.data, path) {
        Some(value) => format!("rev {} with {}", sent.rev, shown(value)),
        None => format!("rev {} without it", sent.rev),
    };
    if sent.rev <= link.shadow.answered_rev {
        return format!("{what} was sent {} and applied there", sent.at);
    }
    match delivery {
        Delivery::Pending => format!("{what} is still to be sent"),
        Delivery::Behind(before) => format!("{what} is to follow rev {before}, which was sent and is not answered yet"),
        Delivery::Unanswered => format!("{what} was sent {}, and it should have been answered by now", sent.at),
        Delivery::Failing => format!("{what} could not be delivered yet and is tried again"),
        Delivery::Unconfirmed | Delivery::Settled => format!("{what} was sent {}, not confirmed yet", sent.at),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::domain::flat::Paths;
    use crate::domain::ids::{CanonicalId, EntityType, NativeId, UpdateId};
    use crate::domain::overlay::Overlay;
    use crate::domain::time::Timestamp;

    fn aruba(by: DecidedBy) -> CanonicalRecord {
        let id = CanonicalId::parse("0192f0c4-7c1e-7aaa-8000-000000000001").unwrap();
        let at = Timestamp::parse("2026-01-31T09:30:00Z").unwrap();
        let mut record = CanonicalRecord::new(id, EntityType::new("country").unwrap(), at);
        let name = FieldPath::name("name");
        record.version = 3;
        record.data.set(name.clone(), json!("Aruba"));
        let iso = SystemName::new("iso").unwrap();
        let update = UpdateId::try_from("iso:u1".to_owned()).unwrap();
        let source = Source { system: iso.clone(), update, version: 3, at, occurred_at: None, by };
        record.provenance.set([name.clone()], &source);
        let mut held = Overlay::new();
        held.set(&record.data, name.clone(), Some(json!("Aruba Island")));
        let mut geonames = Link::new(SystemName::new("geonames").unwrap(), Some(NativeId::new("g1").unwrap()), held);
        geonames.rev = 2;
        geonames.shadow.sends.push(Sent {
            rev: 2,
            at,
            version: 3,
            op: SendOp::Update,
            fields: std::iter::once(name).collect(),
            whole: true,
            values: Overlay::new(),
            unsaid: Paths::new(),
            fresh: false,
            unannounced: false,
            trace: None,
            takes_back: BTreeSet::new(),
            gives_back: 0,
        });
        record.links = vec![Link::new(iso, Some(NativeId::new("AW").unwrap()), Overlay::new()), geonames];
        record
    }

    fn why(record: &CanonicalRecord, delivery: Delivery) -> String {
        let deliveries = BTreeMap::from([(SystemName::new("geonames").unwrap(), delivery)]);
        field(record, &FieldPath::name("name"), &deliveries)
    }

    #[test]
    fn a_rule_decided_and_the_other_system_has_not_answered() {
        let record = aruba(DecidedBy::named(ByKind::Rule, "source_priority"));
        insta::assert_snapshot!(why(&record, Delivery::Unconfirmed), @"name is 'Aruba'. iso said so on 2026-01-31T09:30:00Z, in update iso:u1 (version 3), decided by rule source_priority. geonames holds 'Aruba Island' instead; rev 2 with 'Aruba' was sent 2026-01-31T09:30:00Z, not confirmed yet.");
    }

    #[test]
    fn it_waits_for_the_answer_to_an_older_message() {
        let record = aruba(DecidedBy::DEFAULT);
        insta::assert_snapshot!(why(&record, Delivery::Behind(1)), @"name is 'Aruba'. iso said so on 2026-01-31T09:30:00Z, in update iso:u1 (version 3), and nothing spoke against it. geonames holds 'Aruba Island' instead; rev 2 with 'Aruba' is to follow rev 1, which was sent and is not answered yet.");
    }

    #[test]
    fn nothing_is_on_its_way() {
        let mut record = aruba(DecidedBy::DEFAULT);
        record.links[1].shadow.sends.clear();
        insta::assert_snapshot!(why(&record, Delivery::Settled), @"name is 'Aruba'. iso said so on 2026-01-31T09:30:00Z, in update iso:u1 (version 3), and nothing spoke against it. geonames holds 'Aruba Island' instead.");
    }

    #[test]
    fn everybody_agrees() {
        let mut record = aruba(DecidedBy::DEFAULT);
        record.links[1].shadow = crate::domain::link::Shadow::default();
        insta::assert_snapshot!(why(&record, Delivery::Settled), @"name is 'Aruba'. iso said so on 2026-01-31T09:30:00Z, in update iso:u1 (version 3), and nothing spoke against it. geonames holds the same.");
    }
}
