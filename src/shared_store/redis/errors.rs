//! Errors of commands, and what they mean for a request.

use fred::error::{Error, ErrorKind};

/// Error of a command that the circuit breaker refuses.
pub(super) const CIRCUIT_OPEN: &str = "the circuit breaker is open";

/// Error of a command that finds no primary to be sent to.
pub(super) const NO_PRIMARY: &str = "not connected to a primary";

/// Error of a command for whose slot no node is known.
pub(super) const SLOT_UNKNOWN: &str = "no node is known for this slot";

pub(super) fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "no answer in time")
}

/// Whether a server rejected a write because it is a replica. In a script, older versions put another error first.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.details().contains("READONLY")
}

/// Whether an error means that the command had no effect: the circuit breaker refused it, there is no primary, or no node is
/// known for its slot.
pub(super) fn is_unsent(error: &Error) -> bool {
    is_read_only(error)
        || (*error.kind() == ErrorKind::Canceled && [CIRCUIT_OPEN, NO_PRIMARY].contains(&error.details()))
        || (*error.kind() == ErrorKind::Cluster && error.details() == SLOT_UNKNOWN)
}

/// Whether an error means that Redis is unavailable, rather than that it rejected a command.
pub(super) fn is_down(error: &Error) -> bool {
    let is_redirect = ["MOVED", "ASK"].iter().any(|word| error.details().starts_with(word));
    let is_unreachable = matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Cluster
            | ErrorKind::Sentinel
            | ErrorKind::Backpressure
            | ErrorKind::Tls
    );
    !is_redirect && (is_unreachable || is_read_only(error))
}
