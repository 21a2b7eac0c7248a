//! What an SQLite error means to the caller.

use rusqlite::ErrorCode;

use crate::ports::error::{PortError, PortErrorKind};

/// Turns an SQLite error into one of this operation.
pub(super) fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> PortError + Copy {
    move |error| {
        let (kind, message) = meaning(&error);
        PortError::new(kind, operation, message).because(error)
    }
}

fn meaning(error: &rusqlite::Error) -> (PortErrorKind, String) {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (PortErrorKind::Full, "the disk is full; make room, nothing was written".to_owned()),
        Some(ErrorCode::SystemIoFailure) => (PortErrorKind::Unavailable, format!("the disk failed: {error}")),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (PortErrorKind::Unavailable, "the file is locked by another program; close it".to_owned())
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (PortErrorKind::Unavailable, "the file may not be written; check its owner and permissions".to_owned())
        }
        Some(ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => (PortErrorKind::Unavailable, error.to_string()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (PortErrorKind::Invalid, format!("the file is damaged ({error}); restore it from a backup"))
        }
        _ => (PortErrorKind::Invalid, error.to_string()),
    }
}

/// A stored row that cannot be read.
pub(super) fn unreadable(operation: &'static str, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> PortError {
    PortError::new(PortErrorKind::Invalid, operation, format!("a stored {what} cannot be read: {error}")).because(error)
}

/// The writer is gone: it was stopped, or it failed before.
pub(super) fn stopped(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::Unavailable, operation, "the store was closed")
}

/// The error once more, for another of those it concerns.
pub(super) fn again(error: &PortError, operation: &'static str) -> PortError {
    PortError::new(error.kind.clone(), operation, &error.message)
}
