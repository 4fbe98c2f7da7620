//! Import of users in batches.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future::try_join_all;

use super::{ImportCandidate, Rejection};
use crate::{
    model::{LoginName, User, UserId},
    shards::{Claim, Placement, Shards, StoredClaim},
    store_error::StoreError,
    users::{UserError, names, names::ClaimOutcome},
};

/// Maximum size of a batch that is not split when a shard fails.
const MIN_SPLIT_SIZE: usize = 50;

#[derive(Debug, Clone)]
pub struct Import {
    shards: Shards,
}

/// Result of an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    pub imported: u64,
    /// Users that existed before.
    pub already_there: u64,
    pub rejected: Vec<Rejection>,
}

/// A candidate and the claim of its name.
struct ClaimedCandidate<'a> {
    candidate: &'a ImportCandidate,
    claim: Claim,
}

impl Import {
    /// Creates an import into `shards`, all of which must be available.
    pub fn new(shards: Shards) -> Self {
        Self { shards }
    }

    /// Imports a batch. Of several lines with the same login name one is imported.
    ///
    /// # Errors
    /// [`StoreError`] if a shard failed. Part of the batch may have been imported; the batch can be repeated.
    pub async fn add(&self, batch: &[ImportCandidate]) -> Result<ImportOutcome, UserError> {
        let (mut outcome, mut left) = (ImportOutcome::default(), vec![batch]);
        while let Some(part) = left.pop() {
            match self.shards.insert(async || self.add_at_one_epoch(part).await).await {
                Ok(added) => outcome.merge(added),
                // The batch may have been too large for the transaction timeout.
                Err(UserError::Store(StoreError::Unavailable { .. })) if part.len() > MIN_SPLIT_SIZE => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    async fn add_at_one_epoch(&self, batch: &[ImportCandidate]) -> Result<ImportOutcome, UserError> {
        let placement = self.shards.current()?;
        let mut outcome = ImportOutcome::default();
        let mut left: Vec<&ImportCandidate> = batch.iter().collect();
        while !left.is_empty() {
            let (distinct, repeated) = distinct(&left);
            let claimed = self.claim(&placement, distinct, &mut outcome).await?;
            self.insert(&placement, claimed, &mut outcome).await?;
            left = repeated;
        }
        Ok(outcome)
    }

    /// Claims the candidates' names. Returns those whose claim was acquired.
    async fn claim<'a>(
        &self,
        placement: &Placement,
        candidates: Vec<&'a ImportCandidate>,
        outcome: &mut ImportOutcome,
    ) -> Result<Vec<ClaimedCandidate<'a>>, UserError> {
        let claims = candidates.iter().map(|one| names::new_import_claim(&one.user.login_name, one.user.user_id));
        let claims: Vec<Claim> = claims.collect();
        let groups = placement.group(claims.clone(), |claim| claim.login_name.to_string());
        let held = groups.iter().map(async |(home, claims)| home.claim_names(home.epoch, claims).await);
        let held: Vec<StoredClaim> = try_join_all(held).await?.into_iter().flatten().collect();
        let owners = find_users(placement, held.iter().map(|stored| stored.claim.user_id)).await?;
        let held: HashMap<LoginName, StoredClaim> =
            held.into_iter().map(|stored| (stored.claim.login_name.clone(), stored)).collect();
        let mut claimed = Vec::new();
        for (candidate, claim) in candidates.into_iter().zip(claims) {
            let result = match held.get(&claim.login_name) {
                None => ClaimOutcome::Acquired(claim),
                Some(stored) => self.settle(candidate, stored, owners.get(&stored.claim.user_id)).await?,
            };
            match result {
                ClaimOutcome::Acquired(claim) => claimed.push(ClaimedCandidate { candidate, claim }),
                ClaimOutcome::Taken(user) if candidate.has_own_id && user.user_id != candidate.user.user_id => {
                    outcome.reject(candidate, "login_name", "belongs to a user with another id");
                }
                ClaimOutcome::Taken(_) => outcome.already_there += 1,
                ClaimOutcome::Pending { .. } => outcome.reject(
                    candidate,
                    "login_name",
                    "is being claimed by another request: import again in a minute",
                ),
            }
        }
        Ok(claimed)
    }

    /// Resolves a claim that existed before. `owner` is the row of its user.
    async fn settle(
        &self,
        candidate: &ImportCandidate,
        stored: &StoredClaim,
        owner: Option<&User>,
    ) -> Result<ClaimOutcome, UserError> {
        let Claim { login_name, user_id, .. } = &stored.claim;
        match owner {
            Some(user) if user.login_name == *login_name => Ok(ClaimOutcome::Taken(Box::new(user.clone()))),
            None if names::is_import_claim(&stored.claim)
                && (!candidate.has_own_id || *user_id == candidate.user.user_id) =>
            {
                // A new claim id, because the import that knows the old one may be about to release it.
                let renewed = names::renew(&self.shards, &stored.claim).await?;
                Ok(renewed.map_or(ClaimOutcome::Pending { retry_after: Duration::ZERO }, ClaimOutcome::Acquired))
            }
            _ => names::try_claim(&self.shards, names::new_import_claim(login_name, candidate.user.user_id)).await,
        }
    }

    /// Inserts users whose names are claimed, under the ids of the claims.
    async fn insert(
        &self,
        placement: &Placement,
        claimed: Vec<ClaimedCandidate<'_>>,
        outcome: &mut ImportOutcome,
    ) -> Result<(), StoreError> {
        let users = claimed.iter().map(|one| User { user_id: one.claim.user_id, ..one.candidate.user.clone() });
        let groups = placement.group(users.collect(), |user: &User| user.user_id.to_string());
        let existing = groups.iter().map(async |(home, users)| home.insert_users(home.epoch, users).await);
        let existing: HashSet<UserId> = try_join_all(existing).await?.into_iter().flatten().collect();
        let found = find_users(placement, existing.iter().copied()).await?;
        for ClaimedCandidate { candidate, claim } in claimed {
            if !existing.contains(&claim.user_id) {
                outcome.imported += 1;
            } else if found.get(&claim.user_id).is_some_and(|user| user.login_name == claim.login_name) {
                outcome.already_there += 1;
            } else {
                names::release(&self.shards, &claim).await;
                if found.contains_key(&claim.user_id) {
                    outcome.reject(candidate, "user_id", "belongs to a user with another login name");
                } else {
                    outcome.reject(
                        candidate,
                        "user_id",
                        "can no longer be used: remove it from the line, or use another one",
                    );
                }
            }
        }
        Ok(())
    }
}

/// Splits candidates into the first of each login name and id, and the others, which must wait for the result of the first.
fn distinct<'a>(candidates: &[&'a ImportCandidate]) -> (Vec<&'a ImportCandidate>, Vec<&'a ImportCandidate>) {
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    candidates.iter().partition(|candidate| {
        let User { user_id, login_name, .. } = &candidate.user;
        let is_first = !names.contains(login_name) && !ids.contains(user_id);
        names.insert(login_name);
        ids.insert(*user_id);
        is_first
    })
}

async fn find_users(
    placement: &Placement,
    user_ids: impl Iterator<Item = UserId>,
) -> Result<HashMap<UserId, User>, StoreError> {
    let groups = placement.group(user_ids.collect(), UserId::to_string);
    let found = try_join_all(groups.iter().map(async |(home, ids)| home.find_users(ids).await)).await?;
    Ok(found.into_iter().flatten().map(|user| (user.user_id, user)).collect())
}

impl ImportOutcome {
    fn reject(&mut self, candidate: &ImportCandidate, field: &str, detail: impl Into<String>) {
        self.rejected.push(Rejection::new(candidate.line, field, detail));
    }

    /// Adds the result of another batch.
    pub fn merge(&mut self, other: Self) {
        self.imported += other.imported;
        self.already_there += other.already_there;
        self.rejected.extend(other.rejected);
    }
}

#[cfg(test)]
mod tests;
