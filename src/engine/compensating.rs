//! A target refuses a change that was accepted (§1.11): it is kept, taken back, or shown to a person, as `on_reject` says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::decide::{Decider, due_from};
use super::doing;
use super::merging::{Cause, own_id};
use super::messages::receipt_message;
use super::receipts::receipt_row;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{DeadReason, Inbound, Op, Receipt, ReceiptStatus, Rejection};
use crate::domain::compensate::{Compensated, OnReject, Undone, carried, compensate, is_compensation, note_compensation};
use crate::domain::decide::Situation;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::explain;
use crate::domain::identity::{KeyRule, claims_of};
use crate::domain::ids::{CanonicalId, NativeId, NativeKey, SystemName, UpdateId};
use crate::domain::provenance::DecidedBy;
use crate::domain::receipt::answered_link;
use crate::domain::review::{Says, Word};
use crate::domain::rules::TypeRules;
use crate::domain::sending::Target;
use crate::domain::value::{FieldPath, Leaves, same_held};
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::{DecisionFilter, DecisionWrite};
use crate::wire::inbound::{Transport, decode_value};
use crate::wire::limits::Limits;

/// The member of a stored refusal that names the updates it refuses; an envelope has no such member.
const CARRIES: &str = "carries";
/// Decisions of one record looked through for what it was before a change: so many at once, and at most.
const PAGE: usize = 200;
const PAGES_MAX: usize = 50;

/// What a system refuses.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The updates the refused message carries.
    carries: BTreeSet<UpdateId>,
    /// What the system is known to hold instead.
    held: Leaves,
}

/// What is taken back, and whose refusal asks for it.
struct TakenBack<'a> {
    updates: &'a BTreeSet<UpdateId>,
    /// The record of the refusal.
    refusing: CanonicalId,
    /// What the refusing system is known to hold of that.
    held: &'a Leaves,
}

/// A refusal that waited for a person.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The receipt.
    pub receipt: Receipt,
    carries: BTreeSet<UpdateId>,
    waiting: Arc<Waiting>,
    word: Option<Word>,
}

/// Whether what waits is a refusal.
pub(super) fn is_refusal(waiting: &Waiting) -> bool {
    waiting.message["op"] == Op::Receipt.as_str()
}

impl Refusal {
    /// What a receipt refuses, before it is applied to its link; `None`: no change of anybody.
    pub(super) fn of(record: &CanonicalRecord, receipt: &Receipt) -> Option<Self> {
        if receipt.status != ReceiptStatus::Rejected || !record.is_live() {
            return None;
        }
        let link = &record.links[answered_link(record, receipt)?];
        let carries = carried(record, link, receipt.rev);
        let held = link.shadow.held.all(&record.data).map(|(path, value)| (path.clone(), value.clone())).collect();
        (!carries.is_empty()).then_some(Self { carries, held })
    }
}

impl Refused {
    /// The native record it is about.
    pub(super) fn key(&self) -> &NativeKey {
        &self.waiting.key
    }

    /// A refusal as it was stored.
    pub(super) fn read(waiting: &Arc<Waiting>, word: Option<Word>) -> Result<Self, Rejection> {
        let mut message = waiting.message.clone();
        let unreadable = || Rejection::new(DeadReason::BadEnvelope, format!("the stored message of {} can't be read", waiting.update));
        let carries = message.as_object_mut().and_then(|message| message.remove(CARRIES)).unwrap_or_default();
        let carries = serde_json::from_value(carries).map_err(|_| unreadable())?;
        match decode_value(message, &Transport::default(), &Limits::LARGEST) {
            Ok(Inbound::Receipt(receipt)) => Ok(Self { receipt, carries, waiting: waiting.clone(), word }),
            Ok(Inbound::Change(_) | Inbound::ChangeSet { .. }) => Err(unreadable()),
            Err(undecodable) => Err(undecodable.rejection),
        }
    }
}

impl Decider {
    /// What follows from a refusal that has just been taken down.
    pub(super) async fn answer_refusal(
        &mut self,
        unit: &mut Unit,
        position: usize,
        draft: usize,
        receipt: &Receipt,
        refused: Refusal,
        source: &Target,
    ) -> Result<(), PortError> {
        // Whoever refuses that a change is taken back is for a person, or two systems would go on for ever.
        let again = refused.carries.iter().any(is_compensation);
        match source.side.on_reject {
            OnReject::Keep => Ok(()),
            OnReject::Compensate if !again => {
                let cause =
                    Cause { by: DecidedBy::SYSTEM, reason: refusal_in_words(receipt), received_at: unit.inputs[position].received_at };
                let Some(refusing) = unit.drafts[draft].work.as_ref().map(|work| work.record.id) else { return Ok(()) };
                let taken = TakenBack { updates: &refused.carries, refusing, held: &refused.held };
                doing(self.take_back(unit, position, &taken, &cause)).await
            }
            OnReject::Compensate | OnReject::Review => {
                self.ask_about_refusal(unit, position, draft, receipt, &refused.carries);
                Ok(())
            }
        }
    }

    /// A person says whether the change stays.
    fn ask_about_refusal(&mut self, unit: &mut Unit, position: usize, draft: usize, receipt: &Receipt, carries: &BTreeSet<UpdateId>) {
        let now = self.clock.now();
        let Some(record) = unit.drafts[draft].work.as_ref().map(|work| &work.record) else { return };
        let native_id = answered_link(record, receipt).and_then(|index| record.links[index].native_id.clone());
        // A create that is refused has no native id: there it stands for the record itself.
        let Some(native_id) = native_id.or_else(|| NativeId::new(record.id.to_string()).ok()) else { return };
        let arrival = unit.inputs[position].arrival;
        let Some(row) = unit.row_of(&receipt.update) else { return };
        row.decision.decision = DecisionKind::Parked;
        row.decision.native_id = Some(native_id.clone());
        row.decision.reason = format!(
            "{}; it carries {}: approve, and that stays as it is everywhere else; reject, and it is taken back everywhere",
            refusal_in_words(receipt),
            explain::list(carries)
        );
        let mut message = receipt_message(receipt);
        message[CARRIES] = json!(carries);
        let waiting = Waiting {
            update: receipt.update.clone(),
            key: NativeKey { system: receipt.system().clone(), entity_type: receipt.entity_type.clone(), native_id },
            waiting_for: WaitingFor::Review,
            since: now,
            retry_at: self.review_ends_at(None, now),
            attempts: 1,
            received_at: unit.inputs[position].received_at,
            arrival,
            message,
            change: None,
            word: None,
        };
        unit.put_waiting(draft, waiting);
    }

    /// A person, or the time that ran out, has said what becomes of a refused change.
    pub(super) async fn decide_refused(&mut self, unit: &mut Unit, position: usize, refused: &Refused) -> Result<(), PortError> {
        let Refused { receipt, carries, waiting, word } = refused;
        // Without a word it waits on.
        let Some(word) = word else { return Ok(()) };
        if unit.is_awake(&receipt.update) {
            return Ok(());
        }
        let id = receipt.canonical_id.map(|id| unit.meant(id)).or_else(|| unit.linked(&waiting.key));
        let Some(draft) = id.and_then(|id| unit.draft_of(id)) else { return Ok(()) };
        let Some(record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        unit.drafts[draft].inputs.insert(position);
        unit.take_waiting(draft, &receipt.update);
        let (rules, types) = (self.settings.rules.clone(), self.settings.rules.of_type(&receipt.entity_type));
        let source = self.directory.target(receipt.system(), &receipt.entity_type);
        let situation = Situation { rules: &rules, types: &types, source: &source, now: self.clock.now() };
        let taken_back = word.says == Says::Rejected;
        let what = if taken_back { "the refused change is taken back" } else { "the refused change stays" };
        let reason = format!("{}; {what}", word.sentence(None));
        let row = receipt_row(&record, receipt, reason, Vec::new(), waiting.received_at, &situation);
        let row = Decision { native_id: Some(waiting.key.native_id.clone()), decided_by: word.decided_by(), attempts: 2, ..row };
        unit.put_row(draft, DecisionWrite { decision: row, content_hash: receipt.content_hash, replaces: true, place: 0 });
        if !taken_back {
            return Ok(());
        }
        let held = record.link_of(&waiting.key.system, &waiting.key.native_id).map(|index| &record.links[index].shadow.held);
        let held = held.into_iter().flat_map(|held| held.all(&record.data)).map(|(path, value)| (path.clone(), value.clone())).collect();
        let who = word.by.as_deref().map_or("nobody said in time that it stays".to_owned(), |by| format!("{by} does not want to keep it"));
        let why = word.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let reason = format!("{}, and {who}{why}", refusal_in_words(receipt));
        let cause = Cause { by: word.decided_by(), reason, received_at: waiting.received_at };
        doing(self.take_back(unit, position, &TakenBack { updates: carries, refusing: record.id, held: &held }, &cause)).await
    }

    /// Takes changes back, and whatever was decided in one set with them.
    async fn take_back(&mut self, unit: &mut Unit, position: usize, taken: &TakenBack<'_>, cause: &Cause) -> Result<(), PortError> {
        let (mut rows, mut unknown) = (Vec::new(), Vec::new());
        for update in taken.updates {
            let Some(row) = self.store.decision(update).await? else {
                unknown.push(update);
                continue;
            };
            for other in row.change_set.iter().flat_map(|set| &set.updates).filter(|other| !taken.updates.contains(other)) {
                rows.extend(self.store.decision(other).await?);
            }
            rows.push(row);
        }
        let mut seen = BTreeSet::new();
        // What was decided last is taken back first.
        rows.sort_by_key(|row| std::cmp::Reverse((row.timestamp, row.version_after)));
        let mut own = Vec::new();
        for row in rows {
            if seen.insert(row.update.clone()) {
                own.push(own_id(self.ids.as_ref(), Op::Compensate, self.clock.now()));
                doing(self.take_back_one(unit, position, &row, &own, taken, cause)).await?;
            }
        }
        if let Some(draft) = unit.draft_of(taken.refusing).filter(|_| !unknown.is_empty()) {
            let reason = format!("{}, but what {} changed is not stored any more, so it stays", cause.reason, explain::list(unknown));
            self.put_compensation(unit, draft, reason, cause);
        }
        Ok(())
    }

    /// A row that says what could not be taken back.
    fn put_compensation(&mut self, unit: &mut Unit, draft: usize, reason: String, cause: &Cause) {
        let now = self.clock.now();
        let Some(record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return };
        let row = self.own_row(Op::Compensate, own_id(self.ids.as_ref(), Op::Compensate, now), &record, record.version, cause, reason, now);
        let decision = Decision { decision: DecisionKind::Unchanged, ..row };
        unit.put_row(draft, DecisionWrite { decision, content_hash: 0, replaces: false, place: 0 });
    }

    async fn take_back_one(
        &mut self,
        unit: &mut Unit,
        position: usize,
        row: &Decision,
        own: &[UpdateId],
        taken: &TakenBack<'_>,
        cause: &Cause,
    ) -> Result<(), PortError> {
        let Some(changed_in) = row.canonical_id else { return Ok(()) };
        self.load_ids(unit, [changed_in]).await?;
        let id = unit.meant(changed_in);
        let Some(draft) = unit.draft_of(id) else { return Ok(()) };
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        if !record.is_live() {
            return Ok(());
        }
        let now = self.clock.now();
        let types = self.settings.rules.of_type(&record.entity_type);
        let mut fields = row.changed.clone();
        fields.extend(row.modified_fields.iter().filter(|field| !row.changed.contains(field)).cloned());
        let made_it = row.version_before == 0;
        // By the history of the record it was a change of: that may be part of another one by now, with versions of its own.
        let before = if made_it { None } else { self.snapshot(changed_in, row.version_before).await? };
        // What a system holds of one record says nothing about another one of the set.
        let nothing = Leaves::new();
        let refusing = id == taken.refusing;
        let held = if refusing { taken.held } else { &nothing };
        let kept = self.keys_given_away(unit, &record, before.as_ref().unwrap_or(held), &fields, &types).await?;
        let former = match &before {
            Some(before) => self.sources_of(changed_in, row.version_before, &fields, before).await?,
            None => BTreeMap::new(),
        };
        let undone = Undone { update: row.update.clone(), fields, before, kept, former };
        let version = record.version;
        let Some(id) = own.last().cloned() else { return Ok(()) };
        let done = if made_it { Compensated::default() } else { compensate(&mut record, &undone, held, own, now) };
        self.claim_what_is_free(unit, draft, &mut record, &types).await?;
        let due = self.plan_sends(&mut record, &types, now, None);
        note_compensation(&mut record, &due, &id);
        let reason = in_words(&undone.update, made_it, &done, &record, &cause.reason, &types);
        let written = self.own_row(Op::Compensate, id, &record, version, cause, reason, now);
        let decision = if done.restored.is_empty() { DecisionKind::Unchanged } else { DecisionKind::Accepted };
        let notified = due.iter().map(|due| due.system.clone()).collect();
        let written = Decision { decision, changed: done.restored, notified, ..written };
        unit.drafts[draft].inputs.insert(position);
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.extend(due.into_iter().map(|due| due_from(due, None)));
        }
        unit.put_row(draft, DecisionWrite { decision: written, content_hash: 0, replaces: false, place: 0 });
        Ok(())
    }

    /// The key fields that would become what belongs to another record by now.
    async fn keys_given_away(
        &mut self,
        unit: &mut Unit,
        record: &CanonicalRecord,
        before: &Leaves,
        fields: &[FieldPath],
        types: &TypeRules,
    ) -> Result<BTreeSet<FieldPath>, PortError> {
        let former = |path: &FieldPath| if fields.contains(path) { before.get(path) } else { record.data.get(path) };
        let claims = |key: &KeyRule| claims_of(std::slice::from_ref(key), former);
        let restored = types.keys.iter().filter(|key| key.fields.iter().any(|field| fields.contains(field)));
        let restored = restored.map(|key| (key, claims(key))).collect();
        self.owned_by_others(unit, &[record], restored).await
    }

    /// Whose values a record had at a version, as far as its decisions still tell: of those that have had the value ever since,
    /// the oldest.
    async fn sources_of(
        &self,
        record: CanonicalId,
        version: u64,
        fields: &[FieldPath],
        values: &Leaves,
    ) -> Result<BTreeMap<FieldPath, SystemName>, PortError> {
        let filter = DecisionFilter { record: Some(record), ..DecisionFilter::default() };
        let mut open: BTreeSet<&FieldPath> = fields.iter().filter(|field| values.get(field).is_some()).collect();
        let (mut sources, mut after) = (BTreeMap::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.store.decisions(&filter, after.as_ref(), PAGE).await?;
            for row in page.items.iter().filter(|row| row.version_after > row.version_before && row.version_after <= version) {
                let Some(snapshot) = &row.accepted_snapshot else { return Ok(sources) };
                open.retain(|field| same_held(snapshot.get(field), values.get(field)));
                sources.extend(open.iter().map(|field| ((*field).clone(), row.source_system.clone())));
            }
            after = page.next;
            if after.is_none() || open.is_empty() {
                break;
            }
        }
        Ok(sources)
    }

    /// The data of a record at a version, as far as its decisions still tell.
    pub(super) async fn snapshot(&self, record: CanonicalId, version: u64) -> Result<Option<Leaves>, PortError> {
        let filter = DecisionFilter { record: Some(record), ..DecisionFilter::default() };
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.store.decisions(&filter, after.as_ref(), PAGE).await?;
            for row in page.items {
                if row.version_after == version
                    && let Some(snapshot) = row.accepted_snapshot
                {
                    return Ok(Some(snapshot));
                }
                if row.version_after < version && row.version_after > 0 {
                    return Ok(None);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(None)
    }
}

fn refusal_in_words(receipt: &Receipt) -> String {
    let told = receipt.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{} refused rev {}{told}", receipt.system(), receipt.rev)
}

fn in_words(update: &UpdateId, made_it: bool, done: &Compensated, record: &CanonicalRecord, cause: &str, types: &TypeRules) -> String {
    if made_it {
        return format!("{cause}; {update} made the record, which stays: only a person deletes it");
    }
    if *done == Compensated::default() {
        return format!("{cause}, but update {update} changed nothing that could be taken back: what is refused stays everywhere else");
    }
    let now = |field: &FieldPath| match record.data.get(field) {
        Some(value) => format!("{field} is {} again", types.shown(field, value)),
        None if record.data.has_inside(field) => format!("{field} is what it was"),
        None => format!("{field} is empty again"),
    };
    let mut parts = vec![format!("{cause}, so update {update} was taken back")];
    parts.extend((!done.restored.is_empty()).then(|| explain::list(done.restored.iter().map(now))));
    let verb = |fields: &[FieldPath]| if fields.len() == 1 { "was" } else { "were" };
    let since = &done.changed_since;
    parts.extend((!since.is_empty()).then(|| format!("{} {} changed since and stays", explain::list(since), verb(since))));
    let kept = &done.kept;
    parts.extend(
        (!kept.is_empty())
            .then(|| format!("what {} {} before belongs to another record by now, so it stays", explain::list(kept), verb(kept))),
    );
    let unknown = &done.unknown;
    parts.extend(
        (!unknown.is_empty())
            .then(|| format!("what {} {} before is not known any more, so it stays", explain::list(unknown), verb(unknown))),
    );
    parts.join("; ")
}
