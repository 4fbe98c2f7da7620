//! Audit events: who did what to which account, or to the fleet, from where. One log line each, on the target `audit`, inside the
//! request's span, which has its id; of refusals that anyone can cause without end, one with a count every ten seconds.
//!
//! No event holds a secret, and none holds a login name that was typed in: people type passwords there.

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

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session was made with a password.
    Login,
    /// A login was refused: the name, the password, or a suspended user.
    LoginRefused,
    /// A password check, login or registration was not made, because too many were.
    Throttled,
    /// A password check other than a login's failed.
    PasswordRefused,
    /// A user was registered.
    Registered,
    /// A registration was refused: a taken name, or values that break rules.
    RegistrationRefused,
    /// The password was changed by its owner, or by an admin who knew it.
    PasswordChanged,
    /// A token to reset the password was made.
    ResetStarted,
    /// The password was reset by such a token.
    PasswordReset,
    /// The login name was changed.
    LoginNameChanged,
    /// Permissions were given or taken.
    PermissionsChanged,
    /// The user may no longer log in, and its sessions have ended.
    Suspended,
    /// The user may log in again.
    Unsuspended,
    /// A session was made without a password.
    SessionIssued,
    /// One session was ended.
    SessionEnded,
    /// All sessions were ended.
    SessionsEnded,
    /// The account was deleted.
    UserDeleted,
    /// The algorithm that balances was chosen.
    AlgorithmChosen,
    /// The number of instances that a gateway runs was chosen.
    InstancesChosen,
    /// A node was added, or an instance let in again.
    NodeAdded,
    /// An added node was forgotten, or an instance taken out.
    NodeRemoved,
    /// Tuning was switched on or off.
    TuningSwitched,
    /// Someone without the right tried an operator's endpoint.
    OperatorRefused,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginRefused => "login_refused",
            Self::Throttled => "throttled",
            Self::PasswordRefused => "password_refused",
            Self::Registered => "registered",
            Self::RegistrationRefused => "registration_refused",
            Self::PasswordChanged => "password_changed",
            Self::ResetStarted => "reset_started",
            Self::PasswordReset => "password_reset",
            Self::LoginNameChanged => "login_name_changed",
            Self::PermissionsChanged => "permissions_changed",
            Self::Suspended => "suspended",
            Self::Unsuspended => "unsuspended",
            Self::SessionIssued => "session_issued",
            Self::SessionEnded => "session_ended",
            Self::SessionsEnded => "sessions_ended",
            Self::UserDeleted => "user_deleted",
            Self::AlgorithmChosen => "algorithm_chosen",
            Self::InstancesChosen => "instances_chosen",
            Self::NodeAdded => "node_added",
            Self::NodeRemoved => "node_removed",
            Self::TuningSwitched => "tuning_switched",
            Self::OperatorRefused => "operator_refused",
        }
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Someone who is not known.
    Nobody,
    /// A user, by a session.
    User(UserId),
    /// Whoever has an operator token.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::User(user_id) => user_id.fmt(f),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// Notes what `actor` did from `address`; `user_id` is the account that it was done to, where there is one.
pub fn record(kind: Kind, user_id: Option<UserId>, actor: Actor, address: Option<IpAddr>) {
    let write = || {
        tracing::info!(
            target: AUDIT_TARGET,
            event = kind.name(),
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

static THROTTLED: Repeated = Repeated::new(Kind::Throttled, |count| THROTTLED.write(count));
static OPERATOR_REFUSED: Repeated = Repeated::new(Kind::OperatorRefused, |count| OPERATOR_REFUSED.write(count));

/// Events that anyone can cause as often as they like, at no cost of theirs: one is written at once, and then one every ten
/// seconds, with a count and the first address.
struct Repeated {
    kind: Kind,
    repeats: Repeats,
    first_address: Mutex<Option<IpAddr>>,
}

impl Repeated {
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
            event = self.kind.name(),
            count,
            address = address.map(tracing::field::display),
        );
    }

    fn first_address(&self) -> MutexGuard<'_, Option<IpAddr>> {
        self.first_address.locked()
    }
}

/// Notes what `actor` did to the fleet from `address`; `subject` is the node or whatever else it was done to.
pub fn record_of_fleet(kind: Kind, subject: &str, actor: Actor, address: Option<IpAddr>) {
    tracing::info!(
        target: AUDIT_TARGET,
        event = kind.name(),
        subject,
        actor = %actor,
        address = address.map(tracing::field::display),
    );
}
