//! What an adapter's answer does to the link it is about.

use super::canonical::CanonicalRecord;
use super::change::{DeadReason, Receipt, ReceiptStatus, Rejection};
use super::decide::Situation;
use super::delete::{found_by_create, let_go};
use super::link::{Link, LinkState, SendOp, Sent};
use super::overlay::Overlay;
use super::planted;
use super::representation::Equality;
use super::sending::{NOTHING_STORED, Target, model_hash};
use super::shadow::{remember_stored, settle_through};
use super::spare::{keep_beside, made_beside};
use super::value::Leaves;

/// What became of a receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Why the row says what it says, in a sentence.
    pub reason: String,
    /// It gave the record its native id in that system.
    pub bound: bool,
    /// The system did as it was told by a delete, and the record has come back since: it is to be made anew there.
    pub lost: bool,
}

/// The link a receipt is about: the one with its native id, else the open reservation of its system, else the one its system
/// had let go of before it got to the create that it answers.
#[must_use]
pub fn answered_link(record: &CanonicalRecord, receipt: &Receipt) -> Option<usize> {
    let system = receipt.system();
    let by_id = receipt.native_id.as_ref().and_then(|id| record.link_of(system, id));
    let reserved = || record.links.iter().position(|link| link.system == *system && link.state == LinkState::Reserved);
    let crosses = |link: &Link| link.system == *system && link.shadow.crossing.iter().any(|sent| sent.rev == receipt.rev);
    let let_go = || record.links.iter().position(crosses).filter(|_| record.link_with(system).is_none());
    by_id.or_else(reserved).or_else(let_go)
}

/// Whether a system says that it has done what was sent to an open reservation.
fn answers_create(record: &CanonicalRecord, receipt: &Receipt) -> bool {
    if receipt.status != ReceiptStatus::Applied {
        return false;
    }
    let reserved = record.links.iter().find(|link| link.system == *receipt.system() && link.state == LinkState::Reserved);
    let sent =
        |link: &Link| link.shadow.sends.first().is_some_and(|first| first.rev <= receipt.rev || link.shadow.is_overwritten(receipt.rev));
    reserved.is_some_and(sent)
}

/// Whether an answer gives its link a native id that it does not have.
#[must_use]
pub fn binds(link: &Link, receipt: &Receipt) -> bool {
    let named = receipt.native_id.as_ref();
    let has = link.native_id.iter().chain(&link.aliases).any(|id| Some(id) == named);
    match link.state {
        LinkState::Reserved => true,
        LinkState::Detached => named.is_some() && !has,
        LinkState::Linked => false,
    }
}

fn named(link: &Link) -> &str {
    link.native_id.as_ref().map_or("", |id| id.as_str())
}

/// Applies a receipt to its link. `stored` are the forms the system keeps, in canonical names.
pub fn answer(record: &mut CanonicalRecord, receipt: &Receipt, stored: &Leaves, situation: &Situation<'_>) -> Result<Answered, Rejection> {
    let system = receipt.system();
    if let Some(former) = receipt.native_id.as_ref().filter(|_| answers_create(record, receipt)) {
        found_by_create(record, system, former);
    }
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: NOTHING_STORED };
    if let Some(beside) = made_beside(record, receipt) {
        let spare = keep_beside(record, &beside);
        let CanonicalRecord { links, data, .. } = record;
        applied(&mut links[spare], receipt, stored, data, equality, situation.source);
        let reason = format!("{system} made {} by it, beside {}, which it has as this record already", beside.made, beside.has);
        return Ok(Answered { reason, bound: true, ..Answered::default() });
    }
    let Some(index) = answered_link(record, receipt) else {
        let detail = format!("{system} answers for record {}, which was never sent to it under this id", record.id);
        return Err(Rejection::new(DeadReason::UnknownReceipt, detail));
    };
    if receipt.rev > record.links[index].rev {
        let detail = format!("rev {} was never sent; the last one was {}", receipt.rev, record.links[index].rev);
        return Err(Rejection::new(DeadReason::UnknownReceipt, detail).at("rev"));
    }
    let rejected = model_hash(record, &record.links[index], &situation.source.side);
    let (used_rev, live) = (record.used_rev(system), record.is_live());
    let CanonicalRecord { links, data, id, .. } = record;
    let link = &mut links[index];
    // It made what it was sent as a record that is part of this one now, and whose messages are not kept.
    let of_part = receipt.canonical_id.is_some_and(|sent_as| sent_as != *id && link.from != Some(sent_as));
    let told = receipt.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let crossed = link.shadow.crossing.iter().position(|sent| sent.rev == receipt.rev).map(|at| link.shadow.crossing.remove(at));
    let heeded = !planted::fault("delete_answer_ignored");
    let answers_delete = heeded && is_of_delete(link, receipt.rev, live);
    let of_former = heeded && crossed.is_none() && !of_part && is_of_former(link, receipt.rev);
    match receipt.status {
        ReceiptStatus::Applied if answers_delete && link.state == LinkState::Linked => {
            let_go(link, data);
            Ok(Answered { reason: format!("{system} deleted the record"), bound: false, lost: live })
        }
        ReceiptStatus::Applied => {
            let bound = binds(link, receipt) && !of_former;
            let link = if bound { bind(links, index, receipt, crossed, used_rev, data) } else { link };
            if bound && of_part {
                link.shadow.held = Overlay::nothing(data);
                link.shadow.sends.last_mut().into_iter().for_each(|newest| newest.unannounced = true);
                let reason = format!("{system} made a record that is part of this one by now; there it is {}", named(link));
                return Ok(Answered { reason, bound, ..Answered::default() });
            }
            applied(link, receipt, stored, data, equality, situation.source);
            let reason = if bound {
                format!("{system} made the record; there it is {}", named(link))
            } else {
                format!("{system} applied rev {}", receipt.rev)
            };
            Ok(Answered { reason, bound, ..Answered::default() })
        }
        ReceiptStatus::Failed | ReceiptStatus::Rejected if link.state == LinkState::Detached => {
            let word = if receipt.status == ReceiptStatus::Failed { "could not apply" } else { "refuses" };
            let reason = format!("{system} {word} rev {}{told}; it has let go of the record, so nothing is sent again", receipt.rev);
            Ok(Answered { reason, ..Answered::default() })
        }
        ReceiptStatus::Failed => {
            link.failures = link.failures.saturating_add(1);
            Ok(Answered { reason: format!("{system} could not apply rev {}{told}; it is sent again", receipt.rev), ..Answered::default() })
        }
        ReceiptStatus::Rejected => {
            refuse(link, receipt.rev, rejected, situation.source);
            Ok(Answered {
                reason: format!("{system} refuses rev {}{told}; the same content is not sent again", receipt.rev),
                ..Answered::default()
            })
        }
    }
}

/// The system has done what it was sent.
fn applied(link: &mut Link, receipt: &Receipt, stored: &Leaves, data: &Leaves, equality: Equality<'_>, source: &Target) {
    remember_stored(&mut link.shadow, data, equality, receipt.rev, stored);
    // An adapter that says its base orders its reads by it; there a receipt says nothing about what it holds.
    if !source.says_base && !planted::fault("receipt_ignored") {
        settle_through(&mut link.shadow, data, equality, receipt.rev);
    }
    link.rejected = None;
    link.failures = 0;
    link.shadow.answered_rev = link.shadow.answered_rev.max(receipt.rev);
    let answered = link.shadow.sends.iter().find(|sent| sent.rev == receipt.rev).map_or(0, |sent| sent.version);
    link.shadow.known_version = link.shadow.known_version.max(answered);
}

/// Whether a message that is answered told the system to delete the record. A deleted record it was told of again is gone with
/// the later answer; of one that is `live` again nothing more may have been sent.
fn is_of_delete(link: &Link, rev: u64, live: bool) -> bool {
    let mut deletes = link.shadow.sends.iter().filter(|sent| sent.op == SendOp::Delete);
    if live { deletes.any(|sent| sent.rev == rev) } else { deletes.next_back().is_some_and(|sent| sent.rev == rev) }
}

/// Whether a message that is answered was about a native record that a reservation had before its record was deleted and came
/// back: it is older than whatever was recorded since, or is the delete.
fn is_of_former(link: &Link, rev: u64) -> bool {
    let sends = &link.shadow.sends;
    let of_delete = sends.iter().any(|sent| sent.rev == rev && sent.op == SendOp::Delete);
    let before_first = sends.first().is_some_and(|first| rev < first.rev) && !link.shadow.is_overwritten(rev);
    link.state == LinkState::Reserved && (of_delete || before_first)
}

/// A system will not take a message. `content`: what that showed, which is not sent again.
fn refuse(link: &mut Link, rev: u64, content: u64, source: &Target) {
    link.failures = 0;
    // Where answers come, one message is out at a time: what this one overtook since the last answer was never sent.
    let answered = link.shadow.answered_rev;
    let answers = source.answers_first() || source.receipts && answered > 0;
    let overtook = |sent: &Sent| answers && sent.rev > answered && sent.rev < rev;
    link.shadow.sends.retain(|sent| sent.rev != rev && !overtook(sent));
    if link.rev == rev {
        link.rejected = Some(content);
    }
}

/// The answer to a create gives the record its native id. `crossed`: that create, where it crossed a delete and was applied
/// after all.
fn bind<'a>(
    links: &'a mut Vec<Link>,
    index: usize,
    receipt: &Receipt,
    crossed: Option<Sent>,
    used_rev: u64,
    data: &Leaves,
) -> &'a mut Link {
    if links[index].state == LinkState::Detached {
        // The former native record keeps its link, and with it the history by which old copies of it are known.
        let mut link = Link::new(receipt.system().clone(), receipt.native_id.clone(), Overlay::nothing(data));
        link.rev = used_rev;
        link.shadow.sends.extend(crossed);
        links.push(link);
        let last = links.len() - 1;
        return &mut links[last];
    }
    let link = &mut links[index];
    if let Some(create) = crossed {
        // It is the first the system has of it.
        link.shadow.sends.insert(0, create);
        link.shadow.held_rev = 0;
    }
    if let Some(id) = receipt.native_id.clone() {
        link.native_id = Some(id);
        link.state = LinkState::Linked;
        link.omits.clear();
    }
    link
}
