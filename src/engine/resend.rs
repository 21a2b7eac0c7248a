//! Sends that nobody's update brought about: to break a cycle of references, or because somebody asked for them.

use super::decide::{Decider, due_from};
use super::input::Resend;
use super::unit::Unit;
use crate::domain::breaker;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::ids::{CanonicalId, SystemName};
use crate::domain::projection::canonical_references;
use crate::domain::rules::TypeRules;
use crate::domain::sending::{Due, Insist, SendContext, Target, plan_sends};
use crate::domain::time::Timestamp;
use crate::domain::value::FieldPath;
use crate::ports::error::PortError;

impl Decider {
    /// Looks at a record's sends without an update.
    pub(super) async fn resend(&mut self, unit: &mut Unit, position: usize, id: CanonicalId, what: Resend) -> Result<(), PortError> {
        let Some(draft) = unit.draft_of(id) else { return Ok(()) };
        unit.drafts[draft].inputs.insert(position);
        let Some(mut record) = unit.drafts[draft].work.as_ref().map(|work| work.record.clone()) else { return Ok(()) };
        let types = self.settings.rules.of_type(&record.entity_type);
        let now = self.clock.now();
        match &what {
            Resend::To { system, everything } => {
                if *everything {
                    record.links.iter_mut().filter(|link| link.system == *system).for_each(breaker::thaw);
                }
                let due = self.plan_sends_to(&mut record, &types, now, system, everything.then_some(Insist::Everything));
                note(unit, draft, record, due);
                return Ok(());
            }
            Resend::WentOut { message, after, at } => {
                self.went_out(unit, draft, record, message.clone(), *after, *at);
                return Ok(());
            }
            Resend::Unsaid { nothing, after } => {
                self.send_unsaid(unit, draft, record, nothing.clone(), *after);
                return Ok(());
            }
            Resend::Outdated | Resend::Omit(..) => {}
        }
        if let Resend::Omit(system, field) = what
            && let Some(index) = record.link_with(&system)
            && record.links[index].native_id.is_none()
            && self.lacks(unit, draft, &record, &system, &field).await?
            && record.links[index].omits.insert(field)
            && let Some(held) = record.links[index].shadow.sends.last_mut()
        {
            // A create without the reference follows the one that waits for itself; earlier ones may be on their way.
            held.unannounced = true;
        }
        let due = self.plan_sends(&mut record, &types, now, None);
        note(unit, draft, record, due);
        Ok(())
    }

    pub(super) fn plan_sends_to(
        &self,
        record: &mut CanonicalRecord,
        types: &TypeRules,
        now: Timestamp,
        system: &SystemName,
        insist: Option<Insist>,
    ) -> Vec<Due> {
        let targets: Vec<Target> =
            self.directory.targets(&record.entity_type).iter().filter(|target| target.system == *system).cloned().collect();
        let insist = insist.map(|insist| (system, insist));
        if self.sends_held {
            return Vec::new();
        }
        let context = SendContext { rules: &self.settings.rules, types, targets: &targets, now, insist };
        plan_sends(record, &context, None)
    }

    /// Whether a system still lacks a record that a reference names. If not, the message that waited for it may be on its
    /// way by now.
    async fn lacks(
        &mut self,
        unit: &mut Unit,
        draft: usize,
        record: &CanonicalRecord,
        system: &SystemName,
        field: &FieldPath,
    ) -> Result<bool, PortError> {
        let types = self.settings.rules.of_type(&record.entity_type);
        let named: Vec<CanonicalId> =
            canonical_references(&record.data, &types).filter(|(path, _)| *path == field).map(|(_, id)| id).collect();
        self.load_ids(unit, named.iter().copied()).await?;
        let lacks = named.iter().any(|id| unit.record(*id).is_none_or(|parent| parent.native_id(system).is_none()));
        unit.drafts[draft].relied_on.extend(named);
        Ok(lacks)
    }
}

/// Puts a record back with what is to be sent of it.
pub(super) fn note(unit: &mut Unit, draft: usize, record: CanonicalRecord, due: Vec<Due>) {
    if let Some(work) = unit.drafts[draft].work.as_mut() {
        work.outbox.extend(due.into_iter().map(|due| due_from(due, None)));
        work.record = record;
    }
}
