//! Sends what is due: always the current model, parents before children, recorded in the shadow long before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::brake::Brake;
use super::caches::SharedCaches;
use super::directory::Directory;
use super::input::Resend;
use super::settings::Settings;
use super::unsent::is_late;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Record;
use crate::domain::ids::{CanonicalId, NativeId, SystemName};
use crate::domain::link::{Link, LinkState, SendOp, Sent};
use crate::domain::planted;
use crate::domain::projection::{Unlinked, canonical_references, native_model, native_name, own_references};
use crate::domain::rules::TypeRules;
use crate::domain::sending::Target;
use crate::domain::time::Timestamp;
use crate::domain::value::FieldPath;
use crate::ports::broker::{Broker, OutboundMessage};
use crate::ports::error::PortError;
use crate::ports::store::{Owed, Published, Store};
use crate::telemetry::{Fault, Metrics, Span};
use crate::wire;

/// (record, system): what at most one message is about at a time.
pub type Pair = (CanonicalId, SystemName);

/// From so many messages on they are noted as sent at once.
const MARKED: usize = 1_000;

/// Publishes due messages. Its memory is only a shortcut: everything is found again by a scan.
#[derive(Debug)]
pub struct Relay {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    settings: Arc<Settings>,
    directory: Arc<Directory>,
    epoch: u64,
    /// Which records a held message waits for.
    held: HashMap<Pair, BTreeSet<CanonicalId>>,
    /// Which held messages wait for a record.
    held_on: HashMap<Pair, BTreeSet<CanonicalId>>,
    /// What the broker has and is not noted as sent yet.
    unmarked: Vec<Published>,
    /// Whether what needs no answer is noted as sent later, together: by [`mark_sent`](Self::mark_sent), for which somebody else then
    /// has to care.
    pub marks_later: bool,
    /// Keeps messages back. Without a limit unless one is set: what is not sent at once needs no brake.
    pub brake: Brake,
    /// Committed records, remembered, if they are. What is remembered counts only where it is of the very rev that is owed.
    pub caches: Option<SharedCaches>,
    /// Where is counted what is sent, if anywhere.
    pub metrics: Option<Arc<Metrics>>,
}

/// What one round of sending came to.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Messages the broker has.
    pub published: usize,
    /// Messages that wait for a parent.
    pub held: usize,
    /// Messages the broker did not take; they stay due.
    pub failed: Vec<Pair>,
    /// What has to be decided before more can be sent, or noted as sent.
    pub again: Vec<(CanonicalId, Resend)>,
}

impl Relay {
    /// A relay between these ports.
    pub async fn new(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        settings: Arc<Settings>,
        directory: Arc<Directory>,
    ) -> Result<Self, PortError> {
        let epoch = store.epoch().await?;
        let (held, held_on, brake, unmarked) = (HashMap::new(), HashMap::new(), Brake::default(), Vec::new());
        Ok(Self {
            store,
            broker,
            settings,
            directory,
            epoch,
            held,
            held_on,
            unmarked,
            marks_later: false,
            brake,
            caches: None,
            metrics: None,
        })
    }

    /// Everything that is due, in order, a page at a time, starting after a position.
    pub async fn scan(&mut self, after: u64, limit: usize) -> Result<(Vec<Pair>, Option<u64>), PortError> {
        self.mark_sent().await?;
        let rows = self.store.owed(after, limit).await?;
        let next = if rows.len() < limit { None } else { rows.last().map(|(position, _)| *position) };
        Ok((rows.into_iter().map(|(_, owed)| (owed.record, owed.system)).collect(), next))
    }

    /// Whether everything that was sent is noted as sent.
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.unmarked.is_empty()
    }

    /// Notes what was sent. Until then it would be sent once more after a crash, which does no harm. So it is if this fails: it stays
    /// due, and what it is answered meanwhile must not meet a note that comes later still.
    pub async fn mark_sent(&mut self) -> Result<(), PortError> {
        let sent = std::mem::take(&mut self.unmarked);
        if sent.is_empty() || planted::fault("never_marked_sent") { Ok(()) } else { self.store.published(&sent).await }
    }

    /// The messages held for a record that a system now has.
    pub fn unhold(&mut self, record: CanonicalId, system: &SystemName) -> Vec<Pair> {
        let Some(children) = self.held_on.remove(&(record, system.clone())) else { return Vec::new() };
        let mut free = Vec::new();
        for child in children {
            let pair = (child, system.clone());
            if self.held.get_mut(&pair).is_some_and(|on| on.remove(&record) && on.is_empty()) {
                self.held.remove(&pair);
            }
            free.push(pair);
        }
        free
    }

    /// A message is not held any more, or not for the same records.
    fn let_go(&mut self, pair: &Pair) {
        for parent in self.held.remove(pair).into_iter().flatten() {
            let on = (parent, pair.1.clone());
            if self.held_on.get_mut(&on).is_some_and(|children| children.remove(&pair.0) && children.is_empty()) {
                self.held_on.remove(&on);
            }
        }
    }

    /// Sends what these pairs are owed, as far as it may go now.
    pub async fn send(&mut self, pairs: Vec<Pair>, now: Timestamp) -> Result<Round, PortError> {
        if !self.settings.rules.push_updates {
            // It was switched off after something was recorded: that stays due, for when it is on again.
            return Ok(Round::default());
        }
        let mut seen = HashSet::new();
        let pairs: Vec<Pair> = pairs.into_iter().filter(|pair| seen.insert(pair.clone())).collect();
        if self.unmarked.iter().any(|sent| seen.contains(&(sent.record, sent.system.clone()))) {
            self.mark_sent().await?;
        }
        let mut owed = self.store.owed_of(&pairs).await?;
        if !self.held.is_empty() {
            // Another orchestrator may have sent what was held here, too.
            let known: HashSet<(CanonicalId, &SystemName)> = owed.iter().map(|row| (row.record, &row.system)).collect();
            let gone: Vec<&Pair> = pairs.iter().filter(|(record, system)| !known.contains(&(*record, system))).collect();
            gone.into_iter().for_each(|pair| self.let_go(pair));
        }
        if owed.is_empty() {
            return Ok(Round::default());
        }
        self.brake.begin(self.store.holds().await?);
        owed.retain(|row| !self.brake.is_paused(&row.system));
        // What is on its way and not overtaken only waits for its answer.
        owed.retain(|row| row.published == 0 || row.rev > row.published);
        let may_go = |owed: &Owed| owed.published == 0 && owed.retry_at.is_none_or(|at| at <= now);
        let records = self.load_owed(&owed).await?;
        let mut due: Vec<Owed> = Vec::new();
        for row in owed {
            let Some(record) = records.get(&row.record) else { continue };
            let target = self.directory.target(&row.system, &record.entity_type);
            // Who has no section any more is not told what was due before.
            if target.side.observed || !self.settings.rules.knows(&row.system) {
                continue;
            }
            // With receipts one message is out at a time; without, whatever is newer than the last one goes.
            if may_go(&row) || !target.receipts && row.rev > row.published && row.retry_at.is_none_or(|at| at <= now) {
                due.push(row);
            }
        }
        self.publish(due, records, now).await
    }

    /// The records of rows. Only what is committed may be sent, which is all the caches ever have.
    async fn load_owed(&self, rows: &[Owed]) -> Result<HashMap<CanonicalId, Arc<CanonicalRecord>>, PortError> {
        let (mut records, mut unknown) = (HashMap::new(), BTreeSet::new());
        for row in rows {
            let known = self.caches.as_ref().and_then(|caches| caches.record(row.record)).map(|versioned| versioned.record);
            let current = |record: &CanonicalRecord| record.link_with(&row.system).is_some_and(|index| record.links[index].rev == row.rev);
            match known.filter(|record| current(record)) {
                Some(record) => drop(records.insert(row.record, record)),
                None => drop(unknown.insert(row.record)),
            }
        }
        records.extend(self.load(unknown.into_iter()).await?);
        Ok(records)
    }

    async fn load(&self, ids: impl Iterator<Item = CanonicalId>) -> Result<HashMap<CanonicalId, Arc<CanonicalRecord>>, PortError> {
        let ids: Vec<CanonicalId> = ids.collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let records = self.store.records(&ids).await?;
        Ok(records.into_iter().map(|versioned| (versioned.record.id, versioned.record)).collect())
    }

    async fn publish(
        &mut self,
        due: Vec<Owed>,
        mut records: HashMap<CanonicalId, Arc<CanonicalRecord>>,
        now: Timestamp,
    ) -> Result<Round, PortError> {
        let mut round = Round::default();
        let mut wanted: BTreeSet<CanonicalId> = BTreeSet::new();
        for row in &due {
            let Some(record) = records.get(&row.record) else { continue };
            let types = self.settings.rules.of_type(&record.entity_type);
            let links = record.links.iter().filter(|link| link.system == row.system);
            let held = links.flat_map(|link| own_references(record, link, &types));
            let shown = canonical_references(&record.data, &types).map(|(_, id)| id);
            wanted.extend(shown.chain(held).filter(|id| !records.contains_key(id)));
        }
        records.extend(self.load(wanted.into_iter()).await?);
        let into: Vec<CanonicalId> = records.values().filter_map(|record| record.merged_into).collect();
        records.extend(self.load(into.into_iter().filter(|id| !records.contains_key(id)).collect::<Vec<_>>().into_iter()).await?);
        let (mut messages, mut handed, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        let answer_by = now.plus(self.settings.answer_timeout);
        for row in due {
            self.let_go(&(row.record, row.system.clone()));
            match self.message(&row, &records, &mut round, now) {
                Made::Message(Ready { message, awaits_receipt, recorded, ages_from }) => {
                    let published = done(&row, message.rev, false, awaits_receipt.then_some(answer_by));
                    handed.push(Handed { published, recorded, ages_from, after: row.delivered });
                    messages.push(message);
                }
                Made::Nothing(rev) => settled.push(done(&row, rev, true, None)),
                Made::Unsaid(rev) => {
                    let nothing = done(&row, rev, true, None);
                    round.again.push((row.record, Resend::Unsaid { nothing, after: row.delivered }));
                }
                Made::Held => round.held += 1,
            }
        }
        let spans = self.spans(&messages, &handed, now);
        let started = Instant::now();
        let publish = async { if messages.is_empty() { Vec::new() } else { self.broker.publish(messages).await } };
        // Side by side: what was looked at before, such as a pause, must not be long ago when the messages go.
        let (outcomes, kept) = tokio::join!(publish, self.keep_pulled());
        let (mut confirmed, window) = (settled, self.settings.rules.window);
        for ((Handed { published, recorded, ages_from, after }, span), outcome) in handed.into_iter().zip(spans).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    round.published += 1;
                    let at = now.plus(started.elapsed());
                    self.metrics.iter().for_each(|metrics| metrics.outbound_took(at.since(recorded)));
                    if ages_from.is_some_and(|from| is_late(from, at, window)) {
                        round.again.push((published.record, Resend::WentOut { message: published, after, at }));
                    } else {
                        confirmed.push(published);
                    }
                    self.tell(span, started.elapsed());
                }
                Err(error) => {
                    self.metrics.iter().for_each(|metrics| metrics.fault(Fault::Publish));
                    tracing::warn!(system = %published.system, error = %error, "publish failed; it stays due");
                    round.failed.push((published.record, published.system));
                }
            }
        }
        // What awaits an answer is noted at once: one message is out at a time.
        let at_once = !self.marks_later || confirmed.iter().any(|sent| sent.awaits_receipt);
        self.unmarked.append(&mut confirmed);
        if at_once || self.unmarked.len() >= MARKED {
            self.mark_sent().await?;
        }
        kept.map(|()| round)
    }

    /// Keeps the brakes that were pulled.
    async fn keep_pulled(&self) -> Result<(), PortError> {
        for pulled in &self.brake.pulled {
            tracing::warn!(hold = %pulled.hold, "too many creates at once; the rest waits for a person");
            self.store.put_hold(pulled).await?;
        }
        Ok(())
    }

    /// What is told of messages that belong to a trace.
    fn spans(&self, messages: &[OutboundMessage], handed: &[Handed], now: Timestamp) -> Vec<Option<Span>> {
        let told = self.metrics.as_ref().is_some_and(|metrics| metrics.spans().is_some());
        let span = |(message, handed): (&OutboundMessage, &Handed)| {
            let parent = message.trace.filter(|_| told)?;
            Some(Span {
                own: parent.child(&message.id),
                parent,
                name: "send",
                inbound: false,
                start: handed.recorded,
                end: now,
                attributes: vec![
                    ("syncline.message", message.id.clone()),
                    ("syncline.system", message.system.to_string()),
                    ("syncline.type", message.entity_type.to_string()),
                ],
            })
        };
        messages.iter().zip(handed).map(span).collect()
    }

    fn tell(&self, span: Option<Span>, took: Duration) {
        let spans = self.metrics.as_ref().and_then(|metrics| metrics.spans());
        if let (Some(spans), Some(span)) = (spans, span) {
            spans.tell(Span { end: span.end.plus(took), ..span });
        }
    }

    fn message(&mut self, row: &Owed, records: &HashMap<CanonicalId, Arc<CanonicalRecord>>, round: &mut Round, now: Timestamp) -> Made {
        let Some(record) = records.get(&row.record) else { return Made::Nothing(row.rev) };
        let Some(link) = record.link_with(&row.system).map(|index| &record.links[index]) else { return Made::Nothing(row.rev) };
        let types = self.settings.rules.of_type(&record.entity_type);
        let target = self.directory.target(&row.system, &record.entity_type);
        let Some(newest) = link.newest().filter(|sent| sent.rev == link.rev) else {
            // Confirmed meanwhile by what the system reported. What it left out of that it was not sent yet.
            let unsaid = link.is_untold_after(row.delivered, |path| target.side.takes(path));
            let rev = row.rev.max(link.rev);
            return if unsaid { Made::Unsaid(rev) } else { Made::Nothing(rev) };
        };
        let meant = |id: CanonicalId| records.get(&id).and_then(|record| record.merged_into).unwrap_or(id);
        let native_of = |id: CanonicalId| -> Option<NativeId> { records.get(&meant(id))?.native_id(&row.system).cloned() };
        let gone = |id: CanonicalId| records.get(&meant(id)).is_some_and(|parent| is_gone(parent, &row.system));
        let unlinked = |field: &FieldPath, id: CanonicalId| {
            if gone(id) { Unlinked::Null } else { self.unlinked(field, &types, &row.system, link) }
        };
        if newest.op == SendOp::Delete {
            let message = self.outbound(row, record, link, newest, Record::new(), Vec::new());
            return Made::Message(Ready::of(message, newest, &target, link, row));
        }
        let model = match native_model(record, link, &target.side, &types, row.delivered, native_of, unlinked) {
            Ok(model) => model,
            Err(lacks) => {
                self.hold(record, link, &row.system, &lacks.0, &types, round);
                return Made::Held;
            }
        };
        // What failed was counted when it was sent first.
        if newest.op == SendOp::Create && row.attempts == 0 && !self.brake.admits(&row.system, &record.entity_type, newest.at, now) {
            return Made::Held;
        }
        let sends = link.shadow.sends.iter().filter(|sent| sent.rev > row.delivered);
        let changed = sends.flat_map(|sent| &sent.fields).chain(link.shadow.taken_after(row.delivered));
        let changed = changed.filter(|path| !model.left_out.contains(*path));
        let changed: BTreeSet<String> = changed.map(|path| native_name(path, &target.side)).collect();
        let message = self.outbound(row, record, link, newest, model.entity, changed.into_iter().collect());
        Made::Message(Ready::of(message, newest, &target, link, row))
    }

    fn outbound(
        &self,
        row: &Owed,
        record: &CanonicalRecord,
        link: &Link,
        sent: &Sent,
        entity: Record,
        changed: Vec<String>,
    ) -> OutboundMessage {
        let outbound = wire::outbound::message(record, link, sent, self.epoch, entity, changed);
        OutboundMessage {
            system: row.system.clone(),
            record: record.id,
            entity_type: record.entity_type.clone(),
            op: sent.op,
            rev: link.rev,
            body: wire::outbound::encode(&outbound),
            id: outbound.id,
            trace: sent.trace,
        }
    }

    fn unlinked(&self, field: &FieldPath, types: &TypeRules, system: &SystemName, link: &Link) -> Unlinked {
        let omits = link.omits.contains(field) || self.directory.omits(types, field, system);
        if omits { Unlinked::Omit } else { Unlinked::Hold }
    }

    /// Keeps a message until its parents are linked. Creates that wait for each other would wait for ever: one of them
    /// goes without the reference.
    fn hold(
        &mut self,
        record: &CanonicalRecord,
        link: &Link,
        system: &SystemName,
        lacks: &[CanonicalId],
        types: &TypeRules,
        round: &mut Round,
    ) {
        let pair = (record.id, system.clone());
        self.held.insert(pair, lacks.iter().copied().collect());
        for parent in lacks {
            self.held_on.entry((*parent, system.clone())).or_default().insert(record.id);
        }
        if link.native_id.is_some() {
            return;
        }
        let fields: BTreeMap<CanonicalId, &FieldPath> = canonical_references(&record.data, types).map(|(field, id)| (id, field)).collect();
        for parent in lacks {
            if let Some(field) = fields.get(parent).filter(|_| self.waits_for(*parent, record.id, system)) {
                round.again.push((record.id, Resend::Omit(system.clone(), (*field).clone())));
            }
        }
    }

    /// Whether a record's message waits, directly or by way of others, for another record.
    fn waits_for(&self, from: CanonicalId, to: CanonicalId, system: &SystemName) -> bool {
        let (mut open, mut seen) = (vec![from], HashSet::new());
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id) {
                open.extend(self.held.get(&(id, system.clone())).into_iter().flatten());
            }
        }
        false
    }
}

/// What is noted of a row once the broker has its message, or where there was `nothing` left to say.
fn done(row: &Owed, rev: u64, nothing: bool, answer_by: Option<Timestamp>) -> Published {
    let (record, system, tried) = (row.record, row.system.clone(), (row.attempts, row.retry_at));
    Published { record, system, rev, nothing, tried, awaits_receipt: answer_by.is_some(), answer_by }
}

/// Whether a system has let go of a record for good, or is told to.
fn is_gone(record: &CanonicalRecord, system: &SystemName) -> bool {
    let detached = |link: &Link| link.system == *system && link.state == LinkState::Detached;
    record.tombstone.is_some() || record.links.iter().any(detached) && record.link_with(system).is_none()
}

enum Made {
    Message(Ready),
    Nothing(u64),
    Unsaid(u64),
    Held,
}

/// A message made, and what matters once the broker has it.
struct Ready {
    message: OutboundMessage,
    awaits_receipt: bool,
    recorded: Timestamp,
    /// Since when what goes out by it waits, if time may tell when its system has seen it.
    ages_from: Option<Timestamp>,
}

impl Ready {
    fn of(message: OutboundMessage, sent: &Sent, target: &Target, link: &Link, row: &Owed) -> Self {
        let ages = !target.receipts && target.side.inbound && link.state == LinkState::Linked;
        let waiting = link.shadow.sends.iter().filter(|sent| ages && sent.rev > row.delivered);
        Self { message, awaits_receipt: target.receipts, recorded: sent.at, ages_from: waiting.map(|sent| sent.at).min() }
    }
}

/// A message the broker is given, as it is noted once that has it.
struct Handed {
    published: Published,
    recorded: Timestamp,
    ages_from: Option<Timestamp>,
    /// The last one before it that had gone out.
    after: u64,
}
