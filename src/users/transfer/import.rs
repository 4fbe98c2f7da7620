//! Import: batches of users, each to its shard.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future::try_join_all;

use super::{Candidate, Rejection};
use crate::{
    model::{LoginName, User, UserId},
    shards::{Claim, Placement, Shards, StoredClaim},
    store_error::StoreError,
    users::{UserError, names, names::Claimed},
};

/// A batch that is not cut in two when a shard fails.
const SMALLEST: usize = 50;

/// Brings users in.
#[derive(Debug, Clone)]
pub struct Import {
    shards: Shards,
}

/// What became of the lines of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many users were added.
    pub imported: u64,
    /// How many had been there before.
    pub already_there: u64,
    /// The lines of which nothing was made.
    pub rejected: Vec<Rejection>,
}

/// A user whose name is claimed for it.
struct Entitled<'a> {
    candidate: &'a Candidate,
    claim: Claim,
}

impl Import {
    /// Into `shards`, all of which must be within reach.
    pub fn new(shards: Shards) -> Self {
        Self { shards }
    }

    /// Brings a batch in. Of lines with the same login name one goes in.
    ///
    /// # Errors
    /// [`StoreError`] if a shard failed: any part of the batch may be in, and the batch can be repeated.
    pub async fn add(&self, batch: &[Candidate]) -> Result<Outcome, UserError> {
        let (mut outcome, mut left) = (Outcome::default(), vec![batch]);
        while let Some(part) = left.pop() {
            match self.shards.insert(async || self.add_at_one_epoch(part).await).await {
                Ok(added) => outcome.merge(added),
                // It may have been too much for the time that a transaction has.
                Err(UserError::Store(StoreError::Unavailable { .. })) if part.len() > SMALLEST => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    async fn add_at_one_epoch(&self, batch: &[Candidate]) -> Result<Outcome, UserError> {
        let placement = self.shards.current()?;
        let mut outcome = Outcome::default();
        let mut left: Vec<&Candidate> = batch.iter().collect();
        while !left.is_empty() {
            let (distinct, repeated) = distinct(&left);
            let entitled = self.claim(&placement, distinct, &mut outcome).await?;
            self.insert(&placement, entitled, &mut outcome).await?;
            left = repeated;
        }
        Ok(outcome)
    }

    /// Claims the candidates' names, and returns those whose name is theirs.
    async fn claim<'a>(
        &self,
        placement: &Placement,
        candidates: Vec<&'a Candidate>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Entitled<'a>>, UserError> {
        let claims = candidates.iter().map(|one| names::claim_of_import(&one.user.login_name, one.user.user_id));
        let claims: Vec<Claim> = claims.collect();
        let groups = placement.group(claims.clone(), |claim| claim.login_name.to_string());
        let held = groups.iter().map(async |(home, claims)| home.claim_names(home.epoch, claims).await);
        let held: Vec<StoredClaim> = try_join_all(held).await?.into_iter().flatten().collect();
        let owners = find_users(placement, held.iter().map(|stored| stored.claim.user_id)).await?;
        let held: HashMap<LoginName, StoredClaim> =
            held.into_iter().map(|stored| (stored.claim.login_name.clone(), stored)).collect();
        let mut entitled = Vec::new();
        for (candidate, claim) in candidates.into_iter().zip(claims) {
            let claimed = match held.get(&claim.login_name) {
                None => Claimed::Ours(claim),
                Some(stored) => self.settle(candidate, stored, owners.get(&stored.claim.user_id)).await?,
            };
            match claimed {
                Claimed::Ours(claim) => entitled.push(Entitled { candidate, claim }),
                Claimed::By(user) if candidate.has_own_id && user.user_id != candidate.user.user_id => {
                    outcome.reject(candidate, "login_name", "belongs to a user with another id");
                }
                Claimed::By(_) => outcome.already_there += 1,
                Claimed::UnderWay { .. } => {
                    outcome.reject(candidate, "login_name", "is being taken: import again in a minute")
                }
            }
        }
        Ok(entitled)
    }

    /// Whose a name is that was claimed before; `owner` is the claimant's row.
    async fn settle(
        &self,
        candidate: &Candidate,
        stored: &StoredClaim,
        owner: Option<&User>,
    ) -> Result<Claimed, UserError> {
        let Claim { login_name, user_id, .. } = &stored.claim;
        match owner {
            Some(user) if user.login_name == *login_name => Ok(Claimed::By(Box::new(user.clone()))),
            None if names::is_of_import(&stored.claim)
                && (!candidate.has_own_id || *user_id == candidate.user.user_id) =>
            {
                // Under an id of one's own: whoever knows the former one may be about to release it.
                let renewed = names::renew(&self.shards, &stored.claim).await?;
                Ok(renewed.map_or(Claimed::UnderWay { retry_after: Duration::ZERO }, Claimed::Ours))
            }
            _ => names::make(&self.shards, names::claim_of_import(login_name, candidate.user.user_id)).await,
        }
    }

    /// Inserts users whose names are claimed, under the ids of the claims.
    async fn insert(
        &self,
        placement: &Placement,
        entitled: Vec<Entitled<'_>>,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let users = entitled.iter().map(|one| User { user_id: one.claim.user_id, ..one.candidate.user.clone() });
        let groups = placement.group(users.collect(), |user: &User| user.user_id.to_string());
        let there = groups.iter().map(async |(home, users)| home.insert_users(home.epoch, users).await);
        let there: HashSet<UserId> = try_join_all(there).await?.into_iter().flatten().collect();
        let found = find_users(placement, there.iter().copied()).await?;
        for Entitled { candidate, claim } in entitled {
            if !there.contains(&claim.user_id) {
                outcome.imported += 1;
            } else if found.get(&claim.user_id).is_some_and(|user| user.login_name == claim.login_name) {
                outcome.already_there += 1;
            } else {
                names::release(&self.shards, &claim).await;
                if found.contains_key(&claim.user_id) {
                    outcome.reject(candidate, "user_id", "belongs to a user with another login name");
                } else {
                    outcome.reject(candidate, "user_id", "was made impossible to use: leave it out, or take another");
                }
            }
        }
        Ok(())
    }
}

/// The first candidate of each login name and of each id, and the others, for when it is known what became of the first.
fn distinct<'a>(candidates: &[&'a Candidate]) -> (Vec<&'a Candidate>, Vec<&'a Candidate>) {
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

impl Outcome {
    fn reject(&mut self, candidate: &Candidate, field: &str, detail: impl Into<String>) {
        self.rejected.push(Rejection::new(candidate.line, field, detail));
    }

    /// Adds what became of another batch.
    pub fn merge(&mut self, other: Self) {
        self.imported += other.imported;
        self.already_there += other.already_there;
        self.rejected.extend(other.rejected);
    }
}

#[cfg(test)]
mod tests;
