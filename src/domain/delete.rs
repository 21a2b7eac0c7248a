//! Deletes, and what comes after them (§1.10): tombstones, systems that let go of a record, records that come back.

use serde::{Deserialize, Serialize};

use super::canonical::CanonicalRecord;
use super::change::Rejection;
use super::conclude::{Outcome, Waits, blank};
use super::decide::{Arrival, Situation, old_copy};
use super::decision::{Decision, DecisionKind};
use super::handler::{Answer, Verdict};
use super::ids::{EntityType, NativeId, NativeKey, SystemName, UpdateId};
use super::link::{Link, LinkState, SendOp, Sent, Shadow};
use super::overlay::Overlay;
use super::planted;
use super::provenance::{ByKind, DecidedBy};
use super::sending::Target;
use super::spare::stand_in;
use super::time::Timestamp;
use super::value::Leaves;
use super::waiting::WaitingFor;

/// What a system's delete of its own record means for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletePolicy {
    /// The record is deleted everywhere.
    #[default]
    Propagate,
    /// Only this system lets go of it.
    Unlink,
    /// Nothing.
    Ignore,
    /// A person says.
    Review,
}

/// What an update of a deleted record does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteConflict {
    /// It is dropped, and its system is sent the delete again.
    #[default]
    DeleteWins,
    /// The record comes back.
    UpdateRevives,
}

/// How a record was deleted. The record itself stays for a while, so that what comes late is known to be about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tombstone {
    /// When.
    pub at: Timestamp,
    /// The system that deleted it.
    pub system: SystemName,
    /// By which update.
    pub update: UpdateId,
    /// The version it became by this.
    pub version: u64,
    /// Its values were erased: nothing brings it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
}

impl Tombstone {
    /// How the record came to be deleted, in words.
    #[must_use]
    pub fn told(&self) -> String {
        if self.erased {
            format!("the values of the record were erased (version {})", self.version)
        } else if self.system.is_own() {
            format!("the record went with one it referred to (version {})", self.version)
        } else {
            format!("{} deleted the record (version {})", self.system, self.version)
        }
    }
}

/// The model hash of "it is gone": a system that rejects a delete is not sent it again.
pub const GONE: u64 = 0x6465_6c65_7465_6421;

/// Deletes a record: a new version with a tombstone. Its key values are free for a new thing of that name. The link at `index`
/// is the source's, which has let go of it already; who else is sent the delete follows from the tombstone.
pub fn bury(record: &mut CanonicalRecord, index: usize, update: &UpdateId, now: Timestamp) {
    record.version += 1;
    record.updated_at = now;
    let CanonicalRecord { links, data, .. } = record;
    let system = links[index].system.clone();
    let_go(&mut links[index], data);
    entomb(record, system, update, now);
}

/// Marks the present version of a record as the one that is deleted.
pub(super) fn entomb(record: &mut CanonicalRecord, system: SystemName, update: &UpdateId, now: Timestamp) {
    record.tombstone = Some(Box::new(Tombstone { at: now, system, update: update.clone(), version: record.version, erased: false }));
    // Who was never sent the create has nothing to delete. Who was may have it by now: its answer says so.
    record.links.retain(|link| link.state != LinkState::Reserved || link.is_open_create());
}

/// Unanswered creates remembered of a link its system has let go of.
const CROSSING_MAX: usize = 8;

/// A system has no such record any more: it holds nothing, and no message to it is open but a create it has not answered.
pub fn let_go(link: &mut Link, data: &Leaves) {
    link.state = LinkState::Detached;
    link.spare = false;
    let Shadow { sends, mut crossing, answered_rev: answered, .. } = std::mem::take(&mut link.shadow);
    if !planted::fault("crossing_create_forgotten") {
        crossing.extend(sends.into_iter().filter(|sent| sent.op == SendOp::Create && sent.rev > answered && !sent.fresh));
    }
    crossing.drain(..crossing.len().saturating_sub(CROSSING_MAX));
    link.shadow = Shadow { held: Overlay::nothing(data), answered_rev: link.rev, held_rev: link.rev, crossing, ..Shadow::default() };
    link.waits.clear();
    link.rejected = None;
    link.failures = 0;
}

/// The record is to live on, as the system of the link at `source` has it. Every other system that had it and lost it, or is
/// about to, is to be sent it as a new one if it `takes_creates`, and else has let go of it.
pub fn revive(record: &mut CanonicalRecord, source: usize, takes_creates: impl Fn(&SystemName) -> bool) {
    record.tombstone = None;
    let rev = record.used_rev(&record.links[source].system);
    if record.links[source].state == LinkState::Detached {
        // Its system may have had another one meanwhile.
        record.links[source].rev = rev;
    }
    // A delete may be on its way to it, too. If it does as it was told, it is sent the record as a new one.
    record.links[source].state = LinkState::Linked;
    record.links[source].spare = false;
    record.links[source].rejected = None;
    for index in (0..record.links.len()).filter(|index| *index != source) {
        let link = &record.links[index];
        let told = link.shadow.sends.iter().any(|sent| sent.op == SendOp::Delete);
        let lost = match link.state {
            LinkState::Linked => told,
            LinkState::Detached => !link.unlinked && !link.spare,
            LinkState::Reserved => false,
        };
        // A system has it once: of the native records that were this one it is the source's, or the one that is to be made.
        let same = |other: usize| record.links[other].system == link.system && other != index;
        let has = same(source) || record.links.iter().enumerate().any(|(other, link)| same(other) && link.state == LinkState::Reserved);
        if lost {
            let anew = !has && takes_creates(&link.system);
            lose(record, index, anew);
        }
    }
}

/// A system has lost a record that lives on: it is sent it `anew`, or has let go of it. What it had keeps its link, let go of: old
/// copies of that are known by it, and whatever names it means this record.
pub fn lose(record: &mut CanonicalRecord, index: usize, anew: bool) {
    let rev = record.used_rev(&record.links[index].system);
    let CanonicalRecord { links, data, .. } = record;
    let former = &mut links[index];
    let deletes = deletes_of(former);
    let_go(former, data);
    former.unlinked = true;
    if !anew {
        return;
    }
    // A delete may be on its way still: its answer must not be taken for one to the create that follows.
    former.shadow.sends = deletes;
    let system = former.system.clone();
    if stand_in(record, &system) {
        return;
    }
    let CanonicalRecord { links, data, .. } = record;
    let former = &mut links[index];
    let mut link = Link { rev, ..Link::new(former.system.clone(), None, Overlay::nothing(data)) };
    // Whichever native record a create makes that is still on its way is the new one.
    link.shadow.crossing = std::mem::take(&mut former.shadow.crossing);
    if planted::fault("former_seq_kept") {
        link.seq.clone_from(&former.seq);
    }
    links.push(link);
}

fn deletes_of(link: &Link) -> Vec<Sent> {
    link.shadow.sends.iter().filter(|sent| sent.op == SendOp::Delete).cloned().collect()
}

/// A native record its system had let go of is there again while the system is being sent a create of it: the two are one link
/// from now on, the reservation, which is returned.
pub fn found_by_create(record: &mut CanonicalRecord, system: &SystemName, native_id: &NativeId) -> Option<usize> {
    let former = record.link_of(system, native_id)?;
    if record.links[former].state != LinkState::Detached || record.links[record.link_with(system)?].state != LinkState::Reserved {
        return None;
    }
    let mut former = record.links.remove(former);
    let open = record.link_with(system)?;
    let link = &mut record.links[open];
    link.rev = link.rev.max(former.rev);
    link.seq = former.seq;
    link.shadow.crossing.append(&mut former.shadow.crossing);
    // A delete may be on its way to it.
    let sends = std::mem::take(&mut link.shadow.sends);
    link.shadow.sends = former.shadow.sends.into_iter().chain(sends).collect();
    let ids = former.native_id.into_iter().chain(former.aliases);
    link.aliases.extend(ids.filter(|id| id != native_id));
    Some(open)
}

/// A system reports a record it was told to delete: it is sent the delete once more. If it was told of another native record, of
/// this one it is told when that is gone. If it still has to answer the delete, and would have answered before it reported anything
/// later, it will do as it was told.
pub fn told_again(record: &mut CanonicalRecord, index: usize, source: &Target) {
    let system = record.links[index].system.clone();
    let (rev, in_place) = (record.used_rev(&system), record.link_with(&system));
    let link = &mut record.links[index];
    if link.state == LinkState::Detached {
        link.rev = rev;
        if in_place.is_some() {
            link.spare = true;
            return;
        }
    }
    (link.state, link.spare) = (LinkState::Linked, false);
    let open = |sent: &Sent| sent.op == SendOp::Delete && sent.rev > link.shadow.answered_rev && !sent.unannounced;
    if source.answers_first() && link.shadow.sends.iter().any(open) {
        return;
    }
    // The last one it may have been sent is remembered: its answer may come when the record is back.
    let sends = &mut link.shadow.sends;
    let last = sends.iter().filter(|sent| sent.op == SendOp::Delete && !sent.fresh).map(|sent| sent.rev).max();
    sends.retain(|sent| sent.op != SendOp::Delete || sent.fresh || Some(sent.rev) == last);
    sends.last_mut().into_iter().filter(|sent| sent.op == SendOp::Delete).for_each(|sent| sent.unannounced = true);
}

/// Whether a system still has to be sent the delete.
#[must_use]
pub fn lacks_delete(link: &Link) -> bool {
    let told = link.newest().is_some_and(|sent| sent.op == SendOp::Delete && !sent.unannounced);
    link.state == LinkState::Linked && link.native_id.is_some() && !told && link.rejected != Some(GONE)
}

/// What a delete comes to before anyone is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleting {
    /// There is nothing to decide.
    Nothing {
        /// The system does what it was told.
        echo: bool,
        /// Why, in a sentence.
        reason: String,
    },
    /// Handlers and the policy decide.
    Asked,
}

/// Looks at a system's delete of its record. That it holds nothing any more is a fact, whatever becomes of it.
pub fn prepare(record: &mut CanonicalRecord, index: usize, arrival: &Arrival<'_>) -> Result<Deleting, Rejection> {
    let CanonicalRecord { links, data, tombstone, .. } = record;
    let link = &mut links[index];
    if arrival.waited.is_none()
        && let Some(reason) = old_copy(link, arrival)?
    {
        return Ok(Deleting::Nothing { echo: false, reason });
    }
    if link.state == LinkState::Detached {
        let was = if link.spare { "had made it beside the one it has" } else { "has let go of it before" };
        let reason = format!("{} {was}", link.system);
        if link.spare {
            let_go(link, data);
        }
        return Ok(Deleting::Nothing { echo: false, reason });
    }
    let deletes = deletes_of(link);
    let told = !deletes.is_empty();
    if tombstone.is_none() && !told {
        return Ok(Deleting::Asked);
    }
    let_go(link, data);
    let reason = match (tombstone.is_some(), told) {
        (true, true) => format!("{} deleted the record as it was told", link.system),
        (true, false) => "it is deleted already".to_owned(),
        (false, _) => {
            // Its answer may come still, and must not be taken for one to the create that follows.
            link.shadow.sends = deletes;
            format!("{} deleted the record as it was told before that was back", link.system)
        }
    };
    Ok(Deleting::Nothing { echo: told, reason })
}

/// Decides a delete by the handlers' verdict and the policy of its type. `children`: there are records of this type that refer
/// to it, and nobody may delete it without a person's word. Returns the row, and what it waits for if it waits.
pub fn conclude(
    record: &mut CanonicalRecord,
    index: usize,
    answer: &Answer,
    policy: DeletePolicy,
    children: Option<&EntityType>,
    arrival: &Arrival<'_>,
    situation: &Situation<'_>,
) -> Outcome {
    let mut decision = blank(arrival, situation, Some(record.id));
    decision.version_before = record.version;
    decision.version_after = record.version;
    if let Some(by) = &answer.by {
        decision.decided_by.clone_from(by);
    } else if let Some(approval) = &arrival.approval {
        decision.decided_by = DecidedBy::named(ByKind::Person, approval.by.clone());
    }
    let system = record.links[index].system.clone();
    let given = match &answer.verdict {
        Verdict::Accept { reason } => reason.clone(),
        Verdict::Skip { reason } => {
            decision.decision = DecisionKind::Dropped;
            decision.reason.clone_from(reason);
            let_go(&mut record.links[index], &record.data);
            return Outcome { decision, waits: None };
        }
        Verdict::Defer { reason, after } => return waits(decision, DecisionKind::Deferred, reason, WaitingFor::Time, Some(*after)),
        Verdict::Review { reason } => return waits(decision, DecisionKind::Parked, reason, WaitingFor::Review, None),
    };
    if let (DeletePolicy::Propagate, Some(children)) = (policy, children) {
        let reason = format!(
            "{system} deleted the record, and there are records of type {children} that refer to it; a person says whether it is \
             deleted (on_parent_delete)"
        );
        return waits(decision, DecisionKind::Parked, &reason, WaitingFor::Review, None);
    }
    let reason = match policy {
        DeletePolicy::Review if arrival.approval.is_none() => {
            let reason = format!("{system} deleted the record; a person says whether it is deleted everywhere (delete.policy)");
            return waits(decision, DecisionKind::Parked, &reason, WaitingFor::Review, None);
        }
        DeletePolicy::Propagate | DeletePolicy::Review => {
            bury(record, index, &arrival.change.update, situation.now);
            decision.decision = DecisionKind::Accepted;
            decision.version_after = record.version;
            decision.accepted_snapshot = Some(record.data.clone());
            format!("{system} deleted the record: it is deleted everywhere")
        }
        DeletePolicy::Unlink => {
            let_go(&mut record.links[index], &record.data);
            record.links[index].unlinked = true;
            format!("{system} let go of the record; it stays as it is for all others (delete.policy = \"unlink\")")
        }
        DeletePolicy::Ignore => {
            decision.decision = DecisionKind::Dropped;
            "deletes of this type are ignored (delete.policy = \"ignore\")".to_owned()
        }
    };
    decision.reason = given.into_iter().chain([reason]).collect::<Vec<_>>().join("; ");
    Outcome { decision, waits: None }
}

fn waits(
    mut decision: Decision,
    kind: DecisionKind,
    reason: &str,
    waiting_for: WaitingFor,
    retry_after: Option<Option<std::time::Duration>>,
) -> Outcome {
    decision.decision = kind;
    reason.clone_into(&mut decision.reason);
    Outcome { decision, waits: Some(Waits { waiting_for, retry_after, change: None, untouched: true }) }
}

/// A native record that its system had let go of does not belong to the record any more. Returns the native ids that are given up
/// for this.
pub fn forget(record: &mut CanonicalRecord, key: &NativeKey) -> Vec<(SystemName, NativeId)> {
    let Some(index) = record.link_of(&key.system, &key.native_id) else { return Vec::new() };
    let mut link = record.links.remove(index);
    let rev = record.revs.entry(key.system.clone()).or_default();
    *rev = (*rev).max(link.rev);
    link.native_id.take().into_iter().chain(std::mem::take(&mut link.aliases)).map(|id| (key.system.clone(), id)).collect()
}
