//! The row that says that a system is not corrected any more in a field (§1.8).

use super::decide::Decider;
use super::load::ChangeItem;
use super::merging::{Cause, own_id};
use super::unit::Unit;
use crate::domain::breaker::frozen;
use crate::domain::canonical::CanonicalRecord;
use crate::domain::change::Op;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::ids::NativeKey;
use crate::domain::provenance::DecidedBy;
use crate::ports::store::DecisionWrite;

impl Decider {
    /// Writes a row for every field that was frozen by an update.
    pub(super) fn note_frozen(&self, unit: &mut Unit, draft: usize, before: &CanonicalRecord, record: &CanonicalRecord, item: &ChangeItem) {
        let NativeKey { system, native_id, .. } = &item.change.key;
        let Some(link) = record.link_of(system, native_id).map(|index| &record.links[index]) else { return };
        if link.flips.is_empty() {
            return;
        }
        let was = before.link_of(system, native_id).map(|index| &before.links[index]);
        let now = self.clock.now();
        for (path, stored) in frozen(link) {
            if was.is_some_and(|was| frozen(was).any(|(known, _)| known == path)) {
                continue;
            }
            let times = link.flips.get(path).map_or(0, |flip| flip.times);
            let (said, sent) = (item.types.shown(path, &stored.stored), item.types.shown(path, &stored.sent));
            let reason = format!(
                "{system} was sent {sent} for {path} and said {said}, {times} times in a row; from now on {said} counts as its way to write {sent}, until the value changes"
            );
            let cause = Cause { by: DecidedBy::SYSTEM, reason: String::new(), received_at: now };
            let update = own_id(self.ids.as_ref(), Op::Freeze, now);
            let row = self.own_row(Op::Freeze, update, record, record.version, &cause, reason, now);
            let row = Decision {
                decision: DecisionKind::Unchanged,
                native_id: Some(native_id.clone()),
                changed: vec![path.clone()],
                accepted_snapshot: None,
                ..row
            };
            unit.put_row(draft, DecisionWrite { decision: row, content_hash: 0, replaces: false, place: 0 });
        }
    }
}
