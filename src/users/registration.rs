//! Registration.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{UserError, Users, Validator, authentication::audit_throttled, names, names::ClaimOutcome};
use crate::model::{LoginName, Permissions, Profile, User, UserId, version};
use crate::{
    audit::{self, Actor},
    clock::Timestamp,
    passwords::{HashKind, Password},
    secret,
};

/// A request to register a user.
#[derive(Debug)]
pub struct Registration {
    /// Not necessarily canonical.
    pub login_name: String,
    pub password: Password,
    pub profile: Profile,
    pub preferences: Map<String, Value>,
    /// Identifies repeats of the same registration.
    pub idempotency_key: Option<String>,
    /// Who sent the request.
    pub by: Actor,
    pub address: Option<IpAddr>,
}

impl Users {
    /// Registers a user. A repeat with the same idempotency key, name and password returns the user of the first request.
    ///
    /// The name is looked up last, after the values were checked and the password was hashed. So neither the answer nor its
    /// time reveals whether a name exists for less than the charge of a hash.
    ///
    /// # Errors
    /// [`UserError::NameTaken`] if the name exists. Of concurrent registrations exactly one succeeds.
    pub async fn register(&self, registration: Registration) -> Result<User, UserError> {
        let (by, address) = (registration.by, registration.address);
        let charged = match by {
            Actor::Anonymous => Some(audit_throttled(self.throttle.charge_registration(address).await, None, address)?),
            Actor::User(_) | Actor::Operator => None,
        };
        let registered = self.register_charged(registration).await;
        match &registered {
            Ok(user) => audit::record(audit::Kind::Registered, Some(user.user_id), by, address),
            Err(UserError::Invalid(_) | UserError::NameTaken) => {
                audit::record(audit::Kind::RegistrationRefused, None, by, address);
            }
            // These failures reveal nothing about the name.
            Err(UserError::Password(_) | UserError::Store(_)) => {
                if let Some(charged) = charged {
                    self.throttle.refund(charged);
                }
            }
            Err(_) => {}
        }
        registered
    }

    async fn register_charged(&self, registration: Registration) -> Result<User, UserError> {
        let slot = self.passwords.reserve(registration.address, HashKind::New)?;
        let login_name = check(&registration)?;
        let password_hash = self.hash_new(slot, "password", &registration.password, &login_name).await?;
        if let Some(user) = names::find(&self.shards, &login_name).await? {
            return self.repeated(user, &registration).await;
        }
        let now = Timestamp::now();
        let user = User {
            user_id: UserId::generate(),
            login_name: login_name.clone(),
            password_hash,
            profile: registration.profile.clone(),
            preferences: (&registration.preferences).into(),
            permissions: Permissions::default(),
            suspended: false,
            idempotency_hash: registration.idempotency_key.as_ref().map(|key| secret::digest(key.as_bytes())),
            reset: None,
            version: version::first(now),
            created_at: now,
            updated_at: now,
        };
        let claim = match names::claim(&self.shards, &login_name, user.user_id).await? {
            ClaimOutcome::Acquired(claim) => claim,
            ClaimOutcome::Taken(user) => return self.repeated(*user, &registration).await,
            ClaimOutcome::Pending { retry_after } => {
                // With an idempotency key this may be a repeat of a request that is still in progress.
                let is_repeatable = registration.idempotency_key.is_some();
                let user = if is_repeatable { names::wait_for_user(&self.shards, &login_name).await? } else { None };
                let Some(user) = user else { return Err(UserError::NamePending { retry_after }) };
                return self.repeated(user, &registration).await;
            }
        };
        let insert = async || {
            let home = self.shards.shard_for_user(user.user_id)?;
            home.insert_user(home.epoch, &user).await
        };
        match self.shards.insert(insert).await {
            Ok(true) => {
                names::confirm(&self.shards, &claim).await;
                Ok(user)
            }
            Ok(false) => {
                names::release(&self.shards, &claim).await;
                Err(UserError::NameTaken)
            }
            Err(error) => {
                // If the outcome is unknown, the claim stays. A later takeover finds out whether the row exists.
                if error.is_without_effect() {
                    names::release(&self.shards, &claim).await;
                }
                Err(error.into())
            }
        }
    }

    /// Returns `user` if this registration repeats the one that created it.
    async fn repeated(&self, user: User, registration: &Registration) -> Result<User, UserError> {
        let key = registration.idempotency_key.as_ref().map(|key| secret::digest(key.as_bytes()));
        match (key, user.idempotency_hash) {
            (Some(key), Some(first)) if secret::constant_time_eq(&key, &first) => {}
            _ => return Err(UserError::NameTaken),
        }
        match self.check_password(&user, &registration.password, Actor::Anonymous, registration.address).await {
            // As at a login, the answer does not reveal that a user is suspended.
            Ok(()) if user.suspended => Err(UserError::NameTaken),
            Err(UserError::WrongPassword) => Err(UserError::NameTaken),
            checked => checked.map(|()| user),
        }
    }
}

fn check(registration: &Registration) -> Result<LoginName, UserError> {
    let mut validator = Validator::new();
    let login_name = validator.new_login_name("login_name", &registration.login_name);
    validator.new_password("password", &registration.password, login_name.as_ref());
    validator.profile("profile", &registration.profile);
    validator.preferences("preferences", &registration.preferences);
    validator.finish().map_err(UserError::Invalid)?;
    // An invalid name was reported above.
    login_name.ok_or(UserError::Unknown)
}
