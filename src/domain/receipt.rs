//! What an adapter's answer does to the link it is about.

use super::canonical::CanonicalRecord;
use super::change::{DeadReason, Receipt, ReceiptStatus, Rejection};
use super::decide::Situation;
use super::delete::let_go;
use super::link::{Link, LinkState, SendOp, Sent};
use super::overlay::Overlay;
use super::planted;
use super::representation::Equality;
use super::sending::{NOTHING_STORED, model_hash};
use super::shadow::{remember_stored, settle_through};
use super::value::Leaves;

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Why the row says what it says, in a sentence.
    pub reason: String,
    /// It gave the record its native id in that system.
    pub bound: bool,
}

/// The link a receipt is about: the one with its native id, else the open reservation of its system.
#[must_use]
pub fn answered_link(record: &CanonicalRecord, receipt: &Receipt) -> Option<usize> {
    let by_id = receipt.native_id.as_ref().and_then(|id| record.link_of(receipt.system(), id));
    let reserved = || record.links.iter().position(|link| link.system == *receipt.system() && link.state == LinkState::Reserved);
    by_id.or_else(reserved)
}

fn named(link: &Link) -> &str {
    link.native_id.as_ref().map_or("", |id| id.as_str())
}

/// Applies a receipt to its link. `stored` are the forms the system keeps, in canonical names.
pub fn answer(record: &mut CanonicalRecord, receipt: &Receipt, stored: &Leaves, situation: &Situation<'_>) -> Result<Answered, Rejection> {
    let system = receipt.system();
    let Some(index) = answered_link(record, receipt) else {
        let detail = format!("{system} answers for record {}, which was never sent to it under this id", record.id);
        return Err(Rejection::new(DeadReason::UnknownReceipt, detail));
    };
    if receipt.rev > record.links[index].rev {
        let detail = format!("rev {} was never sent; the last one was {}", receipt.rev, record.links[index].rev);
        return Err(Rejection::new(DeadReason::UnknownReceipt, detail).at("rev"));
    }
    let rejected = model_hash(record, &record.links[index], &situation.source.side);
    let CanonicalRecord { links, data, id, .. } = record;
    let link = &mut links[index];
    // It made what it was sent as a record that is part of this one now, and whose messages are not kept.
    let of_part = receipt.canonical_id.is_some_and(|sent_as| sent_as != *id && link.from != Some(sent_as));
    let told = receipt.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let equality = Equality { types: situation.types, side: &situation.source.side, stored: NOTHING_STORED };
    let answers_delete = !planted::fault("delete_answer_ignored")
        && link.shadow.sends.iter().any(|sent| sent.rev == receipt.rev && sent.op == SendOp::Delete);
    match receipt.status {
        ReceiptStatus::Applied if answers_delete && link.state == LinkState::Linked => {
            let_go(link, data);
            Ok(Answered { reason: format!("{system} deleted the record"), bound: false })
        }
        ReceiptStatus::Applied => {
            let bound = link.state == LinkState::Reserved && !answers_delete;
            if let Some(id) = receipt.native_id.clone().filter(|_| bound) {
                link.native_id = Some(id);
                link.state = LinkState::Linked;
                link.omits.clear();
            }
            if bound && of_part {
                link.shadow.held = Overlay::nothing(data);
                link.shadow.sends.last_mut().into_iter().for_each(|newest| newest.unannounced = true);
                let reason = format!("{system} made a record that is part of this one by now; there it is {}", named(link));
                return Ok(Answered { reason, bound });
            }
            remember_stored(&mut link.shadow, data, equality, receipt.rev, stored);
            // An adapter that says its base orders its reads by it; there a receipt says nothing about what it holds.
            if !situation.source.says_base && !planted::fault("receipt_ignored") {
                settle_through(&mut link.shadow, data, equality, receipt.rev);
            }
            link.rejected = None;
            link.failures = 0;
            link.shadow.answered_rev = link.shadow.answered_rev.max(receipt.rev);
            let answered = link.shadow.sends.iter().find(|sent| sent.rev == receipt.rev).map_or(0, |sent| sent.version);
            link.shadow.known_version = link.shadow.known_version.max(answered);
            let reason = if bound {
                format!("{system} made the record; there it is {}", named(link))
            } else {
                format!("{system} applied rev {}", receipt.rev)
            };
            Ok(Answered { reason, bound })
        }
        ReceiptStatus::Failed => {
            link.failures = link.failures.saturating_add(1);
            Ok(Answered { reason: format!("{system} could not apply rev {}{told}; it is sent again", receipt.rev), bound: false })
        }
        ReceiptStatus::Rejected => {
            link.failures = 0;
            // Where answers come, one message is out at a time: what this one overtook since the last answer was never sent.
            let answered = link.shadow.answered_rev;
            let answers = situation.source.answers_first() || situation.source.receipts && answered > 0;
            let overtook = |sent: &Sent| answers && sent.rev > answered && sent.rev < receipt.rev;
            link.shadow.sends.retain(|sent| sent.rev != receipt.rev && !overtook(sent));
            if link.rev == receipt.rev {
                link.rejected = Some(rejected);
            }
            Ok(Answered { reason: format!("{system} refuses rev {}{told}; the same content is not sent again", receipt.rev), bound: false })
        }
    }
}
