//! A native record has a new id (§1.10). The old one leads to it for ever: what still names it must not be lost.

use super::decide::{Decider, due_from};
use super::load::ChangeItem;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::conclude::blank;
use crate::domain::decide::{Arrival, Situation, old_copy};
use crate::domain::ids::{NativeId, NativeKey};
use crate::domain::planted;
use crate::domain::provenance::DecidedBy;
use crate::domain::waiting::{Waiting, WaitingFor};

/// What a rekey comes to.
enum Rekeyed {
    Done(String),
    Nothing(String),
    InTheWay(WaitingFor),
}

impl Decider {
    /// Gives a native record its new id.
    pub(super) fn decide_rekey(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        new: &NativeId,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
    ) {
        let new_key = NativeKey { native_id: new.clone(), ..item.change.key.clone() };
        let known = unit.linked(&item.change.key).and_then(|id| unit.draft_of(id));
        let Some((draft, mut record)) = known.and_then(|draft| Some((draft, unit.drafts[draft].work.as_ref()?.record.clone()))) else {
            let reason = match unit.linked(&new_key) {
                Some(_) => format!("it is known as {new} already"),
                None => "nobody knows this record; it becomes known by the first whole one under its new id".to_owned(),
            };
            self.note_rekey(unit, position, item, None, reason, arrival, situation);
            return;
        };
        unit.drafts[draft].inputs.insert(position);
        let old = match record.link_of(&item.change.key.system, &item.change.key.native_id) {
            Some(index) if arrival.waited.is_none() => old_copy(&mut record.links[index], arrival),
            Some(_) | None => Ok(None),
        };
        let rekeyed = match old {
            Err(rejection) => {
                self.bury(unit, position, item, &rejection);
                return;
            }
            Ok(Some(reason)) => Rekeyed::Nothing(reason),
            Ok(None) => rekey(unit, &mut record, item, new, &new_key),
        };
        match rekeyed {
            Rekeyed::InTheWay(waiting_for) => self.park(unit, position, item, arrival, situation, waiting_for, None),
            Rekeyed::Nothing(reason) => self.note_rekey(unit, position, item, Some(&record), reason, arrival, situation),
            Rekeyed::Done(reason) => {
                let due = self.plan_sends(&mut record, &item.types, situation.now, None);
                item.change.follow_on(&mut record, &due, self.settings.spans);
                let row = record.clone();
                self.leave_renamed(unit, draft, &row, &item.change.key.system, new);
                if let Some(work) = unit.drafts[draft].work.as_mut() {
                    work.record = record;
                    work.outbox.extend(due.into_iter().map(|due| due_from(due, None)));
                }
                if !planted::fault("rekey_not_linked") {
                    self.note_link(unit, draft, new_key.clone(), row.id);
                }
                // What the record said under its new id before this was known looked like a duplicate.
                let duplicates = |waiting: &Waiting| {
                    matches!(waiting.waiting_for, WaitingFor::DuplicateInSystem { .. } | WaitingFor::MatchCollision { .. })
                };
                for waiting in unit.waiting_of(&new_key).into_iter().filter(duplicates) {
                    unit.wake(waiting);
                }
                self.note_rekey(unit, position, item, Some(&row), reason, arrival, situation);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn note_rekey(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        record: Option<&CanonicalRecord>,
        reason: String,
        arrival: &Arrival<'_>,
        situation: &Situation<'_>,
    ) {
        let mut decision = blank(arrival, situation, record.map(|record| record.id));
        decision.decided_by = DecidedBy::SYSTEM;
        decision.reason = reason;
        if let Some(record) = record {
            (decision.version_before, decision.version_after) = (record.version, record.version);
        }
        let draft = record.and_then(|record| unit.draft_of(record.id)).unwrap_or_else(|| unit.add_loose());
        self.write_row(unit, position, draft, item, decision, None);
    }
}

fn rekey(unit: &Unit, record: &mut CanonicalRecord, item: &ChangeItem, new: &NativeId, new_key: &NativeKey) -> Rekeyed {
    let key = &item.change.key;
    let linked = unit.linked(new_key);
    if let Some(other) = linked.filter(|other| *other != record.id) {
        let keys = vec![format!("the id {new}")];
        return Rekeyed::InTheWay(WaitingFor::MatchCollision { records: vec![record.id, other], keys });
    }
    let Some(index) = record.link_of(&key.system, &key.native_id) else {
        return Rekeyed::Nothing("the record is not linked under this id any more".to_owned());
    };
    let link = &mut record.links[index];
    // The way back: it was called so before.
    let back = link.native_id.as_ref() == Some(&key.native_id) && link.aliases.contains(new);
    if linked.is_some() && !back {
        return Rekeyed::Nothing(format!("{new} leads to this record already"));
    }
    link.aliases.retain(|alias| alias != new);
    if let Some(old) = link.native_id.replace(new.clone()) {
        link.aliases.push(old);
    }
    if let Some(newest) = link.shadow.sends.last_mut() {
        // A message with the old id may be out, and a message never changes: the new id comes with a new one.
        newest.unannounced = true;
    }
    Rekeyed::Done(format!("{} calls the record {new} now; {} still leads to it", key.system, key.native_id))
}
