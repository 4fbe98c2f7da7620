//! Registering users.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{Rules, UserError, Users, authentication::noting_refusal, names, names::Claimed};
use crate::model::{LoginName, Permissions, Profile, User, UserId, version};
use crate::{
    audit::{self, Actor},
    clock::Timestamp,
    passwords::{HashKind, Password},
    secret,
};

/// What a new user is made of.
#[derive(Debug)]
pub struct Registration {
    /// The name to log in with, in any form.
    pub login_name: String,
    /// The password.
    pub password: Password,
    /// Name and e-mail address.
    pub profile: Profile,
    /// The first preferences.
    pub preferences: Map<String, Value>,
    /// Whatever makes a repeat of this request recognisable.
    pub idempotency_key: Option<String>,
    /// Who asks for it.
    pub by: Actor,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

impl Users {
    /// Registers a user. A repeat with the same idempotency key, name and password answers with the user that the first
    /// one made.
    ///
    /// Whether the name exists is looked at last, after everything that can refuse the values and after the password was
    /// hashed: neither an answer nor its time tells for less than a charged hash.
    ///
    /// # Errors
    /// [`UserError::NameTaken`] for all others of a name that exists: of racing registrations exactly one succeeds.
    pub async fn register(&self, registration: Registration) -> Result<User, UserError> {
        let (by, address) = (registration.by, registration.address);
        let charged = match by {
            Actor::Nobody => Some(noting_refusal(self.throttle.charge_registration(address).await, None, address)?),
            Actor::User(_) | Actor::Operator => None,
        };
        let registered = self.register_charged(registration).await;
        match &registered {
            Ok(user) => audit::record(audit::Kind::Registered, Some(user.user_id), by, address),
            Err(UserError::Invalid(_) | UserError::NameTaken) => {
                audit::record(audit::Kind::RegistrationRefused, None, by, address);
            }
            // What found no place or no store told nothing.
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
        let place = self.passwords.place(registration.address, HashKind::New)?;
        let login_name = check(&registration)?;
        let password_hash = self.hash_new(place, "password", &registration.password, &login_name).await?;
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
            Claimed::Ours(claim) => claim,
            Claimed::By(user) => return self.repeated(*user, &registration).await,
            Claimed::UnderWay { retry_after } => {
                // Only a repeat can do more with the outcome than come back later: its first request may be under way.
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
                // Without an answer the row may exist or not: then the claim stays for a takeover to find out.
                if error.is_without_effect() {
                    names::release(&self.shards, &claim).await;
                }
                Err(error.into())
            }
        }
    }

    /// The user that an equal registration made, if this one is a repeat of it.
    async fn repeated(&self, user: User, registration: &Registration) -> Result<User, UserError> {
        let key = registration.idempotency_key.as_ref().map(|key| secret::digest(key.as_bytes()));
        match (key, user.idempotency_hash) {
            (Some(key), Some(first)) if secret::same(&key, &first) => {}
            _ => return Err(UserError::NameTaken),
        }
        match self.check_password(&user, &registration.password, Actor::Nobody, registration.address).await {
            // That a user is suspended is not told: a login doesn't tell either.
            Ok(()) if user.suspended => Err(UserError::NameTaken),
            Err(UserError::WrongPassword) => Err(UserError::NameTaken),
            checked => checked.map(|()| user),
        }
    }
}

fn check(registration: &Registration) -> Result<LoginName, UserError> {
    let mut rules = Rules::new();
    let login_name = rules.new_login_name("login_name", &registration.login_name);
    rules.new_password("password", &registration.password, login_name.as_ref());
    rules.profile("profile", &registration.profile);
    rules.preferences("preferences", &registration.preferences);
    rules.finish().map_err(UserError::Invalid)?;
    // A name that could not be read has broken a rule and ended above.
    login_name.ok_or(UserError::Unknown)
}
