//! What can go wrong.

use crate::state::StateError;

/// Why something was not sent, or why an adapter ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the broker can't be used.
    #[error("{0}")]
    Address(String),
    /// The record can't be written as a JSON object.
    #[error("the record can't be sent: {0}")]
    Model(String),
    /// The broker does not take it; sending it again changes nothing.
    #[error("the broker refuses it ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the broker says.
        detail: String,
    },
    /// The broker does not let this adapter in: a wrong token, a system that is not configured, an address that leads elsewhere.
    /// The message is as good as before; send it again once that is mended.
    #[error("the broker does not let this adapter in ({status}): {detail}")]
    NotAllowed {
        /// The HTTP status.
        status: u16,
        /// What the broker says.
        detail: String,
    },
    /// What was applied last can't be read or remembered.
    #[error("{0}")]
    State(#[from] StateError),
    /// A handler can't send: what it changed is reported by the system's change feed, after the receipt.
    #[error("a handler must not send; let the change feed do it")]
    InHandler,
    /// The adapter was stopped before the broker had it; send it again after the next start.
    #[error("the adapter was stopped before the broker had it")]
    Stopped,
}

impl Error {
    /// A refusal, with what the problem document says.
    pub(crate) fn refused(status: u16, body: &[u8]) -> Self {
        Self::Refused { status, detail: detail(body) }
    }

    /// Whoever sends is not let in.
    pub(crate) fn not_allowed(status: u16, body: &[u8]) -> Self {
        Self::NotAllowed { status, detail: detail(body) }
    }
}

/// What a problem document says, or the body as it is.
fn detail(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
    said("detail").or_else(|| said("title")).map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
