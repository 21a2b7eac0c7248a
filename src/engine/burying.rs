//! Updates that can't be processed: how they become dead letters, and what is forgotten with them.

use super::decide::Decider;
use super::load::ChangeItem;
use super::messages::{message_of, receipt_message};
use super::unit::Unit;
use crate::domain::change::{DeadReason, NativeChange, Receipt, Rejection};
use crate::domain::time::Timestamp;
use crate::domain::undecided::forget_report;
use crate::domain::waiting::Waiting;
use crate::ports::store::DeadLetter;

impl Decider {
    /// Makes a change a dead letter.
    pub(super) fn bury(&mut self, unit: &mut Unit, position: usize, item: &ChangeItem, rejection: &Rejection) {
        let mut dead = dead_change(&item.change, rejection, unit.inputs[position].received_at);
        if rejection.reason == DeadReason::IdReuse {
            dead.id = super::letters::reused(&item.change.update, item.change.content_hash);
        }
        let waited = item.woken.as_ref().and_then(|woken| woken.change.as_ref()).map(|change| change.canonical_id);
        let known = unit.linked(&item.change.key).or(waited).and_then(|id| unit.draft_of(id));
        let draft = known.unwrap_or_else(|| unit.add_loose());
        unit.drafts[draft].inputs.insert(position);
        if item.woken.is_some() || rejection.reason != DeadReason::IdReuse {
            dead.marks = Some((item.change.update.clone(), item.change.content_hash));
        }
        if let Some(woken) = &item.woken {
            end_wait(unit, draft, woken);
        }
        unit.drafts[draft].dead_letters.push(dead);
    }

    /// Makes a waiting update a dead letter that can't be read any more.
    pub(super) fn bury_unreadable(&mut self, unit: &mut Unit, position: usize, waiting: &Waiting, dead: DeadLetter) {
        let waited = waiting.change.as_ref().map(|change| change.canonical_id);
        let known = unit.linked(&waiting.key).or(waited).and_then(|id| unit.draft_of(id));
        let draft = known.unwrap_or_else(|| unit.add_loose());
        unit.drafts[draft].inputs.insert(position);
        end_wait(unit, draft, waiting);
        unit.drafts[draft].dead_letters.push(dead);
    }

    /// Makes a receipt a dead letter.
    pub(super) fn bury_receipt(
        &mut self,
        unit: &mut Unit,
        position: usize,
        known: Option<usize>,
        receipt: &Receipt,
        rejection: &Rejection,
    ) {
        let draft = known.unwrap_or_else(|| unit.add_loose());
        unit.drafts[draft].inputs.insert(position);
        let (id, marks) = if rejection.reason == DeadReason::IdReuse {
            (super::letters::reused(&receipt.update, receipt.content_hash), None)
        } else {
            (receipt.update.to_string(), Some((receipt.update.clone(), receipt.content_hash)))
        };
        let dead = DeadLetter {
            id,
            reason: rejection.reason,
            detail: rejection.detail.clone(),
            received_at: unit.inputs[position].received_at,
            system: Some(receipt.system().to_string()),
            entity_type: Some(receipt.entity_type.to_string()),
            native_id: receipt.native_id.as_ref().map(ToString::to_string),
            body: Some(receipt_message(receipt).to_string()),
            encoding: None,
            marks,
        };
        unit.drafts[draft].dead_letters.push(dead);
    }
}

/// An update waits no more, and was never judged.
fn end_wait(unit: &mut Unit, draft: usize, waiting: &Waiting) {
    unit.take_waiting(draft, &waiting.update);
    if let Some(work) = unit.drafts[draft].work.as_mut() {
        let changes = waiting.change.as_ref().map_or(&[][..], |change| &change.fields);
        forget_report(&mut work.record, &waiting.update, changes);
    }
}

/// A change as a dead letter.
#[must_use]
pub fn dead_change(change: &NativeChange, rejection: &Rejection, received_at: Timestamp) -> DeadLetter {
    DeadLetter {
        id: change.update.to_string(),
        reason: rejection.reason,
        detail: rejection.detail.clone(),
        received_at,
        system: Some(change.key.system.to_string()),
        entity_type: Some(change.key.entity_type.to_string()),
        native_id: Some(change.key.native_id.to_string()),
        body: Some(message_of(change).to_string()),
        encoding: None,
        marks: None,
    }
}

/// A waiting update whose stored message can't be read any more.
#[must_use]
pub fn dead_waiting(waiting: &Waiting, rejection: &Rejection) -> DeadLetter {
    DeadLetter {
        id: waiting.update.to_string(),
        reason: rejection.reason,
        detail: rejection.detail.clone(),
        received_at: waiting.received_at,
        system: Some(waiting.key.system.to_string()),
        entity_type: Some(waiting.key.entity_type.to_string()),
        native_id: Some(waiting.key.native_id.to_string()),
        body: Some(waiting.message.to_string()),
        encoding: None,
        marks: Some((waiting.update.clone(), 0)),
    }
}
