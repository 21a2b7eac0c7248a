//! What an error of RabbitMQ means to the caller.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::ports::error::{PortError, PortErrorKind};

/// Turns an error of the client into one of this operation. The server's own words name objects and users, never secrets.
pub(super) fn failed(operation: &'static str) -> impl Fn(lapin::Error) -> PortError + Copy {
    move |error| {
        let (kind, message) = meaning(&error);
        PortError::new(kind, operation, message).because(error)
    }
}

fn meaning(error: &lapin::Error) -> (PortErrorKind, String) {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => {
            let kind = if is_refusal(refusal.kind()) { PortErrorKind::Invalid } else { PortErrorKind::Unavailable };
            (kind, format!("RabbitMQ says: {}", refusal.get_message()))
        }
        ErrorKind::IOError(error) | ErrorKind::RuntimeShutdownError(error) => (PortErrorKind::Unavailable, error.to_string()),
        ErrorKind::MissingHeartbeatError => (PortErrorKind::Unavailable, "RabbitMQ has fallen silent".to_owned()),
        ErrorKind::InvalidChannel(_) | ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => {
            (PortErrorKind::Unavailable, "the connection to RabbitMQ is closed".to_owned())
        }
        _ => (PortErrorKind::Unavailable, error.to_string()),
    }
}

/// Whether trying again changes nothing: wrong credentials, rights or arguments.
fn is_refusal(kind: &AMQPErrorKind) -> bool {
    match kind {
        AMQPErrorKind::Soft(soft) => matches!(soft, AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED),
        AMQPErrorKind::Hard(hard) => {
            matches!(hard, AMQPHardError::NOTALLOWED | AMQPHardError::COMMANDINVALID | AMQPHardError::NOTIMPLEMENTED)
        }
    }
}

/// The server's answer to an object that is not there.
pub(super) fn is_absent(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if matches!(refusal.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)))
}

/// The server's words, if it refused something because it exists in another form.
pub(super) fn mismatch(error: &lapin::Error) -> Option<&str> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) if matches!(refusal.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)) => {
            Some(refusal.get_message().as_str())
        }
        _ => None,
    }
}

/// It took longer than it may.
pub(super) fn too_slow(operation: &'static str, seconds: u64) -> PortError {
    PortError::new(PortErrorKind::Unavailable, operation, format!("RabbitMQ did not answer within {seconds} s"))
}

/// The error once more, for another of those it concerns.
pub(super) fn again(error: &PortError, operation: &'static str) -> PortError {
    PortError::new(error.kind.clone(), operation, &error.message)
}
