//! How the decider takes what people want done: see [`acts`](super::acts).

use std::sync::Arc;

use super::acts::{Act, Refusal, Request};
use super::decide::Decider;
use super::input::Input;
use super::letters;
use super::load::{ChangeItem, Content, open_edit};
use super::settings::ReviewEnds;
use super::unit::Unit;
use crate::domain::change::{ChangeBody, DeadReason, Rejection};
use crate::domain::decide::Arrival;
use crate::domain::handler::Answer;
use crate::domain::ids::{NativeKey, UpdateId};
use crate::domain::projection::resolve_references;
use crate::domain::review::{Edit, Says, Word};
use crate::domain::time::Timestamp;
use crate::domain::value::Leaves;
use crate::domain::waiting::{Waiting, WaitingFor};
use crate::ports::error::PortError;
use crate::ports::store::{DeadLetter, LetterEnd, Lookup, SettledLetter};

/// An act that is being decided.
#[derive(Clone, Debug)]
pub struct Acting {
    /// The act.
    pub act: Arc<Act>,
    /// The update it decides about.
    pub update: Option<UpdateId>,
    /// The dead letter that goes with it.
    pub settles: Option<SettledLetter>,
}

impl Decider {
    /// Loads what an act is about, as it is now. What it can't be done to is refused.
    pub(super) async fn ready_act(
        &mut self,
        unit: &mut Unit,
        act: &Arc<Act>,
        input: &mut Input,
    ) -> Result<(Content, Option<Acting>), PortError> {
        act.begin();
        let ready = match &act.request {
            Request::Judge { update, word } => {
                let found = self.waiting_now(unit, update).await?;
                self.ready_judged(unit, found, word.as_ref(), act, input).map(|content| (content, None))
            }
            Request::Requeue { id, edited } => self.ready_requeued(unit, act, (id, edited.as_deref()), input).await?,
            Request::Discard { id } => self.ready_discarded(id, act).await?,
            Request::DontCreate { record, system } => self.ready_refusal(unit, *record, system, act).await?,
            Request::Merge { .. } | Request::Split { .. } | Request::Erase { .. } => Ok((Content::Regroup(act.clone()), None)),
        };
        Ok(match ready {
            Ok((content, settles)) => {
                let update = match (&content, &act.request) {
                    (Content::Change(item), _) => Some(item.change.update.clone()),
                    (Content::Receipt(receipt, ..), _) => Some(receipt.update.clone()),
                    (Content::Refused(refused), _) => Some(refused.receipt.update.clone()),
                    (
                        Content::ChangeSet(_)
                        | Content::Dead(_)
                        | Content::Unreadable(..)
                        | Content::Resend(..)
                        | Content::Regroup(_)
                        | Content::Step(_)
                        | Content::Nothing,
                        _,
                    ) => None,
                };
                (content, Some(Acting { act: act.clone(), update, settles }))
            }
            Err(refusal) => {
                act.refuse(refusal);
                (Content::Nothing, None)
            }
        })
    }

    /// A waiting update as it is now, also if the commit under way changes it.
    async fn waiting_now(&mut self, unit: &mut Unit, update: &UpdateId) -> Result<Option<Waiting>, PortError> {
        let Some(row) = self.store.decision(update).await? else { return Ok(None) };
        let Some(native_id) = row.native_id else { return Ok(None) };
        let key = NativeKey { system: row.source_system, entity_type: row.entity_type, native_id };
        let lookup = Lookup { waiting_of: vec![key.clone()], ..Lookup::default() };
        let found = self.store.look_up(&lookup).await?;
        self.note(unit, &lookup, found);
        Ok(unit.waiting_of(&key).into_iter().find(|waiting| waiting.update == *update))
    }

    fn ready_judged(
        &mut self,
        unit: &mut Unit,
        found: Option<Waiting>,
        word: Option<&Word>,
        act: &Act,
        input: &mut Input,
    ) -> Result<Content, Refusal> {
        let waiting = found.ok_or(Refusal::Gone)?;
        act.looked_at(waiting.tag())?;
        if word.is_some() && !matches!(waiting.waiting_for, WaitingFor::Review | WaitingFor::Brake { .. }) {
            return Err(Refusal::WaitsOtherwise(waiting.update, waiting.waiting_for));
        }
        input.received_at = waiting.received_at;
        let word = word.cloned().or_else(|| waiting.word.clone());
        let (types, source) = self.sides_of(&waiting.key);
        open_edit(word.as_ref(), &waiting.key, &source, &types).map_err(Refusal::Unfit)?;
        Ok(self.ready_waiting(unit, &Arc::new(waiting), word, input))
    }

    async fn ready_requeued(
        &mut self,
        unit: &mut Unit,
        act: &Act,
        (id, edited): (&str, Option<&str>),
        input: &mut Input,
    ) -> Result<Result<(Content, Option<SettledLetter>), Refusal>, PortError> {
        let letter = match self.letter_looked_at(id, act).await? {
            Ok(letter) => letter,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let message = match letters::read(&letter, edited.or(letter.body.as_deref()), &self.settings.limits) {
            Ok(message) => message,
            Err(rejection) => return Ok(Err(Refusal::Unfit(rejection))),
        };
        if !letters::fits(&letter, &message) {
            return Ok(Err(Refusal::OtherId { letter: letter.id, message: letters::name(&message) }));
        }
        // Only a marker that this very letter left: an update that has a row was decided, whatever the letter says.
        let own = letters::update_of(&message).filter(|update| update.to_string() == letter.id).cloned();
        let free = match &own {
            Some(update) => {
                let lookup = Lookup { updates: vec![update.clone()], ..Lookup::default() };
                self.store.look_up(&lookup).await?.markers.get(update).is_none_or(|marker| marker.of_letter)
            }
            None => false,
        };
        input.received_at = letter.received_at;
        let mut content = self.ready_message(unit, &message, input);
        if let Content::Change(item) = &mut content {
            item.requeued = true;
        }
        let end = LetterEnd::Requeued(own.filter(|_| free));
        Ok(Ok((content, Some(SettledLetter { letter, end }))))
    }

    /// A dead letter, if it is what whoever acts has looked at.
    async fn letter_looked_at(&self, id: &str, act: &Act) -> Result<Result<DeadLetter, Refusal>, PortError> {
        let Some(letter) = self.store.dead_letter(id).await? else { return Ok(Err(Refusal::Gone)) };
        Ok(act.looked_at(letter.tag()).map(|()| letter))
    }

    async fn ready_discarded(&self, id: &str, act: &Act) -> Result<Result<(Content, Option<SettledLetter>), Refusal>, PortError> {
        let letter = match self.letter_looked_at(id, act).await? {
            Ok(letter) => letter,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let message = letters::read(&letter, letter.body.as_deref(), &self.settings.limits).ok();
        let own = message.as_ref().and_then(|message| Some((letters::update_of(message)?.clone(), letters::content_hash(message)?)));
        let end = LetterEnd::Discarded(own.filter(|(update, _)| update.to_string() == letter.id));
        Ok(Ok((Content::Nothing, Some(SettledLetter { letter, end }))))
    }

    /// Whether an act can still be done: another input of its unit may have been faster, and an edit may name a record
    /// nobody knows.
    pub(super) fn may_act(&self, unit: &Unit, acting: &Acting, content: &Content) -> bool {
        let refusal = match (&acting.act.request, content) {
            (Request::Judge { update, .. }, _) if unit.is_awake(update) => Some(Refusal::Gone),
            (Request::Judge { .. }, Content::Change(item)) => resolved_edit(unit, item).err().map(Refusal::Unfit),
            (
                Request::Judge { .. }
                | Request::Requeue { .. }
                | Request::Discard { .. }
                | Request::DontCreate { .. }
                | Request::Merge { .. }
                | Request::Split { .. }
                | Request::Erase { .. },
                _,
            ) => None,
        };
        if let Some(refusal) = refusal {
            acting.act.refuse(refusal);
            return false;
        }
        true
    }

    /// Takes down what an act does besides deciding: the dead letter goes in the very commit that brings its row, and the
    /// row says who brought it about. An update that is set aside has not come yet.
    pub(super) fn acted(&self, unit: &mut Unit, position: usize, acting: Acting) {
        if unit.aside.contains(&position) || acting.act.is_refused() {
            return;
        }
        if let Some(settled) = acting.settles {
            let draft = unit.add_loose();
            // It shares its input with the drafts of the decision, so that they are committed, or decided again, together.
            unit.drafts[draft].inputs.insert(position);
            unit.drafts[draft].settled.push(settled);
        }
        let by = &acting.act.by;
        let item = unit.acted_on.get(&position).cloned();
        let Some(row) = acting.update.and_then(|update| unit.row_of(&update)) else { return };
        let waits = row.decision.decision.is_waiting();
        let braked =
            item.is_some_and(|item| item.woken.as_ref().is_some_and(|woken| matches!(woken.waiting_for, WaitingFor::Brake { .. })));
        let note = match &acting.act.request {
            Request::Judge { word: None, .. } if braked && !waits => Some(format!("{by} let go of it")),
            Request::Judge { word: None, .. } => Some(format!("retried by {by}")),
            // A final row says it by itself; this one waits for something else first.
            Request::Judge { word: Some(word), .. } => waits.then(|| word.sentence(None)),
            Request::Requeue { edited: Some(_), .. } => Some(format!("edited and requeued by {by}")),
            Request::Requeue { edited: None, .. } => Some(format!("requeued by {by}")),
            Request::DontCreate { system, .. } => {
                row.decision.reason = format!("{by} discarded what a brake kept back: {system} is not sent this record as it is");
                None
            }
            Request::Discard { .. } | Request::Merge { .. } | Request::Split { .. } | Request::Erase { .. } => None,
        };
        if let Some(note) = note {
            row.decision.reason = if row.decision.reason.is_empty() { note } else { format!("{} ({note})", row.decision.reason) };
        }
    }

    /// The word that decides when nobody spoke in time.
    pub(super) fn last_word(&self, waiting: &Waiting) -> Option<Word> {
        let ReviewEnds { accepts, .. } = self.settings.review_ends?;
        let now = self.clock.now();
        let over = waiting.waiting_for == WaitingFor::Review && waiting.retry_at.is_some_and(|at| at <= now);
        let says = if accepts { Says::Approved { edited: None } } else { Says::Rejected };
        over.then_some(Word { says, by: None, at: now, reason: None })
    }

    /// When a review ends by itself: so long after it began, however often it is looked at again.
    pub(super) fn review_ends_at(&self, woken: Option<&Waiting>, now: Timestamp) -> Option<Timestamp> {
        let ends = self.settings.review_ends?;
        let began = woken.filter(|woken| woken.waiting_for == WaitingFor::Review);
        Some(began.and_then(|woken| woken.retry_at).unwrap_or_else(|| now.plus(ends.after)))
    }
}

/// What the handlers said, after the last word about the update.
pub(super) fn with_word(
    answer: Answer,
    unit: &Unit,
    item: &ChangeItem,
    arrival: &Arrival<'_>,
    canonical: &Leaves,
) -> Result<Answer, Rejection> {
    let Some(word) = &item.word else { return Ok(answer) };
    let edit = resolved_edit(unit, item)?.map(|meant| Edit { said: arrival.leaves.clone(), meant });
    Ok(word.over(answer, canonical, edit.as_ref()))
}

/// A person's edit with canonical ids.
fn resolved_edit(unit: &Unit, item: &ChangeItem) -> Result<Option<Leaves>, Rejection> {
    let Some((edited, references)) = &item.edit else { return Ok(None) };
    if let ChangeBody::Delete | ChangeBody::Rekey(_) = &item.change.body {
        let detail = format!("a {} has no entity that could be edited", item.change.op().as_str());
        return Err(Rejection::new(DeadReason::BadEnvelope, detail).at("entity"));
    }
    let mut meant = edited.clone();
    let missing = resolve_references(&mut meant, references, &item.types, |key| unit.linked(key));
    match missing.first() {
        None => Ok(Some(meant)),
        Some(missing) => {
            let detail = format!("the edited {} names {}, which nobody knows", missing.field, missing.key);
            Err(Rejection::new(DeadReason::BadReference, detail).at(format!("/entity/{}", missing.field)))
        }
    }
}
