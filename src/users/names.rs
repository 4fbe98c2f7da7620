//! Unique login names across shards, without cross-shard transactions.
//!
//! A name is a claim {name, user, claim id} on the name's shard. The user's row may be on another shard. **A claim is valid
//! if and only if the user's row has the claimed name.** Any other claim is pending or was abandoned by a crash. An
//! abandoned claim can be taken over after [`GRACE_PERIOD`], but only after its pending statement was fenced out on the
//! user's shard: a void row makes a registration's insert fail, and a raised version a rename's update. So two users never
//! have the same name, even if any process crashes at any point.

use std::time::Duration;

use uuid::Uuid;

use super::UserError;
use crate::model::{LoginName, User, UserId, version};
use crate::{
    clock::Timestamp,
    log::repeats::Repeats,
    shards::{Claim, Shards, StoredClaim},
    store_error::StoreError,
};

/// Age from which on a pending claim counts as abandoned.
const GRACE_PERIOD: Duration = Duration::from_secs(60);

/// Age below which a claim is most likely still in progress, and clients are told to retry soon.
const YOUNG_CLAIM_AGE: Duration = Duration::from_secs(5);
const YOUNG_CLAIM_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Lookups while waiting for a pending claim, and the interval between them.
const POLL_ATTEMPTS: usize = 20;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Attempts of a claim while others change the same name.
const ATTEMPTS: usize = 8;

/// Prefix of the ids of an import's claims. These ids are UUIDs of version 8, all others of version 4.
const IMPORT_ID_PREFIX: &[u8; 6] = b"import";

/// Result of an attempt to claim a name.
#[derive(Debug)]
pub(super) enum ClaimOutcome {
    /// The caller must confirm or release the claim.
    Acquired(Claim),
    /// This user has the name.
    Taken(Box<User>),
    /// Another claim is in progress, or was abandoned less than [`GRACE_PERIOD`] ago.
    Pending {
        /// Time until a retry may succeed.
        retry_after: Duration,
    },
}

/// Returns the user that has a name.
pub(super) async fn find(shards: &Shards, name: &LoginName) -> Result<Option<User>, StoreError> {
    match shards.shard_for_name(name)?.find_claim(name).await? {
        Some(stored) => confirmed_owner(shards, &stored).await,
        None => Ok(None),
    }
}

/// Returns the claim's user if its row has the claimed name.
async fn confirmed_owner(shards: &Shards, stored: &StoredClaim) -> Result<Option<User>, StoreError> {
    let Claim { login_name, user_id, .. } = &stored.claim;
    Ok(shards.shard_for_user(*user_id)?.find_user(*user_id).await?.filter(|user| user.login_name == *login_name))
}

/// Claims `name` for a user whose row does not have it yet.
pub(super) async fn claim(shards: &Shards, name: &LoginName, user_id: UserId) -> Result<ClaimOutcome, UserError> {
    let claim = Claim { login_name: name.clone(), user_id, claim_id: Uuid::new_v4() };
    shards.insert(async || try_claim(shards, claim.clone()).await).await
}

/// Waits up to a second until a pending claim becomes valid.
pub(super) async fn wait_for_user(shards: &Shards, name: &LoginName) -> Result<Option<User>, StoreError> {
    for _ in 0..POLL_ATTEMPTS {
        tokio::time::sleep(POLL_INTERVAL).await;
        if let Some(user) = find(shards, name).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Makes a claim under the current topology.
pub(super) async fn try_claim(shards: &Shards, claim: Claim) -> Result<ClaimOutcome, UserError> {
    let name = &claim.login_name;
    let store = shards.shard_for_name(name)?;
    for _ in 0..ATTEMPTS {
        if store.claim_name(store.epoch, &claim).await? {
            return Ok(ClaimOutcome::Acquired(claim));
        }
        let Some(stored) = store.find_claim(name).await? else { continue };
        if let Some(user) = confirmed_owner(shards, &stored).await? {
            return Ok(ClaimOutcome::Taken(Box::new(user)));
        }
        let age = stored.read_at.since(stored.claimed_at);
        // The clock was set back after the claim was made. Without this check the name would stay blocked until then.
        let is_from_future = stored.claimed_at.since(stored.read_at) > GRACE_PERIOD;
        if age < GRACE_PERIOD && !is_from_future {
            let retry_after = if age < YOUNG_CLAIM_AGE { YOUNG_CLAIM_RETRY_AFTER } else { GRACE_PERIOD - age };
            return Ok(ClaimOutcome::Pending { retry_after });
        }
        if fence_out(shards, &stored).await? && store.replace_claim(stored.claim.claim_id, &claim).await? {
            return Ok(ClaimOutcome::Acquired(claim));
        }
    }
    Err(UserError::Contended)
}

/// Creates a claim for a user that an import will insert.
pub(super) fn new_import_claim(name: &LoginName, user_id: UserId) -> Claim {
    Claim { login_name: name.clone(), user_id, claim_id: import_claim_id() }
}

fn import_claim_id() -> Uuid {
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[..IMPORT_ID_PREFIX.len()].copy_from_slice(IMPORT_ID_PREFIX);
    Uuid::new_v8(bytes)
}

pub(super) fn is_import_claim(claim: &Claim) -> bool {
    claim.claim_id.get_version_num() == 8 && claim.claim_id.as_bytes().starts_with(IMPORT_ID_PREFIX)
}

/// Makes every statement fail that would make the claim valid. Returns false if it is valid already, or if the user has
/// changed meanwhile.
async fn fence_out(shards: &Shards, stored: &StoredClaim) -> Result<bool, StoreError> {
    let Claim { login_name, user_id, .. } = &stored.claim;
    let store = shards.shard_for_user(*user_id)?;
    if store.void_user(store.epoch, *user_id).await? {
        return Ok(true);
    }
    match store.find_user(*user_id).await? {
        // An earlier takeover was interrupted after it made the row void.
        None => Ok(true),
        Some(user) if user.login_name == *login_name => {
            shards.shard_for_name(login_name)?.confirm_claim(&stored.claim).await?;
            Ok(false)
        }
        Some(user) => store.raise_version(*user_id, user.version, version::next(user.version, Timestamp::now())).await,
    }
}

/// Marks the claim as valid. A failure is only logged, because the claim is valid without the mark.
pub(super) async fn confirm(shards: &Shards, claim: &Claim) {
    let confirmed = async { shards.shard_for_name(&claim.login_name)?.confirm_claim(claim).await };
    if let Err(error) = confirmed.await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more login name claims not confirmed"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, user_id = %claim.user_id, "login name claim not confirmed");
        });
    }
}

/// Releases a claim that is not valid and will not become so. A failure is only logged, because the name can be taken over
/// later.
pub(super) async fn release(shards: &Shards, claim: &Claim) {
    let released = async { shards.shard_for_name(&claim.login_name)?.release_claim(claim).await };
    if let Err(error) = released.await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more login name claims not released"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, user_id = %claim.user_id, "login name claim not released");
        });
    }
}

/// Returns the claim of a user's current login name, to be released after the row has changed. It is read before the change,
/// because a later claim has another id, even for the same user.
pub(super) async fn find_held_claim(shards: &Shards, user: &User) -> Result<Option<Claim>, StoreError> {
    let stored = shards.shard_for_name(&user.login_name)?.find_claim(&user.login_name).await?;
    Ok(stored.map(|stored| stored.claim).filter(|claim| claim.user_id == user.user_id))
}

/// Gives a claim a new id, so that a takeover of the old one fails. Returns `None` if the claim no longer exists.
pub(super) async fn renew(shards: &Shards, claim: &Claim) -> Result<Option<Claim>, StoreError> {
    let claim_id = if is_import_claim(claim) { import_claim_id() } else { Uuid::new_v4() };
    let renewed = Claim { claim_id, ..claim.clone() };
    let replaced = shards.shard_for_name(&claim.login_name)?.replace_claim(claim.claim_id, &renewed).await?;
    Ok(replaced.then_some(renewed))
}
