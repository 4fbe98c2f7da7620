//! Audit events: who did what to which account, or to the fleet, and from which address.
//!
//! An event is one log line on the target `audit`, inside the request's span, which has the request id. Refusals that anyone
//! can cause without limit are written at most every ten seconds, with a count.
//!
//! No event holds a secret. None holds a login name as it was typed, because people type passwords into that field.

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard},
};

use crate::{
    log::{AUDIT_TARGET, repeats::Repeats},
    model::UserId,
    sync::MutexExt,
};

/// Kind of an audit event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    Login,
    /// The name was unknown, the password wrong, or the user suspended.
    LoginRefused,
    /// A password check, login or registration was refused by the throttle.
    Throttled,
    /// A password check failed outside a login.
    PasswordRefused,
    Registered,
    /// The name was taken, or values were invalid.
    RegistrationRefused,
    /// By its owner, or by an admin who knew it.
    PasswordChanged,
    /// A token to reset the password was issued.
    ResetStarted,
    /// The password was set with a reset token.
    PasswordReset,
    LoginNameChanged,
    /// Permissions were granted or revoked.
    PermissionsChanged,
    /// The user can no longer log in, and its sessions have ended.
    Suspended,
    /// The user can log in again.
    Unsuspended,
    /// An operator issued a session without a password.
    SessionIssued,
    SessionEnded,
    SessionsEnded,
    UserDeleted,
    /// The load-balancing algorithm was changed.
    AlgorithmChosen,
    /// The number of instances that a gateway runs was changed.
    InstancesChosen,
    /// A node was added, or an instance admitted again.
    NodeAdded,
    /// An added node was removed, or an instance taken out.
    NodeRemoved,
    /// Self-tuning was switched on or off.
    TuningSwitched,
    /// A request to an operator endpoint was not authorised.
    OperatorRefused,
}

/// Who caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A client without a session or operator token.
    Anonymous,
    /// A user with a session.
    User(UserId),
    /// The holder of an operator token.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody"),
            Self::User(user_id) => user_id.fmt(f),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// Records what `actor` did from `address` to the account `user_id`, if there is one.
pub fn record(kind: Kind, user_id: Option<UserId>, actor: Actor, address: Option<IpAddr>) {
    let write = || {
        tracing::info!(
            target: AUDIT_TARGET,
            event = <&str>::from(kind),
            user_id = user_id.map(tracing::field::display),
            actor = %actor,
            address = address.map(tracing::field::display),
        );
    };
    match kind {
        Kind::Throttled => THROTTLED.record(address, write),
        Kind::OperatorRefused => OPERATOR_REFUSED.record(address, write),
        _ => write(),
    }
}

static THROTTLED: RepeatedEvent = RepeatedEvent::new(Kind::Throttled, |count| THROTTLED.write(count));
static OPERATOR_REFUSED: RepeatedEvent =
    RepeatedEvent::new(Kind::OperatorRefused, |count| OPERATOR_REFUSED.write(count));

/// An event that anyone can cause without limit. The first is written at once, later ones as one line every ten seconds with
/// a count and the first address.
struct RepeatedEvent {
    kind: Kind,
    repeats: Repeats,
    first_address: Mutex<Option<IpAddr>>,
}

impl RepeatedEvent {
    const fn new(kind: Kind, write: fn(u64)) -> Self {
        Self { kind, repeats: Repeats::new(write), first_address: Mutex::new(None) }
    }

    fn record(&'static self, address: Option<IpAddr>, write: impl FnOnce()) {
        if self.repeats.record(write) == Some(0) {
            *self.first_address() = address;
        }
    }

    fn write(&self, count: u64) {
        let address = self.first_address().take();
        tracing::info!(
            target: AUDIT_TARGET,
            event = <&str>::from(self.kind),
            count,
            address = address.map(tracing::field::display),
        );
    }

    fn first_address(&self) -> MutexGuard<'_, Option<IpAddr>> {
        self.first_address.locked()
    }
}

/// Records what `actor` did to the fleet from `address`. `subject` is what was changed, such as a node.
pub fn record_fleet_event(kind: Kind, subject: &str, actor: Actor, address: Option<IpAddr>) {
    tracing::info!(
        target: AUDIT_TARGET,
        event = <&str>::from(kind),
        subject,
        actor = %actor,
        address = address.map(tracing::field::display),
    );
}
