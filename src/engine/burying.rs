//! Updates that can't be processed: how they become dead letters, and what is forgotten with them.

use super::decide::Decider;
use super::load::ChangeItem;
use super::messages::{message_of, receipt_message};
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::{DeadReason, NativeChange, Receipt, Rejection};
use crate::domain::ids::NativeKey;
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
        if item.woken.is_some() || rejection.reason != DeadReason::IdReuse {
            dead.marks = Some((item.change.update.clone(), item.change.content_hash));
        }
        lay_down(unit, position, &item.change.key, item.woken.as_deref(), dead);
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

/// Puts a dead letter beside the record it is about, if that is known. An update that waited waits no more.
pub(super) fn lay_down(unit: &mut Unit, position: usize, key: &NativeKey, waited: Option<&Waiting>, dead: DeadLetter) {
    let id = waited.and_then(|waiting| waiting.change.as_ref()).map(|change| change.canonical_id);
    let known = unit.linked(key).or(id).and_then(|id| unit.draft_of(id));
    let draft = known.unwrap_or_else(|| unit.add_loose());
    unit.drafts[draft].inputs.insert(position);
    unit.drafts[draft].dead_letters.push(dead);
    if let Some(waiting) = waited {
        unit.take_waiting(draft, &waiting.update);
        if let Some(work) = unit.drafts[draft].work.as_mut() {
            end_wait(&mut work.record, waiting);
        }
    }
}

/// Nothing of a record waits for this update any more, which was never judged. What its system has said something newer about stays.
fn end_wait(record: &mut CanonicalRecord, waiting: &Waiting) {
    let CanonicalRecord { links, data, .. } = record;
    for link in links {
        let Some(waits) = link.waits.iter().find(|waits| waits.update == waiting.update).cloned() else { continue };
        let changes = waiting.change.iter().flat_map(|change| &change.fields);
        forget_report(link, data, &waiting.update, changes.filter(|change| waits.fields.contains(&change.path)));
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
