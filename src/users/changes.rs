//! Changing and deleting users.
//!
//! Every change reads the row, edits it and writes it over the version it was read at, so concurrent changes never lose
//! one another. What must end sessions is made between the two steps of a revocation (`revocation`).

use std::{net::IpAddr, time::Duration};

use serde_json::Value;

use super::{
    UserError, Users, names,
    names::Claimed,
    rules::{Rules, merge_preferences},
};
use crate::model::Violation;
use crate::model::{LoginName, Permissions, Profile, User, UserId, version};
use crate::{
    audit::Actor,
    clock::Timestamp,
    model::{PasswordHash, SessionId},
    passwords::{HashKind, Password, Place},
    shards::Claim,
    store_error::StoreError,
};

/// How often a change is tried again when others change the same user.
pub(super) const ATTEMPTS: u32 = 64;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Which version a change may be made to (`If-Match`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Any.
    None,
    /// One of these.
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

/// A change of profile and login name; what is `None` stays.
#[derive(Debug, Default)]
pub struct UserChange {
    /// A new login name, in any form.
    pub login_name: Option<String>,
    /// A new name in the profile.
    pub name: Option<String>,
    /// A new e-mail address in the profile.
    pub email: Option<String>,
}

impl Users {
    /// Applies `edit` to the user as it is, until no one else's change comes in between. An edit that changes nothing
    /// leaves the version alone. All sessions of the user show the change when this returns.
    pub(super) async fn edit(
        &self,
        user_id: UserId,
        precondition: &Precondition,
        edit: impl Fn(&mut User) -> Result<(), UserError>,
    ) -> Result<User, UserError> {
        for attempt in 0..ATTEMPTS {
            let current = self.find(user_id).await?;
            let changed = edited(&current, precondition, &edit)?;
            if changed == current || self.shards.shard_for_user(user_id)?.update_user(&changed, current.version).await?
            {
                self.sessions.publish(&changed).await?;
                return Ok(changed);
            }
            tokio::time::sleep(pause(attempt)).await;
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

    /// Changes profile and login name. A new name is claimed first, so a taken one changes nothing.
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
            Claimed::Ours(claim) => self.rename(current, precondition, claim, &change).await,
            // A rename to the same name came first.
            Claimed::By(user) if user.user_id == user_id => self.edit(user_id, precondition, profile_only).await,
            Claimed::By(_) => Err(UserError::NameTaken),
            Claimed::UnderWay { retry_after } => Err(UserError::NamePending { retry_after }),
        }
    }

    /// Gives the user a name that it has claimed, and frees the former one.
    async fn rename(
        &self,
        current: User,
        precondition: &Precondition,
        claim: Claim,
        change: &UserChange,
    ) -> Result<User, UserError> {
        let former = match names::held(&self.shards, &current).await {
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

    /// Writes the claimed name onto the row. A takeover of the claim first raises the row's version and then replaces the
    /// claim by its id. So the row is written only over a version that was read before the claim got its present id:
    /// a raise since then stops the write, and one before it stops the taker.
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
                // It may have been written or not: the claim stays for a takeover to find out.
                Err(error) => return Err(error.into()),
            }
            attempt += 1;
            tokio::time::sleep(pause(attempt)).await;
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

    /// Replaces the password after checking the current one, for `by`; ends all sessions but `keep`.
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
                // The change may have been made without its end: then this request repeats it.
                self.check_password(&user, new, by, address).await?;
                return self.end_sessions_of(&user, keep).await;
            }
            checked => checked?,
        }
        let place = self.passwords.place(address, HashKind::New)?;
        let new_hash = self.hash_new(place, "new_password", new, &user.login_name).await?;
        let edit = |changed: &mut User| {
            // The password that was checked must still be the one that is replaced.
            if changed.password_hash != user.password_hash {
                return Err(UserError::Contended);
            }
            changed.password_hash = new_hash.clone();
            changed.reset = None;
            Ok(())
        };
        self.edit_and_end_sessions(user_id, keep, edit).await.map(drop)
    }

    /// Ends all sessions but `keep` if the password is still the one that was checked.
    async fn end_sessions_of(&self, user: &User, keep: Option<SessionId>) -> Result<(), UserError> {
        let unchanged = |found: &mut User| {
            if found.password_hash == user.password_hash { Ok(()) } else { Err(UserError::Contended) }
        };
        self.edit_and_end_sessions(user.user_id, keep, unchanged).await.map(drop)
    }

    /// Gives and takes permissions.
    pub async fn set_permissions(&self, user_id: UserId, permissions: Permissions) -> Result<User, UserError> {
        self.edit(user_id, &Precondition::None, |user| {
            user.permissions = permissions;
            Ok(())
        })
        .await
    }

    /// Suspends a user, which ends all its sessions, or lets it log in again.
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
                    // An earlier attempt may have ended between the row and the sessions.
                    self.sessions.forget(user_id, None).await?;
                    return Err(UserError::Unknown);
                }
                other => other?,
            };
            precondition.check(&user)?;
            let held = names::held(&self.shards, &user).await?;
            let delete = async { Ok(self.shards.shard_for_user(user_id)?.delete_user(user_id, user.version).await?) };
            if let Some(revocation) = self.write_under_revocation(user_id, None, delete).await? {
                let forgotten = self.retry(|| self.sessions.forget(user_id, Some(&revocation))).await;
                if let Some(held) = held {
                    names::release(&self.shards, &held).await;
                }
                return Ok(forgotten?);
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(UserError::Contended)
    }
}

/// Returns `current` with `edit` applied, under the next version if that changed anything.
pub(super) fn edited(
    current: &User,
    precondition: &Precondition,
    edit: impl Fn(&mut User) -> Result<(), UserError>,
) -> Result<User, UserError> {
    let mut changed = current.clone();
    edit(&mut changed)?;
    // What would be refused anyway is refused for that (RFC 9110, section 13.2.1).
    precondition.check(current)?;
    if changed != *current {
        changed.updated_at = Timestamp::now();
        changed.version = version::next(current.version, changed.updated_at);
    }
    Ok(changed)
}

/// A random pause that grows with the attempts, so that writers of one row spread out instead of meeting again.
pub(super) fn pause(attempt: u32) -> Duration {
    let most = Duration::from_millis(1 << attempt.min(6)).min(MAX_PAUSE);
    most.mul_f64(f64::from(crate::secret::random()[0]) / 255.0)
}

fn change_profile(profile: &mut Profile, change: &UserChange) {
    profile.name = change.name.clone().unwrap_or_else(|| std::mem::take(&mut profile.name));
    profile.email = change.email.clone().unwrap_or_else(|| std::mem::take(&mut profile.email));
}

fn check(current: &User, change: &UserChange) -> Result<Option<LoginName>, UserError> {
    let mut rules = Rules::new();
    // A user may keep a name of before there were the rules of today.
    let is_own = |text: &str| LoginName::parse(text).is_ok_and(|name| name == current.login_name);
    let chosen = change.login_name.as_ref().filter(|text| !is_own(text));
    let name = chosen.and_then(|text| rules.new_login_name("login_name", text));
    let mut profile = current.profile.clone();
    change_profile(&mut profile, change);
    rules.profile("profile", &profile);
    rules.finish().map_err(UserError::Invalid)?;
    Ok(name)
}

pub(super) fn check_new_password(password: &Password, login_name: &LoginName) -> Result<(), UserError> {
    let mut rules = Rules::new();
    rules.new_password("new_password", password, Some(login_name));
    rules.finish().map_err(UserError::Invalid)
}

impl Users {
    /// Hashes a password that a user of this name chose, unless guessers would try it first; `field` is where it stands in
    /// the request.
    pub(super) async fn hash_new(
        &self,
        place: Place,
        field: &str,
        password: &Password,
        login_name: &LoginName,
    ) -> Result<PasswordHash, UserError> {
        let hash = self.passwords.hash_new(place, password, login_name.as_str()).await?;
        let common = || Violation::new(field, "must not be one of those that are guessed first");
        hash.ok_or_else(|| UserError::Invalid(vec![common()]))
    }
}

/// What a document failed of that no change can have written.
fn damaged(source: serde_json::Error) -> StoreError {
    StoreError::Corrupt { store: "shards".to_owned(), what: "preferences document", source: source.into() }
}
