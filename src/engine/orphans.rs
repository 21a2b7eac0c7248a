//! Records that refer to one that is deleted: how the delete leaves them to be dealt with, and how one of them is.

use std::collections::BTreeSet;

use super::decide::{Decider, due_from};
use super::input::Step;
use super::merging::{Cause, own_id};
use super::resend::note;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::decision::Decision;
use crate::domain::explain;
use crate::domain::ids::{CanonicalId, EntityType, NativeId, SystemName, UpdateId};
use crate::domain::orphans::{ParentDelete, Reunion, bury_with_parent, clear, fields_to, reunited, told_without};
use crate::domain::rules::TypeRules;
use crate::domain::sending::Insist;
use crate::domain::value::FieldPath;
use crate::ports::error::PortError;
use crate::ports::store::DecisionWrite;
use crate::ports::task::{Task, TaskChange};

impl Decider {
    /// Leaves the records that refer to a deleted one to be dealt with after this commit, if any may have to be.
    pub(super) fn leave_orphans(&self, unit: &mut Unit, draft: usize, parent: &CanonicalRecord) {
        let Some(tombstone) = &parent.tombstone else { return };
        for (children, policy) in self.settings.rules.children_of(&parent.entity_type) {
            match policy {
                ParentDelete::Keep | ParentDelete::Review => {}
                ParentDelete::Clear | ParentDelete::Cascade => {
                    let task = Task::Orphans { parent: parent.id, version: tombstone.version, children: children.clone() };
                    unit.drafts[draft].tasks.push(TaskChange::Begin(task));
                }
            }
        }
    }

    /// A type whose records refer to this one, if they are of those about which a person is asked first.
    pub(super) async fn children_to_review(&self, parent: &CanonicalRecord) -> Result<Option<EntityType>, PortError> {
        let ids: Vec<CanonicalId> = parent.absorbed.iter().copied().chain([parent.id]).collect();
        for (children, policy) in self.settings.rules.children_of(&parent.entity_type) {
            if policy == ParentDelete::Review && !self.store.children(&ids, children, None, 1).await?.is_empty() {
                return Ok(Some(children.clone()));
            }
        }
        Ok(None)
    }

    /// One step of work that was left behind.
    pub(super) async fn step(&mut self, unit: &mut Unit, position: usize, step: Step) -> Result<(), PortError> {
        match step {
            Step::Done(task) => self.task_done(unit, position, task).await,
            Step::Orphan { child, parent } => self.orphan(unit, position, child, parent).await,
            Step::Reunite { child, parent, system } => self.reunite(unit, position, child, parent, &system).await,
            Step::Rename { child, parent, system } => self.rename(unit, position, child, parent, &system).await,
            Step::EraseLetter { id, record } => self.erase_letter(unit, position, &id, record).await,
            Step::Forget(id) => self.forget_deleted(unit, position, id).await,
        }
    }

    /// Deals with one record that refers to a deleted one; with none, if one of them has changed meanwhile.
    async fn orphan(&mut self, unit: &mut Unit, position: usize, child: CanonicalId, parent: CanonicalId) -> Result<(), PortError> {
        self.load_ids(unit, [child, parent]).await?;
        let Some(gone) = unit.record(parent).filter(|record| record.tombstone.is_some()).cloned() else { return Ok(()) };
        let Some(before) = unit.record(child).filter(|record| record.is_live()).cloned() else { return Ok(()) };
        let ids: BTreeSet<CanonicalId> = gone.absorbed.iter().copied().chain([parent]).collect();
        let types = self.settings.rules.of_type(&before.entity_type);
        let fields = fields_to(&before, &types, &ids);
        if fields.is_empty() {
            return Ok(());
        }
        let Some(draft) = unit.draft_of(child) else { return Ok(()) };
        unit.drafts[draft].inputs.insert(position);
        unit.drafts[draft].relied_on.insert(parent);
        if let Some(made_by) = unit.by_record.get(&parent).copied().filter(|other| *other != draft) {
            unit.drafts[draft].depends.insert(made_by);
        }
        let now = self.clock.now();
        let mut record = before.clone();
        let op = match types.on_parent_delete {
            ParentDelete::Keep | ParentDelete::Review => return Ok(()),
            ParentDelete::Clear => Op::Clear,
            ParentDelete::Cascade => Op::Delete,
        };
        let update = own_id(self.ids.as_ref(), op, now);
        if op == Op::Clear {
            clear(&mut record, &fields, &ids, &update, now);
        } else {
            bury_with_parent(&mut record, &update, now);
            self.leave_orphans(unit, draft, &record);
        }
        self.take_down_orphan(unit, draft, record, &before, update, op, &fields, &gone, &types);
        Ok(())
    }

    async fn task_done(&mut self, unit: &mut Unit, position: usize, task: Task) -> Result<(), PortError> {
        let mut draft = None;
        if let Task::Reunited { parent, system, native_id, count, children } = task.clone() {
            self.load_ids(unit, [parent]).await?;
            draft = unit.draft_of(unit.meant(parent));
            if let Some(work) = draft.and_then(|draft| unit.drafts[draft].work.as_mut()) {
                reunited(&mut work.record, &Reunion { system, native_id, count, children });
            }
        }
        let draft = draft.unwrap_or_else(|| unit.add_loose());
        unit.drafts[draft].inputs.insert(position);
        unit.drafts[draft].tasks.push(TaskChange::End(task));
        Ok(())
    }

    /// Has a system sent the references of one record to another one that it has again.
    async fn reunite(
        &mut self,
        unit: &mut Unit,
        position: usize,
        child: CanonicalId,
        parent: CanonicalId,
        system: &SystemName,
    ) -> Result<(), PortError> {
        self.load_ids(unit, [child, parent]).await?;
        let back = unit.record(unit.meant(parent)).filter(|record| record.is_live() && record.native_id(system).is_some());
        let Some(back) = back else { return Ok(()) };
        let ids: BTreeSet<CanonicalId> = back.absorbed.iter().copied().chain([parent, back.id]).collect();
        let Some(draft) = unit.draft_of(child) else { return Ok(()) };
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()).filter(CanonicalRecord::is_live) else {
            return Ok(());
        };
        let types = self.settings.rules.of_type(&record.entity_type);
        let fields = fields_to(&record, &types, &ids);
        unit.drafts[draft].inputs.insert(position);
        told_without(&mut record, system, &fields, &ids);
        let due = self.plan_sends(&mut record, &types, self.clock.now(), None);
        note(unit, draft, record, due);
        Ok(())
    }

    /// Leaves the records that refer to one with another id in a system to be sent to it again after this commit.
    pub(super) fn leave_renamed(&self, unit: &mut Unit, draft: usize, parent: &CanonicalRecord, system: &SystemName, native_id: &NativeId) {
        let rules = &self.settings.rules;
        let is_sent = |children: &&EntityType| {
            let side = rules.side(system, children);
            rules.push_updates && side.outbound && !side.observed
        };
        for children in rules.children_of(&parent.entity_type).into_keys().filter(is_sent) {
            let (system, native_id, children) = (system.clone(), native_id.clone(), children.clone());
            unit.drafts[draft].tasks.push(TaskChange::Begin(Task::Rekeyed { parent: parent.id, system, native_id, children }));
        }
    }

    /// Has a system sent one record that refers to another one under the other one's new id. What it holds is the same reference,
    /// so nothing differs; what it was told names an id that is gone.
    async fn rename(
        &mut self,
        unit: &mut Unit,
        position: usize,
        child: CanonicalId,
        parent: CanonicalId,
        system: &SystemName,
    ) -> Result<(), PortError> {
        self.load_ids(unit, [child, parent]).await?;
        let Some(meant) = unit.record(unit.meant(parent)).filter(|record| record.is_live()) else { return Ok(()) };
        let ids: BTreeSet<CanonicalId> = meant.absorbed.iter().copied().chain([parent, meant.id]).collect();
        let Some(draft) = unit.draft_of(child) else { return Ok(()) };
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()).filter(CanonicalRecord::is_live) else {
            return Ok(());
        };
        let types = self.settings.rules.of_type(&record.entity_type);
        let side = self.settings.rules.side(system, &record.entity_type);
        let fields: Vec<FieldPath> = fields_to(&record, &types, &ids).into_iter().filter(|field| side.takes(field)).collect();
        if fields.is_empty() {
            return Ok(());
        }
        unit.drafts[draft].inputs.insert(position);
        let due = self.plan_sends_to(&mut record, &types, self.clock.now(), system, Some(Insist::Anyway));
        for link in record.links.iter_mut().filter(|link| link.system == *system) {
            let told = link.shadow.sends.iter_mut().filter(|sent| sent.fresh);
            told.for_each(|sent| sent.fields.extend(fields.iter().cloned()));
        }
        note(unit, draft, record, due);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn take_down_orphan(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        mut record: CanonicalRecord,
        before: &CanonicalRecord,
        update: UpdateId,
        op: Op,
        fields: &[FieldPath],
        gone: &CanonicalRecord,
        types: &TypeRules,
    ) {
        self.release_undue(unit, draft, &mut record, types);
        let now = record.updated_at;
        let sends = self.plan_sends(&mut record, types, now, None);
        let cause = Cause { by: types.on_parent_delete.decides(), reason: String::new(), received_at: now };
        let (policy, named) = (types.on_parent_delete.as_str(), explain::fields(fields));
        let what = if op == Op::Clear {
            format!("{named} does not refer to it any more")
        } else {
            format!("this record referred to it ({named}) and is deleted, too")
        };
        let reason = format!("{} {} is deleted: {what} (on_parent_delete = \"{policy}\")", gone.entity_type, gone.id);
        let row = self.own_row(op, update, &record, before.version, &cause, reason, now);
        let changed = if op == Op::Clear { fields.to_vec() } else { Vec::new() };
        let row = Decision { changed, notified: sends.iter().map(|due| due.system.clone()).collect(), ..row };
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            work.record = record;
            work.outbox.extend(sends.into_iter().map(|due| due_from(due, None)));
        }
        unit.put_row(draft, DecisionWrite { decision: row, content_hash: 0, replaces: false, place: 0 });
    }
}
