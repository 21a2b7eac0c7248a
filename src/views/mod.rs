//! Stored things as people and programs get to see them: the same for the command line and for HTTP.

pub mod compare;
pub mod find;
pub mod holds;
pub mod native;
pub mod rows;
pub mod systems;
pub mod topology;
pub mod verify;
pub mod why;

use std::fmt;

use crate::domain::ids::InvalidId;
use crate::ports::error::PortError;

/// Why something can't be shown.
#[derive(Debug)]
pub enum ViewError {
    /// It is not there.
    Absent(String),
    /// The question is wrong; says what to ask instead.
    Question(String),
    /// The store or the broker failed.
    Port(PortError),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(text) | Self::Question(text) => f.write_str(text),
            Self::Port(error) => error.fmt(f),
        }
    }
}

impl From<PortError> for ViewError {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<InvalidId> for ViewError {
    fn from(error: InvalidId) -> Self {
        Self::Question(error.to_string())
    }
}
