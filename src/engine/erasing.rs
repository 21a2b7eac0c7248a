//! The values of a record are erased (§1.12): the record itself at once, in one commit with the row that says so, what was
//! decided about it and its dead letters after that, a page at a time.

use std::collections::BTreeSet;

use super::decide::{Decider, due_from};
use super::input::{InputKind, Step};
use super::letters;
use super::merging::{Cause, own_id};
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{Inbound, Op};
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::erase::{erase, erase_part, erase_row, erased_body, erased_detail};
use crate::domain::ids::{CanonicalId, NativeKey, UpdateId};
use crate::domain::provenance::DecidedBy;
use crate::domain::rules::Rules;
use crate::ports::error::PortError;
use crate::ports::store::{Cursor, DeadLetter, DecisionFilter, DecisionWrite, LetterEnd, Lookup, SettledLetter, Store};
use crate::ports::task::{Task, TaskChange};
use crate::wire::limits::Limits;

/// Rows, or dead letters, looked at at once.
const PAGE: usize = 200;

impl Decider {
    /// Erases the values of a record and of what became part of it; returns the row about it.
    pub(super) async fn erase_record(
        &mut self,
        unit: &mut Unit,
        position: usize,
        id: CanonicalId,
        cause: &Cause,
    ) -> Result<Result<UpdateId, String>, PortError> {
        let known = unit.draft_of(id).and_then(|draft| Some((draft, unit.drafts[draft].work.as_ref()?.record.clone())));
        let Some((draft, mut record)) = known else { return Ok(Err("there is no such record".to_owned())) };
        unit.drafts[draft].inputs.insert(position);
        let (now, types) = (self.clock.now(), self.settings.rules.of_type(&record.entity_type));
        let (before, was_live) = (record.version, record.is_live());
        let update = own_id(self.ids.as_ref(), Op::Erase, now);
        self.end_what_waits(unit, draft, &record, &update).await?;
        erase(&mut record, &update, &cause.by, &types, now);
        self.erase_parts(unit, position, draft, &record).await?;
        let claims = record.claims.iter().cloned().collect();
        self.release_claims(unit, draft, &mut record, claims);
        let sends = self.plan_sends(&mut record, &types, now, None);
        if was_live {
            self.leave_orphans(unit, draft, &record);
        }
        unit.drafts[draft].tasks.push(TaskChange::Begin(Task::Erase { record: id, version: record.version }));
        let told = if was_live { "; it is deleted everywhere" } else { "" };
        let why = format!("its values are erased, here and in all that was decided about it{told}: {}", cause.reason);
        let row = self.own_row(Op::Erase, update.clone(), &record, before, cause, why, now);
        let row = Decision { notified: sends.iter().map(|due| due.system.clone()).collect(), ..row };
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.extend(sends.into_iter().map(|due| due_from(due, None)));
        }
        unit.put_row(draft, DecisionWrite { decision: row, content_hash: 0, replaces: false, place: 0 });
        Ok(Ok(update))
    }

    async fn erase_parts(&mut self, unit: &mut Unit, position: usize, draft: usize, record: &CanonicalRecord) -> Result<(), PortError> {
        let types = self.settings.rules.of_type(&record.entity_type);
        self.load_ids(unit, record.absorbed.iter().copied()).await?;
        for id in &record.absorbed {
            let Some(part) = unit.draft_of(*id) else { continue };
            unit.drafts[part].inputs.insert(position);
            unit.drafts[part].depends.insert(draft);
            if let Some(work) = unit.drafts[part].work.as_mut() {
                erase_part(&mut work.record, &types);
            }
        }
        Ok(())
    }

    /// What waits of it waits no more, and is not kept.
    async fn end_what_waits(&mut self, unit: &mut Unit, draft: usize, record: &CanonicalRecord, by: &UpdateId) -> Result<(), PortError> {
        let keys: Vec<NativeKey> = record.native_keys().collect();
        let lookup = Lookup { waiting_of: keys.clone(), ..Lookup::default() };
        let found = self.store.look_up(&lookup).await?;
        self.note(unit, &lookup, found);
        let waiting: Vec<UpdateId> = keys.iter().flat_map(|key| unit.waiting_of(key)).map(|waiting| waiting.update).collect();
        let markers = self.store.look_up(&Lookup { updates: waiting.clone(), ..Lookup::default() }).await?.markers;
        for update in waiting {
            let known = unit.row_of(&update).map(|row| (row.decision.clone(), row.content_hash, row.replaces));
            let stored = match known {
                Some(known) => Some(known),
                None => self.store.decision(&update).await?.zip(markers.get(&update)).map(|(row, marker)| (row, marker.content_hash, true)),
            };
            let Some((row, content_hash, replaces)) = stored else { continue };
            unit.take_waiting(draft, &update);
            let reason = format!("it waited until {by} erased the values of its record");
            let (canonical_id, decided_by) = (Some(record.id), DecidedBy::SYSTEM);
            let decision = Decision { decision: DecisionKind::Superseded, reason, canonical_id, decided_by, ..row };
            let decision = Decision { version_before: record.version, version_after: record.version, ..decision };
            unit.put_row(draft, DecisionWrite { decision, content_hash, replaces, place: 0 });
        }
        Ok(())
    }

    /// Erases a dead letter about a record whose values are erased, as it is stored now.
    pub(super) async fn erase_letter(&self, unit: &mut Unit, position: usize, id: &str, record: CanonicalId) -> Result<(), PortError> {
        let Some(letter) = self.store.dead_letter(id).await? else { return Ok(()) };
        let names: BTreeSet<NativeKey> = unit.record(record).into_iter().flat_map(CanonicalRecord::native_keys).collect();
        if !is_about(&letter, &names) {
            return Ok(());
        }
        let erased = DeadLetter { detail: erased_detail(), body: Some(erased_body()), encoding: None, ..letter.clone() };
        let draft = unit.add_loose();
        unit.drafts[draft].inputs.insert(position);
        unit.drafts[draft].settled.push(SettledLetter { letter, end: LetterEnd::Requeued(None) });
        unit.drafts[draft].dead_letters.push(erased);
        Ok(())
    }
}

/// Whether a dead letter is about one of these, and still says something.
fn is_about(letter: &DeadLetter, names: &BTreeSet<NativeKey>) -> bool {
    let is = |name: &NativeKey| {
        letter.system.as_deref() == Some(name.system.as_str())
            && letter.entity_type.as_deref() == Some(name.entity_type.as_str())
            && letter.native_id.as_deref() == Some(name.native_id.as_str())
    };
    letter.body.as_deref() != Some(erased_body().as_str())
        && (names.iter().any(is) || letter.native_id.is_none() && is_set_about(letter, names))
}

/// Whether it is a change set with an update about one of these. What can't be read names nobody.
fn is_set_about(letter: &DeadLetter, names: &BTreeSet<NativeKey>) -> bool {
    let set = letters::read(letter, letter.body.as_deref(), &Limits::LARGEST);
    let is = |update: &Inbound| matches!(update, Inbound::Change(change) if names.contains(&change.key));
    matches!(set, Ok(Inbound::ChangeSet { updates, .. }) if updates.iter().any(is))
}

/// How far the rows and dead letters about an erased record have been gone through.
#[derive(Clone, Debug, Default)]
pub(super) struct Erasing {
    list: usize,
    after: Option<Cursor>,
}

impl Erasing {
    /// Goes through the next page. Rows are written at once, dead letters are given out; `None`: it is done.
    pub(super) async fn next(&mut self, store: &dyn Store, rules: &Rules, id: CanonicalId) -> Result<Option<Vec<InputKind>>, PortError> {
        let known = store.records(&[id]).await?;
        let Some(record) = known.first().map(|known| known.record.clone()) else { return Ok(None) };
        let lists = lists(&record);
        let Some(filter) = lists.get(self.list) else { return self.letters(store, &record).await };
        let page = store.decisions(filter, self.after.as_ref(), PAGE).await?;
        let names: BTreeSet<NativeKey> = record.native_keys().collect();
        let types = rules.of_type(&record.entity_type);
        let mut rows: Vec<Decision> = page.items.into_iter().filter(|row| is_of(row, &record, &names)).collect();
        rows.iter_mut().for_each(|row| erase_row(row, &types));
        store.rewrite(&rows).await?;
        self.after = page.next;
        if self.after.is_none() {
            self.list += 1;
        }
        Ok(Some(Vec::new()))
    }

    async fn letters(&mut self, store: &dyn Store, record: &CanonicalRecord) -> Result<Option<Vec<InputKind>>, PortError> {
        if self.list > lists(record).len() {
            return Ok(None);
        }
        let page = store.dead_letters(self.after.as_ref(), PAGE).await?;
        let names: BTreeSet<NativeKey> = record.native_keys().collect();
        let about = page.items.into_iter().filter(|letter| is_about(letter, &names));
        let steps = about.map(|letter| InputKind::Step(Step::EraseLetter { id: letter.id, record: record.id })).collect();
        self.after = page.next;
        if self.after.is_none() {
            self.list += 1;
        }
        Ok(Some(steps))
    }
}

/// Where its rows are: in its history, in those of the records that became part of it, and, of updates that never found their
/// record, among those of its systems.
fn lists(record: &CanonicalRecord) -> Vec<DecisionFilter> {
    let histories = record.absorbed.iter().chain([&record.id]);
    let histories = histories.map(|id| DecisionFilter { record: Some(*id), ..DecisionFilter::default() });
    let systems: BTreeSet<_> = record.links.iter().map(|link| &link.system).collect();
    let of_system = |system: &crate::domain::ids::SystemName| DecisionFilter {
        system: Some(system.clone()),
        entity_type: Some(record.entity_type.clone()),
        ..DecisionFilter::default()
    };
    histories.chain(systems.into_iter().map(of_system)).collect()
}

/// Whether a final row is about the record, and not the one that says that it is erased.
fn is_of(row: &Decision, record: &CanonicalRecord, names: &BTreeSet<NativeKey>) -> bool {
    let is_its_own = row.canonical_id.is_some_and(|id| id == record.id || record.absorbed.contains(&id));
    let named = |native_id| NativeKey { system: row.source_system.clone(), entity_type: row.entity_type.clone(), native_id };
    let is_named = row.canonical_id.is_none() && row.native_id.clone().is_some_and(|native_id| names.contains(&named(native_id)));
    !row.decision.is_waiting() && row.op != Op::Erase && (is_its_own || is_named)
}
