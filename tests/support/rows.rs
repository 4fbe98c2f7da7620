//! Rows of shards.

use std::time::Duration;

use serde_json::json;
use symbolon::{
    clock::Timestamp,
    model::{LoginName, PasswordHash, PasswordReset, Permissions, Profile, User, UserId},
    passwords::{HashKind, PasswordPolicy, Passwords},
    shards::{Claim, ShardStore},
};
use uuid::Uuid;

/// A cheap hash of a password.
pub async fn hash(password: &str) -> PasswordHash {
    let policy = PasswordPolicy {
        memory_kib: 8,
        iterations: 1,
        parallelism: 1,
        threads: 1,
        queue_timeout: Duration::from_secs(60),
    };
    let passwords = Passwords::start(&policy).expect("valid parameters");
    let slot = passwords.reserve(None, HashKind::New).expect("a queue slot");
    passwords.hash(slot, &password.to_owned().into()).await.expect("a hash")
}

pub fn login_name(text: &str) -> LoginName {
    LoginName::parse(text).expect("a login name")
}

/// A user with a value in every field that is not the default.
pub async fn user() -> User {
    let preferences = json!({"a": [1, "é\n\"", null, {}], "n": u64::MAX});
    User {
        user_id: UserId::generate(),
        login_name: login_name("ada"),
        password_hash: hash("correct horse").await,
        profile: Profile { name: "Ada".into(), email: "ada@example.com".into() },
        preferences: preferences.as_object().expect("an object").into(),
        permissions: Permissions { read: true, write: false, admin: true },
        suspended: true,
        idempotency_hash: Some([7; 32]),
        reset: Some(PasswordReset { digest: [9; 32], expires_at: Timestamp::from_millis(1_700_000_000_123) }),
        version: 1,
        created_at: Timestamp::from_millis(1_600_000_000_001),
        updated_at: Timestamp::from_millis(1_600_000_000_002),
    }
}

/// A new claim of a login name on a shard.
pub async fn claimed(shard: &dyn ShardStore, epoch: i64, name: &str) -> Claim {
    let claim = Claim { login_name: login_name(name), user_id: UserId::generate(), claim_id: Uuid::new_v4() };
    assert!(shard.claim_name(epoch, &claim).await.expect("an answer"));
    claim
}
