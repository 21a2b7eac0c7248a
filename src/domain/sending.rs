//! Whom a record must be sent to, and what is recorded before it is published (§1.8).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;

use serde::Serialize;

use super::canonical::CanonicalRecord;
use super::change::NativeChange;
use super::delete::{GONE, lacks_delete};
use super::flat::Paths;
use super::identity::KeyRule;
use super::ids::SystemName;
use super::link::{Link, LinkState, SendOp, Sent, Shadow};
use super::overlay::Overlay;
use super::planted;
use super::representation::{Equality, Stored};
use super::rules::{NotificationMode, Receipts, Rules, Side, TypeRules};
use super::shadow::{bound_sends, expected_at};
use super::spare::stand_in_everywhere;
use super::time::Timestamp;
use super::undecided::kept_values;
use super::value::FieldPath;

/// A system that takes part in a type.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub system: SystemName,
    /// How it takes part.
    pub side: Arc<Side>,
    /// Whether it answers what it is sent.
    pub receipts: bool,
    /// Whether it is known to say what it had applied.
    pub says_base: bool,
}

impl Target {
    /// Whether its answer to a create is known to come before anything else about that record. It has to be declared: a
    /// system that answers may still have a feed that is faster.
    #[must_use]
    pub fn answers_first(&self) -> bool {
        self.side.receipts == Receipts::Required
    }

    /// Whether nothing about what it holds has to be guessed.
    #[must_use]
    pub const fn exact(&self) -> bool {
        self.receipts || self.says_base
    }

    /// Whether nothing it says is explained by what it was sent: its feed never reports what it applied, or nothing it says
    /// is taken at all.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let says_nothing = !self.side.inbound && self.side.receipts == Receipts::None;
        !self.exact() && (self.side.echo == Some(false) || says_nothing)
    }
}

/// A message that became due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whom it is for.
    pub system: SystemName,
    /// Its number.
    pub rev: u64,
    /// What it does.
    pub op: SendOp,
    /// Of what was recorded before it nobody knows whether it has gone out.
    pub afresh: bool,
}

/// What deciding about sends needs besides the record.
#[derive(Clone, Copy, Debug)]
pub struct SendContext<'a> {
    /// The declared rules.
    pub rules: &'a Rules,
    /// Those of the record's type.
    pub types: &'a TypeRules,
    /// The systems that take part in the type.
    pub targets: &'a [Target],
    /// The time of the decision.
    pub now: Timestamp,
    /// This system is sent the record even if it is believed to hold it, or rejected it.
    pub insist: Option<(&'a SystemName, Insist)>,
}

/// What a system is sent that is believed to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insist {
    /// Every field: it may have lost some.
    Everything,
    /// Some message: it names what differs, and what counts as applied although the system has not said so.
    Anyway,
}

impl SendContext<'_> {
    /// What this system is sent in any case.
    fn insists(&self, target: &Target) -> Option<Insist> {
        self.insist.filter(|(system, _)| **system == target.system).map(|(_, insist)| insist)
    }
}

/// Messages by what they would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SendCounts {
    /// New records.
    pub creates: u64,
    /// Changes of records the system has.
    pub updates: u64,
    /// Those of the updates that replace a value of the system by another one.
    pub conflicts: u64,
    /// Records that are gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub deletes: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SendCounts {
    /// Counts one message; `replaces`: it replaces a value of the system by another one.
    pub fn add(&mut self, op: SendOp, replaces: bool) {
        match op {
            SendOp::Create => self.creates += 1,
            SendOp::Update => {
                self.updates += 1;
                self.conflicts += u64::from(replaces);
            }
            SendOp::Delete => self.deletes += 1,
        }
    }
}

impl AddAssign for SendCounts {
    fn add_assign(&mut self, other: Self) {
        self.creates += other.creates;
        self.updates += other.updates;
        self.conflicts += other.conflicts;
        self.deletes += other.deletes;
    }
}

/// Whether bringing a system up to date replaces a value it holds by another one.
#[must_use]
pub fn replaces(link: &Link) -> bool {
    link.shadow.held.differences().any(|(_, held)| held.is_some_and(|held| !held.is_null()))
}

/// Finds every system whose model is outdated and records in its shadow what it will be sent. `source` is the system
/// whose update made a new version, if one did.
pub fn plan_sends(record: &mut CanonicalRecord, context: &SendContext<'_>, source: Option<&SystemName>) -> Vec<Due> {
    if !context.rules.push_updates
        || context.rules.notification_mode == NotificationMode::None
        || record.version == 0
        || record.merged_into.is_some()
    {
        return Vec::new();
    }
    stand_in_everywhere(record);
    if record.tombstone.is_some() {
        return plan_deletes(record, context);
    }
    let mut due = Vec::new();
    for target in context.targets.iter().filter(|target| target.side.outbound && !target.side.observed) {
        if record.links.iter().all(|link| link.system != target.system) {
            if !context.rules.creates(&target.side, context.types) || shares_keys(record, &context.types.keys) {
                continue;
            }
            let nothing = Overlay::nothing(&record.data);
            let rev = record.used_rev(&target.system);
            record.links.push(Link { rev, ..Link::new(target.system.clone(), None, nothing) });
        }
        let told_anyway = context.rules.notification_mode == NotificationMode::All && source.is_some_and(|source| *source != target.system);
        let everyone = told_anyway || context.insists(target).is_some();
        for index in 0..record.links.len() {
            if record.links[index].system == target.system && record.links[index].state != LinkState::Detached {
                due.extend(plan_send(record, index, target, context, everyone));
            }
        }
    }
    due
}

/// Whether a record that a person has split from another one still has a key value of that one. Who is to find or create it
/// by its key would find the other one.
#[must_use]
pub fn shares_keys(record: &CanonicalRecord, keys: &[KeyRule]) -> bool {
    !record.apart.is_empty() && record.claims != record.claims_due(keys)
}

fn plan_send(record: &mut CanonicalRecord, index: usize, target: &Target, context: &SendContext<'_>, everyone: bool) -> Option<Due> {
    let mut fields = outdated(record, &record.links[index], target, context);
    if fields.is_empty() && record.links[index].unanswered().is_none() && !planted::fault("refusal_outlives_agreement") {
        // It holds what everybody does: what it refused is taken back, or it has come to it by itself. Neither stands any more.
        record.links[index].rejected = None;
    }
    let link = &record.links[index];
    let create = link.state == LinkState::Reserved;
    let unannounced = link.newest().is_some_and(|sent| sent.unannounced);
    fields.extend(named_again(record, link, target, context));
    let moved = link.shadow.taken_after(link.rev).next().is_some();
    let first = create && link.rev == 0;
    // An earlier create was answered with a native id while a newer one was on its way: an update says the same better.
    let answered = link.shadow.answered_rev;
    let made = !create && answered > 0 && link.unanswered().is_some_and(|sent| sent.op == SendOp::Create);
    let unknown = link.is_introduced_after(link.rev);
    if fields.is_empty() && !(everyone || unannounced || first || made || moved || unknown) {
        return None;
    }
    // What went out after a refusal, with something else, would stand and be taken for what it is not: it shows the record as it
    // is when it is published.
    let on_its_way = link.unanswered().is_some_and(|sent| sent.rev == link.rev);
    let insisted = context.insists(target).is_some() || on_its_way || unknown;
    if !insisted && link.rejected.is_some_and(|rejected| rejected == model_hash(record, link, &target.side)) {
        return None;
    }
    let stored = link.shadow.stored.clone();
    let equality = Equality { types: context.types, side: &target.side, stored: &stored };
    let mut values = kept_values(record, link, equality);
    if create {
        for path in &link.omits {
            values.set(&record.data, path.clone(), None);
        }
    }
    let CanonicalRecord { links, data, version, .. } = record;
    let link = &mut links[index];
    let replaced = link.shadow.sends.pop_if(|sent| sent.fresh);
    let (mut trace, mut takes_back, mut gives_back) = (None, BTreeSet::new(), 0);
    match replaced {
        Some(replaced) => {
            fields.extend(replaced.fields);
            (trace, takes_back, gives_back) = (replaced.trace, replaced.takes_back, replaced.gives_back);
        }
        None => link.rev += 1,
    }
    let op = if create { SendOp::Create } else { SendOp::Update };
    let whole = create || !target.side.writes_changed_only;
    if !planted::fault("send_not_in_shadow") {
        let next = Sent {
            rev: link.rev,
            at: context.now,
            version: *version,
            op,
            fields: fields.into_iter().collect(),
            whole,
            values,
            unsaid: Paths::new(),
            fresh: true,
            unannounced: false,
            trace,
            takes_back,
            gives_back,
        };
        record_send(&mut link.shadow, next, target);
    }
    link.shadow.disputed.clear();
    link.shadow.last = None;
    bound_sends(&mut link.shadow, data, equality, target.receipts, target.is_silent());
    Some(Due { system: target.system.clone(), rev: link.rev, op, afresh: moved })
}

/// Puts a message to the unconfirmed ones.
fn record_send(shadow: &mut Shadow, next: Sent, target: &Target) {
    if !target.exact() && next.op == SendOp::Update {
        // The same once more, as the system says what it said before: one entry explains as much as two.
        let again = |sent: &Sent| sent.op == next.op && sent.whole == next.whole && sent.unsaid.is_empty();
        shadow.sends.pop_if(|sent| again(sent) && sent.values == next.values && sent.fields == next.fields);
    }
    shadow.taken_for_applied.retain(|path, _| !next.fields.contains(path));
    shadow.sends.push(next);
}

/// Fields that a message names besides those in which the system's model differs: where its place in the outbox is lost, all that
/// may not have gone out; and where one is sent in any case. What it names it writes, so they are recorded with it.
fn named_again(record: &CanonicalRecord, link: &Link, target: &Target, context: &SendContext<'_>) -> Vec<FieldPath> {
    let insist = context.insists(target);
    let taken = link.shadow.taken_for_applied.keys().filter(|_| insist.is_some());
    let all = record.data.iter().map(|(path, _)| path).filter(|_| insist == Some(Insist::Everything));
    let named = link.shadow.taken_after(link.rev).chain(taken).chain(all);
    named.filter(|path| target.side.takes(path)).cloned().collect()
}

/// Whoever has a deleted record is sent the delete, once.
fn plan_deletes(record: &mut CanonicalRecord, context: &SendContext<'_>) -> Vec<Due> {
    let mut due = Vec::new();
    if planted::fault("delete_not_sent") {
        return due;
    }
    let version = record.version;
    for target in context.targets.iter().filter(|target| target.side.outbound && !target.side.observed) {
        let insisted = context.insists(target).is_some();
        for link in record.links.iter_mut().filter(|link| link.system == target.system) {
            let has = link.state == LinkState::Linked && link.native_id.is_some();
            if !has || !insisted && !lacks_delete(link) {
                continue;
            }
            if link.shadow.sends.pop_if(|sent| sent.fresh).is_none() {
                link.rev += 1;
            }
            // What was to be told again is, by this one.
            link.shadow.sends.iter_mut().for_each(|sent| sent.unannounced = false);
            link.shadow.sends.push(Sent {
                rev: link.rev,
                at: context.now,
                version,
                op: SendOp::Delete,
                fields: Paths::new(),
                whole: true,
                values: Overlay::nothing(&record.data),
                unsaid: Paths::new(),
                fresh: true,
                unannounced: false,
                trace: None,
                takes_back: BTreeSet::new(),
                gives_back: 0,
            });
            due.push(Due { system: target.system.clone(), rev: link.rev, op: SendOp::Delete, afresh: false });
        }
    }
    due
}

/// The fields in which the system's model differs from what it is expected to hold: its newest unconfirmed send, else
/// what it holds. For an inexact system also what it reported since our last message, and, within the window, what
/// that message said.
#[must_use]
pub fn outdated(record: &CanonicalRecord, link: &Link, target: &Target, context: &SendContext<'_>) -> BTreeSet<FieldPath> {
    let shadow = &link.shadow;
    let equality = Equality { types: context.types, side: &target.side, stored: &shadow.stored };
    let mut paths: BTreeSet<&FieldPath> = shadow.held.differences().map(|(path, _)| path).collect();
    paths.extend(shadow.sends.iter().flat_map(|sent| sent.values.differences().map(|(path, _)| path)));
    let differs = |path: &FieldPath, expected| !equality.holds(path, record.data.get(path), expected);
    let omitted = |path: &FieldPath| link.state == LinkState::Reserved && link.omits.contains(path);
    let counts = |path: &FieldPath| target.side.takes(path) && !link.is_waiting(path) && !omitted(path);
    let mut fields: BTreeSet<FieldPath> = paths
        .into_iter()
        .filter(|path| counts(path) && differs(path, expected_at(shadow, &record.data, equality, path)))
        .cloned()
        .collect();
    if !target.exact() && !planted::fault("dispute_ignored") {
        let disputed = shadow.disputed.iter().filter(|(path, said)| counts(path) && differs(path, Some(said)));
        fields.extend(disputed.map(|(path, _)| path.clone()));
        if let Some(last) = shadow.last.as_deref().filter(|last| context.now.since(last.at) <= context.rules.window) {
            let overtaken =
                last.values.differences().filter(|(path, said)| counts(path) && last.writes(path, equality) && differs(path, *said));
            fields.extend(overtaken.map(|(path, _)| path.clone()));
        }
    }
    fields
}

/// Stands for what a system would be sent.
#[must_use]
pub fn model_hash(record: &CanonicalRecord, link: &Link, side: &Side) -> u64 {
    if record.tombstone.is_some() {
        return GONE;
    }
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for (path, value) in record.data.iter().filter(|(path, value)| side.takes(path) && !value.is_null()) {
        let value = if link.is_waiting(path) { link.shadow.held.get(&record.data, path).unwrap_or(value) } else { value };
        hasher.update(path.as_str().as_bytes());
        hasher.update(value.to_string().as_bytes());
    }
    hasher.digest()
}

impl NativeChange {
    /// What the commit being prepared sends because of this update goes on with its trace. `told`: its decision is told as a
    /// span of its own, so that is what they follow from.
    pub fn follow_on(&self, record: &mut CanonicalRecord, due: &[Due], told: bool) {
        let Some(trace) = self.trace else { return };
        let trace = if told { trace.decided(&self.update) } else { trace };
        for link in record.links.iter_mut().filter(|link| due.iter().any(|due| due.system == link.system)) {
            let sends = link.shadow.sends.iter_mut().filter(|sent| sent.fresh);
            sends.for_each(|sent| sent.trace = Some(trace));
        }
    }
}

/// Ends the preparation of a commit: what it recorded can't be replaced any more.
pub fn seal(record: &mut CanonicalRecord) {
    for sent in record.links.iter_mut().flat_map(|link| &mut link.shadow.sends) {
        sent.fresh = false;
    }
}

/// No stored forms: what equality means before a system has told any.
pub const NOTHING_STORED: &BTreeMap<FieldPath, Stored> = &BTreeMap::new();
