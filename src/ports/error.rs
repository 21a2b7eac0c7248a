//! Errors of ports. The kind says what the caller does next.

use std::fmt;

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortErrorKind {
    /// Take these plans out, reload and decide them again. Nothing was written.
    Conflict(Vec<usize>),
    /// Try again later; whether it happened is not known unless the operation says so.
    Unavailable,
    /// Don't try again: the request or the stored data is wrong.
    Invalid,
    /// There is no room; slow down.
    Full,
}

/// What went wrong, in which operation.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct PortError {
    /// What the caller does next.
    pub kind: PortErrorKind,
    /// What was tried: `commit`, `look up` …
    pub operation: &'static str,
    /// What went wrong, in one line, without secrets.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl PortError {
    /// An error without a cause of its own.
    pub fn new(kind: PortErrorKind, operation: &'static str, message: impl fmt::Display) -> Self {
        Self { kind, operation, message: message.to_string(), source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The plans in the way, if that is what it is about.
    #[must_use]
    pub fn conflicting(&self) -> Option<&[usize]> {
        match &self.kind {
            PortErrorKind::Conflict(plans) => Some(plans),
            PortErrorKind::Unavailable | PortErrorKind::Invalid | PortErrorKind::Full => None,
        }
    }
}
