//! What a system made of a record beside the native record it has of it already.
//!
//! A create is on its way when the system's own report of the same thing is taken for its answer. If its user deletes that before
//! the adapter gets to the create, the adapter makes another native record, and says so before it says that the first one is gone.
//! So the second one stands by until the first one is gone, or is heard of once more.

use super::canonical::CanonicalRecord;
use super::change::{Receipt, ReceiptStatus};
use super::ids::{NativeId, SystemName};
use super::link::{Link, LinkState, SendOp, Sent};
use super::overlay::Overlay;
use super::planted;

/// A native record made beside the one its system has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The system.
    pub system: SystemName,
    /// The id of what it made.
    pub made: NativeId,
    /// The id of what it has.
    pub has: NativeId,
    /// The number of the create.
    pub rev: u64,
}

/// Whether a receipt answers a create with a native record that is not the one its system has of this record.
#[must_use]
pub fn made_beside(record: &CanonicalRecord, receipt: &Receipt) -> Option<Beside> {
    let system = receipt.system();
    let made = receipt.native_id.as_ref().filter(|_| receipt.status == ReceiptStatus::Applied)?;
    let own = &record.links[record.link_with(system)?];
    let has = own.native_id.as_ref().filter(|_| own.state == LinkState::Linked)?;
    // What became part of another record has numbers of its own.
    let sent_as_it = receipt.canonical_id.is_none_or(|id| id == record.id && own.from.is_none() || own.from == Some(id));
    let no_other = record.link_of(system, made).is_none_or(|index| record.links[index].state == LinkState::Detached);
    let open = |sent: &Sent| sent.op == SendOp::Create && sent.rev == receipt.rev && sent.rev > own.shadow.answered_rev;
    let heeded = !planted::fault("made_beside_ignored");
    let answers = heeded && sent_as_it && no_other && own.shadow.sends.iter().any(open);
    answers.then(|| Beside { system: system.clone(), made: made.clone(), has: has.clone(), rev: receipt.rev })
}

/// Keeps what was made in a link of its own, let go of, with the create that made it. Returns where.
pub fn keep_beside(record: &mut CanonicalRecord, beside: &Beside) -> usize {
    let rev = record.used_rev(&beside.system);
    let creates = take_creates(record, beside);
    let index = record.link_of(&beside.system, &beside.made).unwrap_or_else(|| {
        let nothing = Overlay::nothing(&record.data);
        record.links.push(Link::new(beside.system.clone(), Some(beside.made.clone()), nothing));
        record.links.len() - 1
    });
    let link = &mut record.links[index];
    link.state = LinkState::Detached;
    link.spare = true;
    link.rev = rev;
    link.shadow.sends.extend(creates);
    index
}

/// Takes the creates away from the native record that was not made by them.
pub fn take_creates(record: &mut CanonicalRecord, beside: &Beside) -> Vec<Sent> {
    let Some(index) = record.link_with(&beside.system) else { return Vec::new() };
    let shadow = &mut record.links[index].shadow;
    shadow.answered_rev = shadow.answered_rev.max(beside.rev);
    shadow.sends.extract_if(.., |sent| sent.op == SendOp::Create && sent.rev <= beside.rev).collect()
}

/// Where a system has nothing of the record any more but what it made beside that, this is it from now on. Whether there was such.
pub fn stand_in(record: &mut CanonicalRecord, system: &SystemName) -> bool {
    if record.link_with(system).is_some() {
        return false;
    }
    let rev = record.used_rev(system);
    // Of several the newest.
    let Some(link) = record.links.iter_mut().rev().find(|link| link.spare && link.system == *system) else { return false };
    link.state = LinkState::Linked;
    (link.spare, link.unlinked) = (false, false);
    link.rev = rev;
    true
}

/// The same for every system, before it is planned who is sent what: whichever way the link in place was let go of.
pub fn stand_in_everywhere(record: &mut CanonicalRecord) {
    let systems: Vec<SystemName> = record.links.iter().filter(|link| link.spare).map(|link| link.system.clone()).collect();
    for system in systems {
        stand_in(record, &system);
    }
}

/// A system tells of the native record in place: it is not gone, so what was made beside it is one more, and no stand-in.
pub fn is_there_still(record: &mut CanonicalRecord, index: usize) {
    let system = record.links[index].system.clone();
    for (at, link) in record.links.iter_mut().enumerate() {
        link.spare &= at == index || link.system != system;
    }
}
