//! Login names that are unique across shards, without a transaction across shards.
//!
//! A name lives on its own shard as a claim {name, user, claim id}; the user's row lives on another. **A claim is valid
//! if and only if the user's row names it back.** Any other claim is one under way or one left by a crash. Left ones may
//! be taken over after [`GRACE`], but only once what they were made for has been fenced out at the user's shard: a
//! void row stops a registration's insert, a raised version stops a rename's update. So at no point do two users answer
//! to one name, whoever crashes where.

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

/// How long a claim may be under way before it counts as left behind.
const GRACE: Duration = Duration::from_secs(60);

/// Age below which an attempt is taken to be under way rather than left.
const SOON_OVER: Duration = Duration::from_secs(5);
const RETRY_SOON: Duration = Duration::from_secs(1);

/// Lookups that wait for the end of a claim under way, and the interval between them.
const POLL_ATTEMPTS: usize = 20;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How often a claim is tried again when it loses a race against a change of the same name.
const ATTEMPTS: usize = 8;

/// What the ids of an import's claims begin with; they are UUIDs of version 8, as no other claim's are.
const IMPORT_MARK: &[u8; 6] = b"import";

/// What became of an attempt to claim a name.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is ours until confirmed or released.
    Ours(Claim),
    /// This user has it.
    By(Box<User>),
    /// Someone's attempt is under way, or was left half-way.
    UnderWay {
        /// When to try again: soon, or when it may be taken over.
        retry_after: Duration,
    },
}

/// The user whom a name belongs to.
pub(super) async fn find(shards: &Shards, name: &LoginName) -> Result<Option<User>, StoreError> {
    match shards.shard_for_name(name)?.find_claim(name).await? {
        Some(stored) => named_back(shards, &stored).await,
        None => Ok(None),
    }
}

/// The claim's user, if its row names the claim back.
async fn named_back(shards: &Shards, stored: &StoredClaim) -> Result<Option<User>, StoreError> {
    let Claim { login_name, user_id, .. } = &stored.claim;
    Ok(shards.shard_for_user(*user_id)?.find_user(*user_id).await?.filter(|user| user.login_name == *login_name))
}

/// Claims `name` for a user whose row does not name it yet.
pub(super) async fn claim(shards: &Shards, name: &LoginName, user_id: UserId) -> Result<Claimed, UserError> {
    let claim = Claim { login_name: name.clone(), user_id, claim_id: Uuid::new_v4() };
    shards.insert(async || make(shards, claim.clone()).await).await
}

/// Waits up to a second for a claim under way to get its user.
pub(super) async fn wait_for_user(shards: &Shards, name: &LoginName) -> Result<Option<User>, StoreError> {
    for _ in 0..POLL_ATTEMPTS {
        tokio::time::sleep(POLL_INTERVAL).await;
        if let Some(user) = find(shards, name).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Puts a claim in its place under one topology.
pub(super) async fn make(shards: &Shards, claim: Claim) -> Result<Claimed, UserError> {
    let name = &claim.login_name;
    let store = shards.shard_for_name(name)?;
    for _ in 0..ATTEMPTS {
        if store.claim_name(store.epoch, &claim).await? {
            return Ok(Claimed::Ours(claim));
        }
        let Some(stored) = store.find_claim(name).await? else { continue };
        if let Some(user) = named_back(shards, &stored).await? {
            return Ok(Claimed::By(Box::new(user)));
        }
        let age = stored.read_at.since(stored.claimed_at);
        // A claim from so far in the future was made before the clock was set back, and would keep its name until then.
        let is_impossible = stored.claimed_at.since(stored.read_at) > GRACE;
        if age < GRACE && !is_impossible {
            let retry_after = if age < SOON_OVER { RETRY_SOON } else { GRACE - age };
            return Ok(Claimed::UnderWay { retry_after });
        }
        if fence_out(shards, &stored).await? && store.replace_claim(stored.claim.claim_id, &claim).await? {
            return Ok(Claimed::Ours(claim));
        }
    }
    Err(UserError::Contended)
}

/// A claim for a user that an import is about to insert, recognisable as such.
pub(super) fn claim_of_import(name: &LoginName, user_id: UserId) -> Claim {
    Claim { login_name: name.clone(), user_id, claim_id: marked() }
}

fn marked() -> Uuid {
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[..IMPORT_MARK.len()].copy_from_slice(IMPORT_MARK);
    Uuid::new_v8(bytes)
}

/// Whether an import made this claim.
pub(super) fn is_of_import(claim: &Claim) -> bool {
    claim.claim_id.get_version_num() == 8 && claim.claim_id.as_bytes().starts_with(IMPORT_MARK)
}

/// Makes any statement fail by which the claim's user would name it back. Returns false if the user names it back already or
/// has changed meanwhile.
async fn fence_out(shards: &Shards, stored: &StoredClaim) -> Result<bool, StoreError> {
    let Claim { login_name, user_id, .. } = &stored.claim;
    let store = shards.shard_for_user(*user_id)?;
    if store.void_user(store.epoch, *user_id).await? {
        return Ok(true);
    }
    match store.find_user(*user_id).await? {
        // A void row from an earlier takeover that got no further.
        None => Ok(true),
        Some(user) if user.login_name == *login_name => {
            shards.shard_for_name(login_name)?.confirm_claim(&stored.claim).await?;
            Ok(false)
        }
        Some(user) => store.raise_version(*user_id, user.version, version::next(user.version, Timestamp::now())).await,
    }
}

/// Notes that the user's row names the claim back. The name works without: a failure costs nothing but a note.
pub(super) async fn confirm(shards: &Shards, claim: &Claim) {
    let confirmed = async { shards.shard_for_name(&claim.login_name)?.confirm_claim(claim).await };
    if let Err(error) = confirmed.await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more login names were not confirmed"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, user_id = %claim.user_id, "a login name was not confirmed");
        });
    }
}

/// Gives a name up that `user_id`'s row does not name, and never will under this claim. If this fails, the name can be
/// taken over later.
pub(super) async fn release(shards: &Shards, claim: &Claim) {
    let released = async { shards.shard_for_name(&claim.login_name)?.release_claim(claim).await };
    if let Err(error) = released.await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more login names were not released"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, user_id = %claim.user_id, "a login name was not released");
        });
    }
}

/// The claim by which a user has its login name, to be released once its row no longer names it. It is read before the
/// row changes: a claim made later, by the same user too, is another one.
pub(super) async fn held(shards: &Shards, user: &User) -> Result<Option<Claim>, StoreError> {
    let stored = shards.shard_for_name(&user.login_name)?.find_claim(&user.login_name).await?;
    Ok(stored.map(|stored| stored.claim).filter(|claim| claim.user_id == user.user_id))
}

/// Puts a claim of a new id in the place of one's own; `None` if it is no longer there. A takeover of
/// the old claim fails from then on.
pub(super) async fn renew(shards: &Shards, claim: &Claim) -> Result<Option<Claim>, StoreError> {
    let claim_id = if is_of_import(claim) { marked() } else { Uuid::new_v4() };
    let renewed = Claim { claim_id, ..claim.clone() };
    let replaced = shards.shard_for_name(&claim.login_name)?.replace_claim(claim.claim_id, &renewed).await?;
    Ok(replaced.then_some(renewed))
}
