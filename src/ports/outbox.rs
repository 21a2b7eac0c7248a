//! What becomes of an outbox row, the same in every backend. Pure.

use super::store::{OutboxChange, Owed, Published};
use crate::domain::ids::{CanonicalId, SystemName};

/// What becomes of an outbox row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stays as it is.
    Same,
    /// It has (again) something to send: written at the end of the order.
    Due(Owed),
    /// It is written where it is.
    Noted(Owed),
    /// Nothing is owed any more.
    Gone,
}

/// What a change makes of the row, if there is one.
#[must_use]
pub fn changed(row: Option<Owed>, record: CanonicalId, change: &OutboxChange) -> Next {
    match change {
        OutboxChange::Due { system, rev } => {
            let row = row.unwrap_or_else(|| Owed { delivered: rev.saturating_sub(1), ..blank(record, system) });
            if row.rev < *rev { Next::Due(Owed { rev: *rev, ..row }) } else { Next::Same }
        }
        OutboxChange::DueAfresh { system, rev } => {
            let row = Owed { delivered: 0, ..row.unwrap_or_else(|| blank(record, system)) };
            Next::Due(Owed { rev: row.rev.max(*rev), ..row })
        }
        OutboxChange::DueLater { system, rev, not_before } => {
            let held = || Owed { delivered: rev.saturating_sub(1), retry_at: Some(*not_before), ..blank(record, system) };
            let row = row.unwrap_or_else(held);
            if row.rev < *rev { Next::Due(Owed { rev: *rev, ..row }) } else { Next::Same }
        }
        OutboxChange::Sent(message) => row.map_or(Next::Same, |row| confirmed(row, message)),
        OutboxChange::Applied { rev, .. } => answered(row, *rev, true),
        OutboxChange::Rejected { rev, .. } => answered(row, *rev, false),
        OutboxChange::Failed { system, rev, retry_at } => {
            let row = row.unwrap_or_else(|| blank(record, system));
            // The message did not arrive, so the next one names its fields again.
            let (published, delivered) = (0, 0);
            let attempts = row.attempts.saturating_add(1);
            Next::Due(Owed { rev: row.rev.max(*rev), published, delivered, attempts, retry_at: Some(*retry_at), answer_by: None, ..row })
        }
    }
}

/// The system has answered `rev` for good; what is newer is still owed.
fn answered(row: Option<Owed>, rev: u64, applied: bool) -> Next {
    let Some(row) = row else { return Next::Same };
    if rev >= row.rev {
        return Next::Gone;
    }
    if applied && rev < row.published {
        return Next::Same;
    }
    Next::Due(Owed { published: 0, delivered: row.delivered.max(rev), attempts: 0, retry_at: None, answer_by: None, ..row })
}

/// What a confirmation of the broker makes of the row.
#[must_use]
pub fn confirmed(row: Owed, message: &Published) -> Next {
    if message.tried != (row.attempts, row.retry_at) {
        // It was answered before it was noted as sent: that it failed, say, and is to be sent again.
        return Next::Same;
    }
    if message.rev >= row.rev && !message.awaits_receipt {
        return Next::Gone;
    }
    if message.nothing || message.rev <= row.delivered {
        // Nothing was ever on its way, or nothing is any more: the receipt was faster than the confirmation.
        return Next::Same;
    }
    Next::Noted(Owed { published: message.rev, delivered: message.rev, answer_by: message.answer_by, ..row })
}

fn blank(record: CanonicalId, system: &SystemName) -> Owed {
    Owed { record, system: system.clone(), rev: 0, published: 0, delivered: 0, retry_at: None, attempts: 0, answer_by: None }
}

impl OutboxChange {
    /// The system it is about.
    #[must_use]
    pub const fn system(&self) -> &SystemName {
        match self {
            Self::Due { system, .. }
            | Self::DueAfresh { system, .. }
            | Self::DueLater { system, .. }
            | Self::Applied { system, .. }
            | Self::Failed { system, .. }
            | Self::Rejected { system, .. } => system,
            Self::Sent(message) => &message.system,
        }
    }
}
