//! What an error of the driver means to the caller.

use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind, IndexedWriteError, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::ports::error::{PortError, PortErrorKind};

/// Codes of a server that can do it later: it steps down, stops, has too much to do, took too long, or somebody ended what it was
/// doing.
const LATER: [i32; 28] = [
    6, 7, 24, 43, 46, 50, 64, 89, 91, 112, 134, 175, 189, 202, 225, 237, 246, 251, 262, 290, 365, 9001, 10058, 10107, 11600, 11601, 11602,
    13435,
];
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
        // It is done, but not yet on as many machines as it must be.
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            (PortErrorKind::Unavailable, format!("MongoDB can't do it now: {} ({})", concern.message, concern.code))
        }
        ErrorKind::Write(WriteFailure::WriteError(wrong)) => of_code(wrong.code, &wrong.message, error),
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

/// What a write command that was answered has not done all the same.
pub(super) fn all_done(operation: &'static str, answer: &Document) -> Result<(), PortError> {
    let said = |wrong: &Document| (wrong.get_i32("code").unwrap_or(0), wrong.get_str("errmsg").unwrap_or("it does not say why").to_owned());
    if let Some(wrong) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document()) {
        let (code, message) = said(wrong);
        return Err(of_statement(operation, code, &message));
    }
    if let Ok(wrong) = answer.get_document("writeConcernError") {
        let (code, message) = said(wrong);
        return Err(PortError::new(PortErrorKind::Unavailable, operation, format!("MongoDB can't do it now: {message} ({code})")));
    }
    Ok(())
}

/// An error of one statement of a write command.
pub(super) fn of_statement(operation: &'static str, code: i32, message: &str) -> PortError {
    let kind = match code {
        DISK_FULL => PortErrorKind::Full,
        _ if LATER.contains(&code) => PortErrorKind::Unavailable,
        _ => PortErrorKind::Invalid,
    };
    PortError::new(kind, operation, format!("MongoDB refused: {message} ({code})"))
}

/// Whether the transaction is too large for the server.
pub(super) fn is_too_large(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == TOO_LARGE_FOR_CACHE)
}

/// Whether others wrote the same at the same time.
pub(super) fn is_race(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => is_race_of(command.code, &command.message),
        _ => first_of(error).is_some_and(|first| is_race_of(first.code, &first.message)),
    }
}

/// What was wrong with the first document that could not be inserted.
fn first_of(error: &Error) -> Option<&IndexedWriteError> {
    match &*error.kind {
        ErrorKind::InsertMany(many) => many.write_errors.as_ref()?.first(),
        _ => None,
    }
}

/// The same, of one statement. A value that a unique index of somebody else's does not take is none: it would be refused for ever.
pub(super) fn is_race_of(code: i32, message: &str) -> bool {
    let foreign = || message.split_once("index: ").is_some_and(|(_, index)| !index.starts_with("_id_"));
    code == WRITE_CONFLICT || code == DUPLICATE && !foreign()
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

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn who_met_others_is_told_from_who_met_an_index_of_somebody_elses() {
        let duplicate = |index: &str| format!("E11000 duplicate key error collection: db.canonical {index} dup key: {{ : 1 }}");
        assert!(is_race_of(DUPLICATE, &duplicate("index: _id_")) && is_race_of(DUPLICATE, "no index is named"));
        assert!(!is_race_of(DUPLICATE, &duplicate("index: data.serial_1")), "it would be refused for ever");
        assert!(is_race_of(WRITE_CONFLICT, &duplicate("index: data.serial_1")) && !is_race_of(DISK_FULL, ""));
    }

    #[test]
    fn an_answer_may_say_that_not_all_was_done() {
        let concern = doc! {"ok": 1, "n": 1, "writeConcernError": {"code": 189, "errmsg": "stepped down"}};
        assert_eq!(all_done("erase", &concern).unwrap_err().kind, PortErrorKind::Unavailable);
        let wrong = doc! {"ok": 1, "writeErrors": [{"index": 0, "code": 11601, "errmsg": "interrupted"}]};
        assert_eq!(all_done("erase", &wrong).unwrap_err().kind, PortErrorKind::Unavailable);
        assert!(all_done("erase", &doc! {"ok": 1, "n": 1}).is_ok());
    }
}
