//! Change sets: several updates in one message, decided all or none (§1.11).
//!
//! Each update is decided like any other, on top of those before it. If one of them is refused, everything is as before, and
//! all of them are dropped, so that their system is corrected as a whole. If one can't be decided now, the set is a dead letter:
//! kept whole, until somebody has seen to what is missing and requeues it.

use std::sync::Arc;

use super::decide::Decider;
use super::doing;
use super::input::Input;
use super::load::{ChangeItem, Content};
use super::messages::inbound_message;
use super::unit::Unit;
use crate::domain::change::{ChangeBody, DeadReason, Inbound, Rejection};
use crate::domain::conclude::blank;
use crate::domain::decide::Situation;
use crate::domain::decision::{ChangeSet, DecisionKind};
use crate::domain::ids::{MessageId, UpdateId};
use crate::domain::provenance::DecidedBy;
use crate::domain::review::{Says, Word};
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, DecisionWrite};

/// A set made ready.
#[derive(Clone, Debug)]
pub struct Members {
    set: Arc<ChangeSet>,
    /// Its updates, in order.
    pub items: Vec<ChangeItem>,
    /// The set as it is kept if it can't be decided.
    letter: Box<DeadLetter>,
}

/// Why a set is not decided as it is.
enum Obstacle {
    /// One of its updates is refused: which, and why.
    Refused(UpdateId, String),
    /// One of its updates can't be decided now.
    Stuck(Rejection),
}

impl Decider {
    /// Makes the updates of a set ready.
    pub(super) fn ready_set(&mut self, unit: &mut Unit, id: &MessageId, updates: &[Inbound], input: &Input) -> Content {
        let whole = Inbound::ChangeSet { id: id.clone(), updates: updates.to_vec() };
        let mut letter = Box::new(DeadLetter {
            id: super::letters::name(&whole),
            reason: DeadReason::ChangeSet,
            detail: String::new(),
            received_at: input.received_at,
            system: None,
            entity_type: None,
            native_id: None,
            body: Some(inbound_message(&whole).to_string()),
            encoding: None,
            marks: None,
        });
        let mut items = Vec::with_capacity(updates.len());
        for update in updates {
            match self.ready_message(unit, update, input) {
                Content::Change(item) => items.push(*item),
                Content::Dead(dead) => {
                    (letter.reason, letter.detail) = (dead.reason, format!("{}: {}", dead.id, dead.detail));
                    return Content::Dead(letter);
                }
                Content::Receipt(..)
                | Content::Unreadable(..)
                | Content::Resend(..)
                | Content::Refused(_)
                | Content::Regroup(_)
                | Content::ChangeSet(_)
                | Content::Step(_)
                | Content::Nothing => {
                    letter.reason = DeadReason::BadEnvelope;
                    "a change set holds changes only; send receipts by themselves".clone_into(&mut letter.detail);
                    return Content::Dead(letter);
                }
            }
        }
        letter.system = items.first().map(|item| item.change.key.system.to_string());
        let set =
            Arc::new(ChangeSet { id: id.as_str().to_owned(), updates: items.iter().map(|item| item.change.update.clone()).collect() });
        Content::ChangeSet(Box::new(Members { set, items, letter }))
    }

    /// Decides a set: all of it, or none. Returns the updates that have rows now.
    pub(super) async fn decide_set(&mut self, unit: &mut Unit, position: usize, members: Members) -> Result<Vec<UpdateId>, PortError> {
        for item in &members.items {
            if self.is_in_lane(unit, position, &item.change.key) {
                return Ok(Vec::new());
            }
        }
        // Handlers are waited for: none of the set may be decided before all of it is.
        let lanes = self.lanes.take();
        let done = doing(self.decide_together(unit, position, members)).await;
        self.lanes = lanes;
        done
    }

    async fn decide_together(&mut self, unit: &mut Unit, position: usize, members: Members) -> Result<Vec<UpdateId>, PortError> {
        let Members { set, items, mut letter } = members;
        let before = unit.clone();
        let mut obstacle = None;
        for item in &items {
            doing(self.decide_change(unit, position, item.clone())).await?;
            obstacle = obstacle_of(unit, item);
            if obstacle.is_some() {
                break;
            }
        }
        match obstacle {
            None => {}
            Some(Obstacle::Refused(update, why)) => {
                *unit = before;
                let why = format!("part of change set {}, of which {update} was refused: {why}", set.id);
                for item in items.iter().cloned() {
                    doing(self.withdraw(unit, position, item, &why)).await?;
                }
            }
            Some(Obstacle::Stuck(rejection)) => {
                *unit = before;
                letter.reason = rejection.reason;
                letter.detail = rejection.detail;
                let draft = unit.add_loose();
                unit.drafts[draft].inputs.insert(position);
                unit.drafts[draft].dead_letters.push(*letter);
                return Ok(Vec::new());
            }
        }
        for update in &set.updates {
            if let Some(row) = unit.row_of(update) {
                row.decision.change_set = Some(Box::new(ChangeSet::clone(&set)));
            }
        }
        Ok(set.updates.clone())
    }

    /// Drops an update of a set that is refused; its system is corrected if it has the record already.
    async fn withdraw(&mut self, unit: &mut Unit, position: usize, mut item: ChangeItem, why: &str) -> Result<(), PortError> {
        if unit.decided.contains_key(&item.change.update) || unit.markers.contains_key(&item.change.update) {
            // It came before, by itself or in another set, and has its row.
            unit.duplicates += 1;
            return Ok(());
        }
        let known = unit.linked(&item.change.key).is_some() && !matches!(item.change.body, ChangeBody::Rekey(_));
        let now = self.clock.now();
        if known {
            // A reference to what is not made after all is not said.
            let unknown = |unit: &Unit, key: &_| unit.linked(key).is_none();
            let (unsaid, said): (Vec<_>, Vec<_>) = item.references.drain(..).partition(|reference| unknown(unit, &reference.key));
            for reference in unsaid {
                item.leaves.remove(&reference.field);
            }
            item.references = said;
            item.word = Some(Word { says: Says::Withdrawn { why: why.to_owned() }, by: None, at: now, reason: None });
            return doing(self.decide_change(unit, position, item)).await;
        }
        let rules = self.settings.rules.clone();
        let (types, source) = (item.types.clone(), item.source.clone());
        let situation = Situation { rules: &rules, types: &types, source: &source, now };
        let leaves = std::mem::take(&mut item.leaves);
        let arrival = Self::arrival(unit, position, &item, leaves);
        let mut decision = blank(&arrival, &situation, None);
        decision.decision = DecisionKind::Dropped;
        decision.decided_by = DecidedBy::SYSTEM;
        decision.changed = arrival.leaves.iter().map(|(path, _)| path.clone()).collect();
        decision.modified_fields.clone_from(&decision.changed);
        why.clone_into(&mut decision.reason);
        unit.decided.insert(item.change.update.clone(), item.change.content_hash);
        let draft = unit.add_loose();
        unit.drafts[draft].inputs.insert(position);
        let row = DecisionWrite { decision, content_hash: item.change.content_hash, replaces: false, place: 0 };
        unit.put_row(draft, row);
        Ok(())
    }
}

/// What an update that was just decided has against its set.
fn obstacle_of(unit: &mut Unit, item: &ChangeItem) -> Option<Obstacle> {
    let update = &item.change.update;
    // A letter about a reused id is named after both: see `letters::reused`.
    let of_update =
        |letter: &&DeadLetter| letter.id.strip_prefix(&update.to_string()).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
    let dead = unit.drafts.iter().flat_map(|draft| &draft.dead_letters).find(of_update);
    if let Some(dead) = dead {
        return Some(Obstacle::Stuck(Rejection::new(dead.reason, format!("{update}: {}; none of the set is applied", dead.detail))));
    }
    // Without a row it was decided before.
    let row = unit.row_of(update)?;
    match row.decision.decision {
        DecisionKind::Accepted | DecisionKind::PartiallyAccepted | DecisionKind::Unchanged | DecisionKind::Echo => None,
        DecisionKind::Dropped | DecisionKind::Superseded => Some(Obstacle::Refused(update.clone(), row.decision.reason.clone())),
        DecisionKind::Deferred | DecisionKind::Parked => {
            let detail = format!(
                "{update} can't be decided now ({}), so none of the set is applied; see to that, then requeue",
                row.decision.reason
            );
            Some(Obstacle::Stuck(Rejection::new(DeadReason::ChangeSet, detail)))
        }
    }
}
