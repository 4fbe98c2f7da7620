//! Names of all keys. The keys of one user share a hash tag, and so do those of the fleet.

use uuid::Uuid;

use crate::{
    model::{SessionId, UserId},
    shared_store::Bucket,
};

/// Prefix of every key.
pub(super) const PREFIX: &str = "symbolon:";

fn of_user(user_id: UserId, suffix: &str) -> String {
    let mut uuid = Uuid::encode_buffer();
    [PREFIX, "{", user_id.uuid().hyphenated().encode_lower(&mut uuid), "}:", suffix].concat()
}

/// Generation and snapshot of a user.
pub(super) fn user(user_id: UserId) -> String {
    of_user(user_id, "user")
}

pub(super) fn session(user_id: UserId, session_id: SessionId) -> String {
    of_user(user_id, &format!("session:{session_id}"))
}

/// Prefix of the keys of a user's sessions, for scripts, which append the session id.
pub(super) fn session_prefix(user_id: UserId) -> String {
    of_user(user_id, "session:")
}

/// Session ids of a user.
pub(super) fn session_index(user_id: UserId) -> String {
    of_user(user_id, "index")
}

/// Whether a key is that of a session.
pub(super) fn is_session(key: &str) -> bool {
    key.starts_with(PREFIX) && key.contains("}:session:")
}

pub(super) fn revocations(user_id: UserId) -> String {
    of_user(user_id, "revocations")
}

pub(super) fn bucket(bucket: &Bucket) -> String {
    format!("{PREFIX}throttle:{{{}}}", const_hex::encode(bucket.key))
}

/// Times of the last heartbeats of instances.
pub(super) fn heartbeats() -> String {
    format!("{PREFIX}{{fleet}}:seen")
}

/// Records of instances.
pub(super) fn instances() -> String {
    format!("{PREFIX}{{fleet}}:records")
}

/// Load-balancing settings of operators.
pub(super) fn balancing() -> String {
    format!("{PREFIX}{{fleet}}:balancing")
}

/// Times at which instances were removed from load balancing.
pub(super) fn removed() -> String {
    format!("{PREFIX}{{fleet}}:removed")
}

pub(super) fn note(name: &str) -> String {
    format!("{PREFIX}{{fleet}}:note:{name}")
}

pub(super) fn lock(name: &str) -> String {
    format!("{PREFIX}lock:{{{name}}}")
}
