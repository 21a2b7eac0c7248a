//! What ends a command early, with its exit code.

use std::fmt;
use std::io;
use std::path::Path;

use crate::config::ConfigErrors;
use crate::domain::ids::InvalidId;
use crate::ports::error::{PortError, PortErrorKind};
use crate::views::ViewError;

/// Not there, or a check failed.
pub const FAILED: u8 = 1;
/// Wrong arguments.
pub const USAGE: u8 = 64;
/// Something needed could not be reached.
pub const UNREACHABLE: u8 = 69;
/// A fault of our own, or of stored data.
pub const INTERNAL: u8 = 70;
/// Reading or writing a file failed.
pub const DISK: u8 = 74;
/// It is not allowed.
pub const NOT_ALLOWED: u8 = 77;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a command could not do its work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What happened and what to do; empty if everything is said already.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Wrong arguments.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(USAGE, message)
    }

    /// A fault of our own.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(INTERNAL, message)
    }

    /// Something needed could not be reached.
    pub fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(UNREACHABLE, message)
    }

    /// It is not allowed.
    pub fn not_allowed(message: impl fmt::Display) -> Self {
        Self::new(NOT_ALLOWED, message)
    }

    /// The configuration is wrong.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self::new(CONFIGURATION, message)
    }

    /// What was asked for is not there.
    pub fn absent(message: impl fmt::Display) -> Self {
        Self::new(FAILED, message)
    }

    /// A file could not be read or written.
    pub fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(DISK, format!("cannot {what} {}: {error}", path.display()))
    }

    /// Says it on stderr.
    pub(super) fn print(&self) {
        for line in self.message.lines() {
            super::output::complain(line);
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let code = match error.kind {
            PortErrorKind::Unavailable => UNREACHABLE,
            PortErrorKind::Full => DISK,
            PortErrorKind::Invalid | PortErrorKind::Conflict(_) => INTERNAL,
        };
        Self::new(code, error)
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Absent(text) => Self::absent(text),
            ViewError::Question(text) => Self::usage(text),
            ViewError::Port(error) => error.into(),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(CONFIGURATION, errors)
    }
}

impl From<InvalidId> for Failure {
    fn from(error: InvalidId) -> Self {
        Self::usage(error)
    }
}
