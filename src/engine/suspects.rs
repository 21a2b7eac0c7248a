//! Messages that may be what ended the process before.
//!
//! A message that was delivered several times and never settled is decided alone, so that it takes nothing else with it. That
//! alone does not say whether it is to blame: whatever waited behind the one that is, was delivered as often. So the tries are
//! counted here, durably and just before each of them, and only who is tried alone again and again is given up.

use std::sync::Arc;

use super::input::{Input, InputKind};
use super::intake::{broken, poison};
use super::messages::inbound_message;
use crate::domain::change::Inbound;
use crate::ports::error::{PortError, PortErrorKind};
use crate::ports::store::Store;

/// Tries of one message alone, each of which ended the process. A process may be killed for other reasons.
const TRIES_MAX: u64 = 10;
const COUNT: &str = "count the tries of a message";

/// A try that was counted.
#[derive(Debug)]
pub(super) struct Try {
    /// The input that was tried.
    pub arrival: u64,
    name: String,
}

/// Counts a try of each input; those that had theirs become dead letters. The count stands until somebody forgets it.
pub(super) async fn count_tries(store: &dyn Store, inputs: Vec<Input>) -> Result<(Vec<Input>, Vec<Try>), PortError> {
    let (mut counted, mut tried) = (Vec::with_capacity(inputs.len()), Vec::new());
    for mut input in inputs {
        if let InputKind::Message(message) = &input.kind {
            let name = format!("try:{}", id_of(message));
            let tries = match store.count_up(&name).await {
                Ok(tries) => tries,
                // It is tried all the same: nothing must wait for a count.
                Err(error) if error.kind == PortErrorKind::Unavailable => {
                    tracing::warn!(error = %error, "{COUNT}: the store does not answer");
                    0
                }
                Err(error) => return Err(error),
            };
            tried.push(Try { arrival: input.arrival, name });
            if tries > TRIES_MAX {
                let why = format!("the orchestrator was ended {TRIES_MAX} times while it decided this message, and nothing else");
                let body = inbound_message(message).to_string();
                input.kind = InputKind::Broken(Arc::new(broken(poison(message, why), body.as_bytes(), input.received_at)));
            }
        }
        counted.push(input);
    }
    Ok((counted, tried))
}

/// Forgets the tries of what is dealt with.
pub(super) async fn forget_tries(store: &dyn Store, tried: Vec<Try>) {
    if tried.is_empty() {
        return;
    }
    let names: Vec<String> = tried.into_iter().map(|tried| tried.name).collect();
    if let Err(error) = store.forget_counts(&names).await {
        tracing::debug!(error = %error, "tries are remembered that do not matter any more");
    }
}

fn id_of(message: &Inbound) -> String {
    match message {
        Inbound::Change(change) => change.update.to_string(),
        Inbound::Receipt(receipt) => receipt.update.to_string(),
        Inbound::ChangeSet { id, updates } => format!("{}:{}", updates.first().map(id_of).unwrap_or_default(), id.as_str()),
    }
}
