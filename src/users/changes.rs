//! Changing and deleting users.
//!
//! Every change reads the row, edits it and writes it only over the version that it read, so no concurrent change is lost.
//! Changes that end sessions are made between the two steps of a revocation (`revocation`).

use std::{net::IpAddr, time::Duration};

use serde_json::Value;

use super::{
    UserError, Users, names,
    names::ClaimOutcome,
    rules::{Validator, merge_preferences},
};
use crate::model::Violation;
use crate::model::{LoginName, Permissions, Profile, User, UserId, version};
use crate::{
    audit::Actor,
    clock::Timestamp,
    model::{PasswordHash, SessionId},
    passwords::{HashKind, Password, QueueSlot},
    shards::Claim,
    store_error::StoreError,
};

/// Attempts of a change while others change the same user.
pub(super) const ATTEMPTS: u32 = 64;
const MAX_BACKOFF: Duration = Duration::from_millis(50);

/// The versions of a user that a change applies to (`If-Match`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    None,
    Versions(Vec<i64>),
}

impl Precondition {
    fn check(&self, user: &User) -> Result<(), UserError> {
        match self {
            Self::Versions(versions) if !versions.contains(&user.version) => Err(UserError::PreconditionFailed),
            _ => Ok(()),
        }
    }
}

/// A change of profile and login name. Fields that are `None` stay as they are.
#[derive(Debug, Default)]
pub struct UserChange {
    /// Not necessarily canonical.
    pub login_name: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
}

impl Users {
    /// Applies `edit` to the current row, and repeats it if another change came in between. An edit that changes nothing
    /// keeps the version. All sessions of the user show the change when this returns.
    pub(super) async fn edit(
        &self,
        user_id: UserId,
        precondition: &Precondition,
        edit: impl Fn(&mut User) -> Result<(), UserError>,
    ) -> Result<User, UserError> {
        for attempt in 0..ATTEMPTS {
            let current = self.find(user_id).await?;
            let changed = apply_edit(&current, precondition, &edit)?;
            if changed == current || self.shards.shard_for_user(user_id)?.update_user(&changed, current.version).await?
            {
                self.sessions.publish(&changed).await?;
                return Ok(changed);
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
        Err(UserError::Contended)
    }

    /// Merges `patch` into the preferences (RFC 7396).
    pub async fn change_preferences(
        &self,
        user_id: UserId,
        precondition: &Precondition,
        patch: &Value,
    ) -> Result<User, UserError> {
        self.edit(user_id, precondition, |user| {
            let document = user.preferences.to_map().map_err(damaged)?;
            user.preferences = (&merge_preferences(document, patch).map_err(UserError::Invalid)?).into();
            Ok(())
        })
        .await
    }

    /// Changes profile and login name. A new name is claimed first, so nothing changes if it is taken.
    pub async fn change(
        &self,
        user_id: UserId,
        precondition: &Precondition,
        change: UserChange,
    ) -> Result<User, UserError> {
        let current = self.find(user_id).await?;
        let name = check(&current, &change)?.filter(|name| *name != current.login_name);
        precondition.check(&current)?;
        let profile_only = |user: &mut User| {
            change_profile(&mut user.profile, &change);
            Ok(())
        };
        let Some(name) = name else { return self.edit(user_id, precondition, profile_only).await };
        match names::claim(&self.shards, &name, user_id).await? {
            ClaimOutcome::Acquired(claim) => self.rename(current, precondition, claim, &change).await,
            // A concurrent rename to the same name has won.
            ClaimOutcome::Taken(user) if user.user_id == user_id => {
                self.edit(user_id, precondition, profile_only).await
            }
            ClaimOutcome::Taken(_) => Err(UserError::NameTaken),
            ClaimOutcome::Pending { retry_after } => Err(UserError::NamePending { retry_after }),
        }
    }

    /// Gives the user the claimed name, and releases the former one.
    async fn rename(
        &self,
        current: User,
        precondition: &Precondition,
        claim: Claim,
        change: &UserChange,
    ) -> Result<User, UserError> {
        let former = match names::find_held_claim(&self.shards, &current).await {
            Ok(former) => former,
            Err(error) => {
                names::release(&self.shards, &claim).await;
                return Err(error.into());
            }
        };
        let (changed, claim) = self.write_rename(current, precondition, claim, change).await?;
        names::confirm(&self.shards, &claim).await;
        if let Some(former) = former {
            names::release(&self.shards, &former).await;
        }
        self.sessions.publish(&changed).await?;
        Ok(changed)
    }

    /// Writes the claimed name to the row. A takeover of the claim first raises the row's version and then replaces the claim
    /// by its id. So the row is written only over a version that was read before the claim got its current id: a later raise
    /// makes the write fail, and an earlier one makes the takeover fail.
    async fn write_rename(
        &self,
        mut current: User,
        precondition: &Precondition,
        mut claim: Claim,
        change: &UserChange,
    ) -> Result<(User, Claim), UserError> {
        let former = current.login_name.clone();
        let mut attempt = 0;
        let refusal = loop {
            let expected = current.version;
            let mut changed = current;
            changed.login_name = claim.login_name.clone();
            change_profile(&mut changed.profile, change);
            changed.updated_at = Timestamp::now();
            changed.version = version::next(expected, changed.updated_at);
            let written = async { self.shards.shard_for_user(changed.user_id)?.update_user(&changed, expected).await };
            match written.await {
                Ok(true) => return Ok((changed, claim)),
                Ok(false) => {}
                Err(error) if error.is_without_effect() => break error.into(),
                // The outcome is unknown. The claim stays, and a later takeover finds out.
                Err(error) => return Err(error.into()),
            }
            attempt += 1;
            tokio::time::sleep(backoff(attempt)).await;
            current = match self.find(changed.user_id).await {
                Ok(found) => found,
                Err(error) => break error,
            };
            if let Err(refusal) = precondition.check(&current) {
                break refusal;
            }
            if attempt == ATTEMPTS || current.login_name != former {
                break UserError::Contended;
            }
            match names::renew(&self.shards, &claim).await? {
                Some(renewed) => claim = renewed,
                None => return Err(UserError::NameTaken),
            }
        };
        names::release(&self.shards, &claim).await;
        Err(refusal)
    }

    /// Replaces the password after checking the current one, and ends all sessions except `keep`.
    pub async fn change_password(
        &self,
        user_id: UserId,
        current: &Password,
        new: &Password,
        keep: Option<SessionId>,
        by: Actor,
        address: Option<IpAddr>,
    ) -> Result<(), UserError> {
        let user = self.find(user_id).await?;
        check_new_password(new, &user.login_name)?;
        match self.check_password(&user, current, by, address).await {
            Err(UserError::WrongPassword) if self.has_unfinished_revocation(user_id).await? => {
                // An earlier attempt may have changed the password without ending the sessions. This request completes it.
                self.check_password(&user, new, by, address).await?;
                return self.end_sessions_if_unchanged(&user, keep).await;
            }
            checked => checked?,
        }
        let slot = self.passwords.reserve(address, HashKind::New)?;
        let new_hash = self.hash_new(slot, "new_password", new, &user.login_name).await?;
        let edit = |changed: &mut User| {
            // The replaced password must still be the one that was checked.
            if changed.password_hash != user.password_hash {
                return Err(UserError::Contended);
            }
            changed.password_hash = new_hash.clone();
            changed.reset = None;
            Ok(())
        };
        self.edit_and_end_sessions(user_id, keep, edit).await.map(drop)
    }

    /// Ends all sessions except `keep` if the password is still the one that was checked.
    async fn end_sessions_if_unchanged(&self, user: &User, keep: Option<SessionId>) -> Result<(), UserError> {
        let unchanged = |found: &mut User| {
            if found.password_hash == user.password_hash { Ok(()) } else { Err(UserError::Contended) }
        };
        self.edit_and_end_sessions(user.user_id, keep, unchanged).await.map(drop)
    }

    pub async fn set_permissions(&self, user_id: UserId, permissions: Permissions) -> Result<User, UserError> {
        self.edit(user_id, &Precondition::None, |user| {
            user.permissions = permissions;
            Ok(())
        })
        .await
    }

    /// Suspends a user and ends all its sessions, or allows logins again.
    pub async fn set_suspended(&self, user_id: UserId, suspended: bool) -> Result<User, UserError> {
        let edit = |user: &mut User| {
            user.suspended = suspended;
            Ok(())
        };
        if suspended {
            self.edit_and_end_sessions(user_id, None, edit).await
        } else {
            self.edit(user_id, &Precondition::None, edit).await
        }
    }

    /// Removes the user, its sessions and its login name.
    pub async fn delete(&self, user_id: UserId, precondition: &Precondition) -> Result<(), UserError> {
        for attempt in 0..ATTEMPTS {
            let user = match self.find(user_id).await {
                Err(UserError::Unknown) => {
                    // An earlier attempt may have deleted the row but not the sessions.
                    self.sessions.forget(user_id, None).await?;
                    return Err(UserError::Unknown);
                }
                other => other?,
            };
            precondition.check(&user)?;
            let held = names::find_held_claim(&self.shards, &user).await?;
            let delete = async { Ok(self.shards.shard_for_user(user_id)?.delete_user(user_id, user.version).await?) };
            if let Some(revocation) = self.write_under_revocation(user_id, None, delete).await? {
                let forgotten = self.retry(|| self.sessions.forget(user_id, Some(&revocation))).await;
                if let Some(held) = held {
                    names::release(&self.shards, &held).await;
                }
                return Ok(forgotten?);
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
        Err(UserError::Contended)
    }
}

/// Returns `current` with `edit` applied, and with the next version if that changed anything.
pub(super) fn apply_edit(
    current: &User,
    precondition: &Precondition,
    edit: impl Fn(&mut User) -> Result<(), UserError>,
) -> Result<User, UserError> {
    let mut changed = current.clone();
    edit(&mut changed)?;
    // Other refusals take precedence over a failed precondition (RFC 9110, section 13.2.1).
    precondition.check(current)?;
    if changed != *current {
        changed.updated_at = Timestamp::now();
        changed.version = version::next(current.version, changed.updated_at);
    }
    Ok(changed)
}

/// Returns a random pause that grows with the attempts, so that writers of one row spread out.
pub(super) fn backoff(attempt: u32) -> Duration {
    let max = Duration::from_millis(1 << attempt.min(6)).min(MAX_BACKOFF);
    max.mul_f64(f64::from(crate::secret::random()[0]) / 255.0)
}

fn change_profile(profile: &mut Profile, change: &UserChange) {
    profile.name = change.name.clone().unwrap_or_else(|| std::mem::take(&mut profile.name));
    profile.email = change.email.clone().unwrap_or_else(|| std::mem::take(&mut profile.email));
}

fn check(current: &User, change: &UserChange) -> Result<Option<LoginName>, UserError> {
    let mut validator = Validator::new();
    // A user may keep a name that was accepted under earlier rules.
    let is_own = |text: &str| LoginName::parse(text).is_ok_and(|name| name == current.login_name);
    let chosen = change.login_name.as_ref().filter(|text| !is_own(text));
    let name = chosen.and_then(|text| validator.new_login_name("login_name", text));
    let mut profile = current.profile.clone();
    change_profile(&mut profile, change);
    validator.profile("profile", &profile);
    validator.finish().map_err(UserError::Invalid)?;
    Ok(name)
}

pub(super) fn check_new_password(password: &Password, login_name: &LoginName) -> Result<(), UserError> {
    let mut validator = Validator::new();
    validator.new_password("new_password", password, Some(login_name));
    validator.finish().map_err(UserError::Invalid)
}

impl Users {
    /// Hashes a password that a user of this name chose.
    ///
    /// # Errors
    /// [`UserError::Invalid`] for `field` if the password is easy to guess.
    pub(super) async fn hash_new(
        &self,
        slot: QueueSlot,
        field: &str,
        password: &Password,
        login_name: &LoginName,
    ) -> Result<PasswordHash, UserError> {
        let hash = self.passwords.hash_new(slot, password, login_name.as_str()).await?;
        let common = || Violation::new(field, "is too easy to guess");
        hash.ok_or_else(|| UserError::Invalid(vec![common()]))
    }
}

/// Reports a stored document that does not parse.
fn damaged(source: serde_json::Error) -> StoreError {
    StoreError::Corrupt { store: "shards".to_owned(), what: "preferences document", source: source.into() }
}
