//! What an error of the driver means to the caller.

use mongodb::error::{Error, ErrorKind, IndexedWriteError, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR};

use crate::ports::error::{PortError, PortErrorKind};

/// Codes of a server that can do it later: it steps down, stops, or took too long.
const LATER: [i32; 19] = [6, 7, 50, 64, 89, 91, 112, 134, 189, 202, 246, 251, 262, 9001, 10058, 10107, 11600, 11602, 13435];
const RECOVERING: i32 = 13436;
const NOT_AUTHORIZED: i32 = 13;
const DISK_FULL: i32 = 14031;
const WRITE_CONFLICT: i32 = 112;
const TOO_LARGE_FOR_CACHE: i32 = 388;
/// The server's code for an `_id` or unique value that is there already.
const DUPLICATE: i32 = 11000;

/// Turns an error of the driver into one of this operation.
pub(super) fn failed(operation: &'static str) -> impl Fn(Error) -> PortError + Copy {
    move |error| {
        let (kind, message) = meaning(&error);
        PortError::new(kind, operation, message).because(error)
    }
}

fn meaning(error: &Error) -> (PortErrorKind, String) {
    if let Some(first) = first_of(error) {
        return of_code(first.code, &first.message, error);
    }
    match &*error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Shutdown => {
            (PortErrorKind::Unavailable, format!("the connection to MongoDB failed: {}", error.kind))
        }
        ErrorKind::ServerSelection { message, .. } => {
            (PortErrorKind::Unavailable, format!("no MongoDB server that takes writes answers: {message}"))
        }
        ErrorKind::Authentication { message, .. } => {
            (PortErrorKind::Unavailable, format!("MongoDB does not accept the name or password of the connection string: {message}"))
        }
        ErrorKind::Command(command) => of_code(command.code, &command.message, error),
        _ if error.contains_label(RETRYABLE_WRITE_ERROR) || error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {
            (PortErrorKind::Unavailable, error.kind.to_string())
        }
        _ => (PortErrorKind::Invalid, error.kind.to_string()),
    }
}

fn of_code(code: i32, message: &str, error: &Error) -> (PortErrorKind, String) {
    let later = LATER.contains(&code) || code == RECOVERING;
    match code {
        TOO_LARGE_FOR_CACHE => {
            let remedy = "set a smaller orchestration.batch_size, or give MongoDB a larger cache";
            (PortErrorKind::Invalid, format!("a batch is too large for MongoDB's cache; {remedy}: {message}"))
        }
        DISK_FULL => (PortErrorKind::Full, format!("MongoDB's disk is full: {message}")),
        NOT_AUTHORIZED => (PortErrorKind::Invalid, format!("MongoDB's user may not do this; give it the role readWrite: {message}")),
        _ if later || error.contains_label(RETRYABLE_WRITE_ERROR) || error.contains_label(TRANSIENT_TRANSACTION_ERROR) => {
            (PortErrorKind::Unavailable, format!("MongoDB can't do it now: {message} ({code})"))
        }
        _ => (PortErrorKind::Invalid, format!("MongoDB refused: {message} ({code})")),
    }
}

/// An error of one statement of a write command.
pub(super) fn of_statement(operation: &'static str, code: i32, message: &str) -> PortError {
    let kind = if code == DISK_FULL { PortErrorKind::Full } else { PortErrorKind::Invalid };
    PortError::new(kind, operation, format!("MongoDB refused: {message} ({code})"))
}

/// Whether the transaction is too large for the server.
pub(super) fn is_too_large(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == TOO_LARGE_FOR_CACHE)
}

/// Whether others wrote the same at the same time.
pub(super) fn is_race(error: &Error) -> bool {
    let code = match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => first_of(error).map(|first| first.code),
    };
    code.is_some_and(is_race_code)
}

/// What was wrong with the first document that could not be inserted.
fn first_of(error: &Error) -> Option<&IndexedWriteError> {
    match &*error.kind {
        ErrorKind::InsertMany(many) => many.write_errors.as_ref()?.first(),
        _ => None,
    }
}

/// The same, of one statement.
pub(super) const fn is_race_code(code: i32) -> bool {
    matches!(code, WRITE_CONFLICT | DUPLICATE)
}

/// Whether the transaction came to nothing and may be tried again as it is.
pub(super) fn is_transient(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

/// A stored document that cannot be read.
pub(super) fn unreadable(operation: &'static str, what: &str, error: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Invalid, operation, format!("a stored {what} cannot be read: {error}"))
}

/// Nobody answered in time.
pub(super) fn late(operation: &'static str, deadline: std::time::Duration) -> PortError {
    PortError::new(PortErrorKind::Unavailable, operation, format!("MongoDB has not answered for {} s", deadline.as_secs()))
}
