//! Records that may be creates of ours coming back: they wait for the answer (§1.3, step 4).

use std::time::Duration;

use super::decide::Decider;
use super::load::ChangeItem;
use super::unit::Unit;
use crate::domain::decide::{Arrival, Situation};
use crate::domain::ids::NativeKey;
use crate::domain::planted;
use crate::domain::time::Timestamp;
use crate::domain::waiting::{Waiting, WaitingFor};

/// The first look whether the creates are answered; the next ones come at growing distances.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The distance does not grow beyond this while a brake holds.
const LAST_LOOK: Duration = Duration::from_secs(30);

impl Decider {
    /// Whether an unknown record of this system may be a create of ours: it is sent creates of the type, and its answers
    /// need not come before its reports.
    pub(super) fn settles(&self, item: &ChangeItem) -> bool {
        let rules = &self.settings.rules;
        rules.push_updates && rules.creates(&item.source.side, &item.types) && !item.source.answers_first()
    }

    /// Lets an unknown record wait while its system has creates of the type to answer. False: it waits no longer; what it
    /// makes is created elsewhere only after as long again if the question is still open.
    pub(super) fn settle(
        &mut self,
        unit: &mut Unit,
        position: usize,
        item: &ChangeItem,
        arrival: &mut Arrival<'_>,
        situation: &Situation<'_>,
    ) -> bool {
        let key = &item.change.key;
        let settle = self.settings.create_settle;
        if settle.is_zero()
            || planted::fault("own_create_not_awaited")
            || !self.settles(item)
            || !unit.open_creates.contains(&(key.system.clone(), key.entity_type.clone()))
        {
            return false;
        }
        // A newer report of the same does not make it wait from the beginning.
        let until = unit.waiting_of(key).iter().filter_map(waits_until).min();
        let until = until.unwrap_or_else(|| situation.now.plus(settle));
        if until <= situation.now {
            unit.creates_later.insert(item.change.update.clone(), situation.now.plus(settle));
            return false;
        }
        self.supersede(unit, position, item, arrival, situation);
        self.park(unit, position, item, arrival, situation, WaitingFor::OpenCreate { until }, None);
        true
    }
}

fn waits_until(waiting: &Waiting) -> Option<Timestamp> {
    match &waiting.waiting_for {
        WaitingFor::OpenCreate { until } => Some(*until),
        WaitingFor::MissingReference { .. }
        | WaitingFor::MatchCollision { .. }
        | WaitingFor::DuplicateInSystem { .. }
        | WaitingFor::NoIdentity
        | WaitingFor::NoBase
        | WaitingFor::Review
        | WaitingFor::Brake { .. }
        | WaitingFor::Time => None,
    }
}

/// After how long it is looked whether the creates are answered by now.
pub(super) fn look_again(waiting_for: &WaitingFor, item: &ChangeItem, now: Timestamp) -> Option<Duration> {
    match waiting_for {
        WaitingFor::OpenCreate { until } => {
            let waited = item.woken.as_ref().map_or(Duration::ZERO, |woken| now.since(woken.since));
            Some(waited.max(FIRST_LOOK).min(until.since(now)))
        }
        WaitingFor::Brake { .. } => {
            let waited = item.woken.as_ref().map_or(Duration::ZERO, |woken| now.since(woken.since));
            Some(waited.clamp(FIRST_LOOK, LAST_LOOK))
        }
        WaitingFor::MissingReference { .. }
        | WaitingFor::MatchCollision { .. }
        | WaitingFor::DuplicateInSystem { .. }
        | WaitingFor::NoIdentity
        | WaitingFor::NoBase
        | WaitingFor::Review
        | WaitingFor::Time => None,
    }
}

/// Whether patches of the same native record queue behind it: it may make the record they are about.
pub(super) fn holds_followers(waiting: &Waiting) -> bool {
    match &waiting.waiting_for {
        WaitingFor::MissingReference { .. } | WaitingFor::OpenCreate { .. } | WaitingFor::Brake { .. } => true,
        WaitingFor::Review | WaitingFor::Time => waiting.change.is_none() && !super::compensating::is_refusal(waiting),
        WaitingFor::MatchCollision { .. } | WaitingFor::DuplicateInSystem { .. } | WaitingFor::NoIdentity | WaitingFor::NoBase => false,
    }
}

/// Whether nobody knows yet which record it is about.
pub(super) fn is_unknown(waiting: &Waiting) -> bool {
    match &waiting.waiting_for {
        WaitingFor::MatchCollision { .. } | WaitingFor::DuplicateInSystem { .. } | WaitingFor::NoIdentity | WaitingFor::NoBase => true,
        WaitingFor::MissingReference { .. }
        | WaitingFor::OpenCreate { .. }
        | WaitingFor::Brake { .. }
        | WaitingFor::Review
        | WaitingFor::Time => false,
    }
}

/// What a native record itself said while nobody knew it, once an answer says which it is.
pub(super) fn freed_by_link(unit: &Unit, key: &NativeKey) -> Vec<Waiting> {
    let freed = |waiting: &Waiting| match &waiting.waiting_for {
        WaitingFor::OpenCreate { .. }
        | WaitingFor::NoIdentity
        | WaitingFor::NoBase
        | WaitingFor::MatchCollision { .. }
        | WaitingFor::DuplicateInSystem { .. } => true,
        WaitingFor::MissingReference { .. } | WaitingFor::Review | WaitingFor::Brake { .. } | WaitingFor::Time => false,
    };
    unit.waiting_of(key).into_iter().filter(freed).collect()
}
