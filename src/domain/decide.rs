//! One change, one record: from what arrived to a proposal ([`prepare`]), and with the handlers' answer to a decision
//! ([`conclude`](super::conclude::conclude)). Both pure; the engine runs the handlers, which may be async, in between.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::breaker;
use super::canonical::CanonicalRecord;
use super::change::{ChangeBody, DeadReason, NativeChange, Rejection};
use super::compensate::is_compensation;
use super::decision::{Assumed, Conflict, ConflictBase, Winner};
use super::delete::found_by_create;
use super::handler::UpdateMeta;
use super::ids::{CanonicalId, UpdateId};
use super::link::{Link, LinkState, SendOp, Sent, SeqSeen};
use super::overlay::Overlay;
use super::planted;
use super::representation::{Equality, same_set};
use super::rules::{FirstContact, Rules, TypeRules};
use super::sending::{NOTHING_STORED, Target};
use super::shadow::{Compared, FieldChange, Knowledge, Report, StaleField, compare_report, settle_through};
use super::spare::is_there_still;
use super::survivorship::{Contest, Rule, Survivor, outranks, survive};
use super::time::Timestamp;
use super::undecided::{Overtaken, overtake, still_meant, take_over, wait_for_references};
use super::value::{FieldPath, Leaves, same, same_held};
use super::waiting::{MissingReference, WaitingChange};

/// What the decision about a change is made from, besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The declared rules.
    pub rules: &'a Rules,
    /// Those of the type.
    pub types: &'a TypeRules,
    /// The source, and how it takes part.
    pub source: &'a Target,
    /// Now.
    pub now: Timestamp,
}

/// A change on its way to a decision.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// The change as it came.
    pub change: &'a NativeChange,
    /// Its fields in canonical names and ids; those in `missing` are still native ids.
    pub leaves: Leaves,
    /// References to records nobody knows yet.
    pub missing: Vec<MissingReference>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// 1 on the first try.
    pub attempt: u32,
    /// The stored change, if it waited and its shadow has moved on already.
    pub waited: Option<WaitingChange>,
    /// Changes of waiting updates that this one overtakes.
    pub overtaken: Vec<Overtaken>,
    /// What fields were before changes that wait, by their updates.
    pub bases: Vec<(UpdateId, FieldPath, Option<Value>)>,
    /// A person's approval, if it was in review.
    pub approval: Option<super::handler::Approval>,
    /// A person requeued it: that its own `seq` was seen already is no reason to leave it out.
    pub requeued: bool,
    /// The last `rev` its native record was sent as what it was until now, if that was part of another record.
    pub former_rev: u64,
    /// The last message about it that may have gone out to its system.
    pub sent_through: u64,
}

/// How the native record stands to the canonical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// The canonical record is made by this change.
    New,
    /// A match key leads to it.
    Joins,
    /// It answers an open reservation.
    Binds,
    /// It is linked.
    Linked,
}

/// What a change comes to before anyone is asked.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// Nothing to decide.
    Nothing {
        /// It is what the system was last sent.
        echo: bool,
        /// Why, in a sentence.
        reason: String,
        /// The fields it merely repeated, with a value that is not canonical any more.
        stale: Vec<FieldPath>,
    },
    /// It waits for records that are not known yet.
    Waits(WaitingChange),
    /// A proposal for the rules' outcome and the handlers.
    Proposal(Box<Proposal>),
}

/// What a change proposes.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// How the native record stands to the canonical one.
    pub footing: Footing,
    /// What the source changed.
    pub changes: Vec<FieldChange>,
    /// What it merely repeated.
    pub stale: Vec<StaleField>,
    /// The canonical record with only the changes laid over it.
    pub proposed: Leaves,
    /// The same after the rules.
    pub ruled: Leaves,
    /// Fields two sides changed.
    pub conflicts: Vec<Conflict>,
    /// The rule that decided, by field, where one was declared.
    pub rules: BTreeMap<FieldPath, String>,
}

/// Compares a change with what its system is known to hold, moves that knowledge on, and runs the rules.
///
/// `record` is the record itself, or a new one. Its data stays as it is; the source's shadow moves, since what a system
/// holds is a fact whatever becomes of it.
pub fn prepare(
    record: &mut CanonicalRecord,
    footing: Footing,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Result<Prepared, Rejection> {
    // An old copy does not take up again what its system has let go of since.
    let known = record.link_of(&arrival.change.key.system, &arrival.change.key.native_id);
    if let Some(reason) = known.map_or(Ok(None), |index| said_before(&mut record.links[index], arrival))? {
        return Ok(Prepared::Nothing { echo: false, reason, stale: Vec::new() });
    }
    let located = footing;
    let (index, footing) = footing_link(record, footing, arrival, situation);
    if known.is_none()
        && let Some(reason) = said_before(&mut record.links[index], arrival)?
    {
        return Ok(Prepared::Nothing { echo: false, reason, stale: Vec::new() });
    }
    if arrival.waited.is_none() {
        is_there_still(record, index);
    }
    // What has waited is judged as it would have been.
    let footing = if arrival.waited.as_ref().is_some_and(|waited| waited.joins) { Footing::Joins } else { footing };
    let mut compared = match (&arrival.waited, footing) {
        (Some(waited), _) => still_meant(record, index, waited, arrival),
        (None, Footing::New | Footing::Joins) => first_report(record, index, arrival, footing, situation.types),
        (None, Footing::Binds | Footing::Linked) => compare(record, index, arrival, situation),
    };
    if arrival.waited.is_none() {
        for change in &mut compared.changes {
            // It goes on from what waits, which nobody has decided: both are judged from what was there before.
            let waits = &record.links[index].waits;
            let still = |by: &UpdateId, path: &FieldPath| waits.iter().any(|waits| waits.update == *by && waits.fields.contains(path));
            let before = arrival.bases.iter().find(|(by, path, _)| *path == change.path && still(by, path));
            if let Some((_, _, base)) = before {
                change.base.clone_from(base);
            }
        }
        take_over(&mut record.links[index], &compared.changes);
    }
    let mut frozen = Vec::new();
    if arrival.waited.is_none() && footing == Footing::Linked {
        frozen = breaker::count(record, index, &mut compared.changes, situation.rules);
    }
    let changes = overtake(compared.changes, &arrival.overtaken, record, index, arrival, situation);
    let mut stale = compared.stale;
    stale.retain(|field| changes.iter().all(|change| change.path != field.path));
    if !arrival.missing.is_empty() {
        return Ok(Prepared::Waits(wait_for_references(record, index, arrival, footing, changes, situation)));
    }
    if changes.is_empty() && footing != Footing::New {
        let reason = match frozen.as_slice() {
            [] if (located, footing) == (Footing::Linked, Footing::Joins) && arrival.waited.is_none() => {
                format!("{} has the record again; nothing new in it", arrival.change.key.system)
            }
            [] => nothing_reason(&stale, compared.echo, record, arrival, situation.types),
            frozen => format!(
                "{} is not taken: it answers what it is sent with the same other value, time and again",
                super::explain::list(frozen)
            ),
        };
        return Ok(Prepared::Nothing { echo: compared.echo, reason, stale: names(&stale) });
    }
    Ok(Prepared::Proposal(Box::new(propose(record, footing, changes, stale, arrival, situation))))
}

fn footing_link(record: &mut CanonicalRecord, footing: Footing, arrival: &Arrival<'_>, situation: &Situation<'_>) -> (usize, Footing) {
    let key = &arrival.change.key;
    if let Some(open) = found_by_create(record, &key.system, &key.native_id) {
        let footing = bind(record, open, arrival, situation);
        return (open, footing);
    }
    if let Some(index) = record.link_of(&key.system, &key.native_id) {
        let rev = record.used_rev(&key.system).max(arrival.former_rev);
        let link = &mut record.links[index];
        if link.state == LinkState::Detached {
            // Its system may have had another one meanwhile.
            link.rev = rev;
        }
        link.state = LinkState::Linked;
        link.spare = false;
        // It had let go of the record, and what it says of it now may be as old as that.
        let footing = if std::mem::take(&mut link.unlinked) { Footing::Joins } else { footing };
        return (index, footing);
    }
    if footing == Footing::Binds
        && let Some(index) = record.link_with(&key.system)
    {
        let footing = bind(record, index, arrival, situation);
        return (index, footing);
    }
    let nothing = Overlay::nothing(&record.data);
    // The number of the last message goes on, and what only said that the system does not have the record ends. What a native
    // record was sent as part of another record has its numbers, too: by them its system says what it had applied.
    let rev = record.used_rev(&key.system).max(arrival.former_rev);
    record.links.retain(|link| link.system != key.system || link.native_id.is_some() || link.state != LinkState::Detached);
    record.links.push(Link { rev, ..Link::new(key.system.clone(), Some(key.native_id.clone()), nothing) });
    (record.links.len() - 1, footing)
}

/// The reservation gets its native id, and what was sent for it becomes what the system holds, if it can have got it.
///
/// A report that was read before the create was applied shows a record the system had all along: it joins like any
/// other, and what was to be created is sent again as an update.
fn bind(record: &mut CanonicalRecord, index: usize, arrival: &Arrival<'_>, situation: &Situation<'_>) -> Footing {
    let CanonicalRecord { links, data, .. } = record;
    let link = &mut links[index];
    link.native_id = Some(arrival.change.key.native_id.clone());
    link.state = LinkState::Linked;
    link.omits.clear();
    // What this very commit would record was never published.
    let never = link.shadow.sends.len();
    link.shadow.sends.retain(|sent| !sent.fresh);
    link.rev -= u64::from(link.shadow.sends.len() < never);
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: NOTHING_STORED };
    let mut inferred = false;
    let applied = match arrival.change.base.filter(|base| *base <= link.rev) {
        Some(base) => base,
        None if situation.source.receipts && !planted::fault("create_taken_for_applied") => 0,
        None => {
            inferred = true;
            link.shadow.sends.iter().find(|sent| sent.op == SendOp::Create).map_or(0, |sent| sent.rev)
        }
    };
    settle_through(&mut link.shadow, data, equality, applied);
    if inferred {
        let filled: Vec<FieldPath> = data.iter().map(|(path, _)| path.clone()).filter(|path| leaves_out(arrival, path)).collect();
        filled.into_iter().for_each(|path| link.shadow.held.set(data, path, None));
    }
    if let Some(newest) = link.shadow.sends.last().filter(|sent| sent.op == SendOp::Create) {
        link.rev += 1;
        let update = Sent { rev: link.rev, at: situation.now, op: SendOp::Update, fresh: true, unannounced: true, ..newest.clone() };
        link.shadow.sends.push(update);
    }
    if link.shadow.held_rev > 0 { Footing::Binds } else { Footing::Joins }
}

/// Whether a whole record of a system that says nothing else leaves out what the create was to fill there. It may be a record the
/// system had all along, so such a value is not known to have arrived: it is sent once more. Who names the record by our id was
/// told it.
fn leaves_out(arrival: &Arrival<'_>, path: &FieldPath) -> bool {
    let whole = matches!(arrival.change.body, ChangeBody::Upsert(_)) && arrival.change.canonical_id.is_none();
    whole
        && !planted::fault("lacking_taken_for_held")
        && !arrival.leaves.iter().any(|(said, _)| said.is_within(path) || path.is_within(said))
}

/// [`old_copy`], unless it has waited: then that was looked at when it came.
fn said_before(link: &mut Link, arrival: &Arrival<'_>) -> Result<Option<String>, Rejection> {
    if arrival.waited.is_some() { Ok(None) } else { old_copy(link, arrival) }
}

/// Whether an update is at or below the last `seq` of its native record.
#[must_use]
pub fn came_before(link: &Link, arrival: &Arrival<'_>) -> bool {
    let Some((seen, seq)) = link.seq.as_ref().map(|seen| &seen.seq).zip(arrival.change.seq.as_ref()) else { return false };
    let own = arrival.requeued && seen.number == seq.number;
    seen.epoch == seq.epoch && seq.number <= seen.number && !own && !planted::fault("seq_ignored")
}

/// An update at or below the last `seq` of its native record says nothing new, whatever its id.
pub fn old_copy(link: &mut Link, arrival: &Arrival<'_>) -> Result<Option<String>, Rejection> {
    let change = arrival.change;
    let Some(seq) = &change.seq else { return Ok(None) };
    if let Some(seen) = link.seq.as_ref().filter(|_| came_before(link, arrival)) {
        if seq.number == seen.seq.number && change.content_hash != seen.content {
            let detail =
                format!("seq {} of {} came before with other content; number every change of a record anew", seq.number, change.key);
            return Err(Rejection::new(DeadReason::SeqConflict, detail).at("seq"));
        }
        return Ok(Some(format!("an old copy: seq {} is not after {}, the last one seen", seq.number, seen.seq.number)));
    }
    link.seq = Some(SeqSeen { seq: seq.clone(), content: change.content_hash });
    Ok(None)
}

/// A record's first report: all it says is new, and all of it is held.
fn first_report(record: &mut CanonicalRecord, index: usize, arrival: &Arrival<'_>, footing: Footing, types: &TypeRules) -> Compared {
    let mut changes = Vec::new();
    let CanonicalRecord { links, data, version, provenance, .. } = record;
    let link = &mut links[index];
    link.shadow.known_version = *version;
    // Nothing else is known of what it holds, so it is known from what this was read at.
    if let Some(base) = arrival.change.base.filter(|base| *base <= link.rev) {
        link.shadow.held_rev = base;
    }
    let held = &mut link.shadow.held;
    for (path, value) in arrival.leaves.iter() {
        held.write(data, path, value);
        let same = same_held(data.get(path), Some(value));
        let confirms = same && outranks(types.chain(path), &arrival.change.key.system, provenance.of(path).map(|from| &from.system));
        let says = footing == Footing::New || !value.is_null() && (!same || confirms);
        if says {
            changes.push(FieldChange { path: path.clone(), base: None, value: value.clone(), assumed: false });
        }
    }
    Compared { changes, ..Compared::default() }
}

/// How well a system knows what it had applied when it said this. `rev`: the last message it was sent about the record.
#[must_use]
pub fn knowledge(change: &NativeChange, rev: u64, source: &Target) -> Knowledge {
    match change.base {
        // Beyond what it was ever sent: it was told so by a store that was put back since (epoch), and means nothing here.
        Some(base) if base <= rev => Knowledge::Base(base),
        // Where a base is said, receipts stand anywhere in the stream: who leaves it out for once (it was started anew, or somebody
        // hands in an export) says nothing of what it had applied.
        None if source.receipts && !source.says_base => Knowledge::Receipts,
        Some(_) | None => Knowledge::Inexact { silent: source.side.echo == Some(false) },
    }
}

fn compare(record: &mut CanonicalRecord, index: usize, arrival: &Arrival<'_>, situation: &Situation<'_>) -> Compared {
    let CanonicalRecord { links, data, .. } = record;
    let rev = links[index].rev;
    let shadow = &mut links[index].shadow;
    let stored = std::mem::take(&mut shadow.stored);
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: &stored };
    let knowledge = knowledge(arrival.change, rev, situation.source);
    let whole = matches!(arrival.change.body, ChangeBody::Upsert(_));
    let unresolved: Vec<FieldPath> = arrival.missing.iter().map(|missing| missing.field.clone()).collect();
    let report = Report {
        leaves: &arrival.leaves,
        unresolved: &unresolved,
        whole,
        knowledge,
        now: situation.now,
        window: situation.rules.window,
        sent_through: arrival.sent_through,
    };
    let compared = compare_report(shadow, data, equality, &report);
    shadow.stored = stored;
    compared
}

/// The changes laid over the record as it is, and what the rules make of them.
#[must_use]
pub fn propose(
    record: &CanonicalRecord,
    footing: Footing,
    changes: Vec<FieldChange>,
    stale: Vec<StaleField>,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Proposal {
    let mut proposed = record.data.clone();
    let mut ruled = record.data.clone();
    let (mut conflicts, mut rules) = (Vec::new(), BTreeMap::new());
    let changes: Vec<FieldChange> = changes
        .into_iter()
        .flat_map(|change| opened(change, record, footing, arrival, situation))
        .map(|change| merged_set(change, record, situation.types))
        .collect();
    for change in &changes {
        proposed.set(change.path.clone(), change.value.clone());
        let (survivor, rule) = survivor(record, footing, change, arrival, situation);
        let winner = match &survivor {
            Survivor::Incoming => Winner::Theirs,
            Survivor::Current => Winner::Ours,
            Survivor::Combined(_) => Winner::Handler,
        };
        if let Some(mut conflict) = conflict(record, footing, change, situation) {
            conflict.winner = winner;
            conflict.rule = rule.clone().unwrap_or_else(|| "latest".to_owned());
            conflicts.push(conflict);
        }
        if let Some(rule) = rule {
            rules.insert(change.path.clone(), rule);
        }
        match survivor {
            Survivor::Incoming => ruled.set(change.path.clone(), change.value.clone()),
            Survivor::Combined(value) => ruled.set(change.path.clone(), value),
            Survivor::Current => {}
        }
    }
    Proposal { footing, changes, stale, proposed, ruled, conflicts, rules }
}

/// For arrays that merge as sets: what the source added and took out, applied to the canonical set.
fn merged_set(change: FieldChange, record: &CanonicalRecord, types: &TypeRules) -> FieldChange {
    let (Some(Value::Array(current)), Value::Array(incoming)) = (record.data.get(&change.path), &change.value) else { return change };
    if !types.sets.contains(&change.path) {
        return change;
    }
    let base = change.base.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has = |list: &[Value], item: &Value| list.iter().any(|other| same(other, item));
    let mut merged: Vec<Value> = current.iter().filter(|item| has(incoming, item) || !has(base, item)).cloned().collect();
    let added: Vec<Value> = incoming.iter().filter(|item| !has(&merged, item) && !has(base, item)).cloned().collect();
    merged.extend(added);
    let value = Value::Array(merged);
    let value = if same_set(&value, &change.value) { change.value } else { value };
    FieldChange { value, ..change }
}

/// The fields within one that a change takes away with it, each cleared. What its system held of them went with the change.
fn inner(change: &FieldChange, record: &CanonicalRecord) -> Vec<FieldChange> {
    let cleared = |path| FieldChange { path, base: None, value: Value::Null, assumed: true };
    record.data.inside(&change.path).into_iter().map(cleared).collect()
}

/// The rule by which a field within the one that is changed stays as it is, if one does. An empty object takes nothing away.
fn kept_inside(
    change: &FieldChange,
    record: &CanonicalRecord,
    footing: Footing,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Option<String> {
    if footing == Footing::New || super::value::is_empty_object(&change.value) {
        return None;
    }
    let stays = |inner: &FieldChange| match survivor(record, footing, inner, arrival, situation) {
        (Survivor::Current | Survivor::Combined(_), rule) => Some(rule.unwrap_or_else(|| "latest".to_owned())),
        (Survivor::Incoming, _) => None,
    };
    inner(change, record).iter().find_map(stays)
}

/// A field with others in it that is cleared: each of them by itself, if rules keep one of them.
fn opened(
    change: FieldChange,
    record: &CanonicalRecord,
    footing: Footing,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Vec<FieldChange> {
    let keeps = change.value.is_null() && kept_inside(&change, record, footing, arrival, situation).is_some();
    if keeps { inner(&change, record) } else { vec![change] }
}

fn survivor(
    record: &CanonicalRecord,
    footing: Footing,
    change: &FieldChange,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> (Survivor, Option<String>) {
    let mut current = record.data.held(&change.path);
    if same_held(current, Some(&change.value)) {
        return (Survivor::Incoming, None);
    }
    let mut current_from = record.provenance.of(&change.path);
    let chain = situation.types.chain(&change.path);
    if !change.value.is_null()
        && let Some(rule) = kept_inside(change, record, footing, arrival, situation)
    {
        return (Survivor::Current, Some(rule));
    }
    let joins = footing == Footing::Joins;
    if joins {
        let declared = chain.iter().any(|rule| *rule != Rule::Latest);
        match situation.rules.first_contact {
            FirstContact::Overwrite => return (Survivor::Incoming, None),
            FirstContact::Fill if !declared => {
                let inside = record.data.has_inside(&change.path) || record.data.lies_within_a_value(&change.path);
                let survivor = if current.is_none() && !inside { Survivor::Incoming } else { Survivor::Current };
                return (survivor, Some(FirstContact::FILL.to_owned()));
            }
            FirstContact::Fill | FirstContact::Rules => {}
        }
    }
    // What it lies within gives way to it, or does not.
    if let Some(around) = record.data.around(&change.path).into_iter().next().filter(|_| record.data.lies_within_a_value(&change.path)) {
        (current, current_from) = (record.data.held(&around), record.provenance.of(&around));
    }
    let contest = Contest {
        current,
        current_from,
        incoming: &change.value,
        base: change.base.as_ref(),
        source: &situation.source.system,
        occurred_at: trusted_time(arrival, situation),
        first_contact: joins,
        fills: joins && situation.rules.first_contact == FirstContact::Fill,
        decided_at: None,
    };
    let verdict = survive(chain, &contest);
    (verdict.survivor, verdict.rule)
}

/// When the change happened, where the source's clock is trusted: never later than when it arrived.
#[must_use]
pub fn trusted_time(arrival: &Arrival<'_>, situation: &Situation<'_>) -> Option<Timestamp> {
    situation.source.side.trust_time.then(|| arrival.change.occurred_at.unwrap_or(arrival.received_at).min(arrival.received_at))
}

fn conflict(record: &CanonicalRecord, footing: Footing, change: &FieldChange, situation: &Situation<'_>) -> Option<Conflict> {
    let ours = record.data.held(&change.path);
    if same_held(ours, Some(&change.value)) || footing == Footing::New {
        return None;
    }
    let from = record.provenance.of(&change.path);
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: NOTHING_STORED };
    let moved_on = !equality.holds(&change.path, ours, change.base.as_ref());
    // What was taken back is a system's value again, but not by its own doing.
    let ours_from = from.map(|from| {
        let own = from.system == situation.source.system && is_compensation(&from.update);
        if own { from.update.system.clone() } else { from.system.clone() }
    });
    let by_another = ours_from.as_ref().is_some_and(|from| *from != situation.source.system);
    let base = match (footing, change.assumed) {
        (Footing::Joins, _) if ours.is_none() => return None,
        (Footing::Joins, _) => None,
        (_, true) => Some(ConflictBase::Assumed(Assumed::Assumed)),
        _ if !moved_on || !by_another => return None,
        _ => Some(ConflictBase::Value(change.base.clone().unwrap_or(Value::Null))),
    };
    Some(Conflict {
        field: change.path.clone(),
        base,
        ours: ours.cloned().unwrap_or(Value::Null),
        theirs: change.value.clone(),
        ours_from,
        winner: Winner::Theirs,
        rule: String::new(),
    })
}

/// The fields by name.
pub(super) fn names(stale: &[StaleField]) -> Vec<FieldPath> {
    stale.iter().map(|field| field.path.clone()).collect()
}

fn nothing_reason(stale: &[StaleField], echo: bool, record: &CanonicalRecord, arrival: &Arrival<'_>, types: &TypeRules) -> String {
    let head = if echo {
        format!("{} says back what it was sent", arrival.change.key.system)
    } else if arrival.waited.is_some() {
        "its fields were changed again while it waited".to_owned()
    } else if stale.is_empty() {
        "it says nothing new".to_owned()
    } else {
        String::new()
    };
    super::explain::with_stale(&head, stale, record, types)
}

/// What handlers may know about a proposal.
#[must_use]
pub fn meta(record: &CanonicalRecord, proposal: &Proposal, arrival: &Arrival<'_>) -> UpdateMeta {
    let new = proposal.footing == Footing::New;
    let id: Option<CanonicalId> = (!new).then_some(record.id);
    UpdateMeta {
        update: arrival.change.update.clone(),
        entity_type: arrival.change.key.entity_type.clone(),
        native_id: arrival.change.key.native_id.clone(),
        canonical_id: id,
        op: arrival.change.op(),
        received_at: arrival.received_at,
        occurred_at: arrival.change.occurred_at,
        attempt: arrival.attempt,
        changed: proposal.changes.iter().map(|change| change.path.clone()).collect(),
        conflicts: proposal.conflicts.clone(),
        provenance: record.provenance.iter().map(|(path, source)| (path.clone(), source.clone())).collect(),
        approval: arrival.approval.clone(),
    }
}

/// The fields a set of changes names.
#[must_use]
pub fn fields_of(changes: &[FieldChange]) -> BTreeSet<FieldPath> {
    changes.iter().map(|change| change.path.clone()).collect()
}
