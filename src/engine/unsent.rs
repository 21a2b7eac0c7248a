//! What was recorded and has not gone out yet: sending is paused, a parent is missing, or the broker takes nothing.
//!
//! Of a system that says nothing about what it had applied, time tells what it has seen (§1.4). That time begins when a message has
//! gone out, however long before it was recorded; and what such a system happens to say does not stand for what it was never sent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::decide::Decider;
use super::load::Item;
use super::resend::note;
use super::unit::Unit;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::decide::knowledge;
use crate::domain::ids::{CanonicalId, NativeKey, SystemName};
use crate::domain::link::Link;
use crate::domain::planted;
use crate::domain::sending::Insist;
use crate::domain::shadow::Knowledge;
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::{OutboxChange, Published};

/// Whether a message goes out so late that what its system says next would be misjudged by the time at which it was recorded.
#[must_use]
pub fn is_late(recorded: Timestamp, sent: Timestamp, window: Duration) -> bool {
    sent.since(recorded) > window / 4 && !planted::fault("ages_from_recording")
}

impl Decider {
    /// Looks up how far systems were sent, where time is to tell what they have seen.
    pub(super) async fn look_up_sent(&self, unit: &mut Unit, items: &[Item]) -> Result<(), PortError> {
        let (now, window) = (self.clock.now(), self.settings.rules.window);
        let mut pairs: BTreeSet<(CanonicalId, SystemName)> = BTreeSet::new();
        for item in items.iter().flat_map(Item::changes) {
            let Some((record, link)) = linked(unit, &item.change.key) else { continue };
            let infers = matches!(knowledge(&item.change, link.rev, &item.source), Knowledge::Inexact { .. });
            // Less than the window: it goes on while this is decided.
            if infers && link.shadow.sends.iter().any(|sent| now.since(sent.at) > window / 2) {
                pairs.insert((record.id, link.system.clone()));
            }
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = pairs.into_iter().collect();
        let owed = self.store.owed_of(&pairs).await?;
        unit.sent_through.extend(pairs.into_iter().map(|pair| (pair, u64::MAX)));
        unit.sent_through.extend(owed.into_iter().map(|row| ((row.record, row.system), row.delivered)));
        Ok(())
    }

    /// Notes that a message has gone out only now.
    pub(super) fn went_out(
        &self,
        unit: &mut Unit,
        draft: usize,
        mut record: CanonicalRecord,
        message: Published,
        after: u64,
        at: Timestamp,
    ) {
        if let Some(index) = record.link_with(&message.system) {
            let messages = record.links[index].shadow.messages_mut();
            messages.filter(|sent| sent.rev > after && sent.rev <= message.rev).for_each(|sent| sent.at = sent.at.max(at));
        }
        note(unit, draft, record, Vec::new());
        noted(unit, draft, message);
    }

    /// Sends what a system did not name when it said what it was to be sent.
    pub(super) fn send_unsaid(&self, unit: &mut Unit, draft: usize, mut record: CanonicalRecord, nothing: Published, after: u64) {
        let types = self.settings.rules.of_type(&record.entity_type);
        let side = self.settings.rules.side(&nothing.system, &record.entity_type);
        let link = record.link_with(&nothing.system).map(|index| &record.links[index]);
        let unsaid = |link: &Link| link.newest().is_none() && link.is_untold_after(after, |path| side.takes(path));
        if !link.is_some_and(unsaid) {
            // Something newer has been recorded meanwhile, and names it as well.
            return noted(unit, draft, nothing);
        }
        let due = self.plan_sends_to(&mut record, &types, self.clock.now(), &nothing.system, Some(Insist::Anyway));
        let is_due = !due.is_empty();
        note(unit, draft, record, due);
        if !is_due {
            noted(unit, draft, nothing);
        }
    }
}

fn noted(unit: &mut Unit, draft: usize, message: Published) {
    if let Some(work) = unit.drafts[draft].work.as_mut() {
        work.outbox.push(OutboxChange::Sent(message));
    }
}

/// The last message about a native record that may have gone out.
pub(super) fn sent_through(unit: &Unit, key: &NativeKey) -> u64 {
    let known = linked(unit, key).and_then(|(record, link)| unit.sent_through.get(&(record.id, link.system.clone())));
    known.copied().unwrap_or(u64::MAX)
}

fn linked<'u>(unit: &'u Unit, key: &NativeKey) -> Option<(&'u CanonicalRecord, &'u Link)> {
    let record = unit.record(unit.linked(key)?)?;
    record.link_of(&key.system, &key.native_id).map(|index| (record, &record.links[index]))
}
