//! Logins, and password checks of known users.

use std::net::IpAddr;

use super::{UserError, Users, names};
use crate::model::{LoginName, User, UserId};
use crate::{
    audit::{self, Actor},
    log::repeats::Repeats,
    model::{Client, PasswordHash, Token},
    passwords::{HashKind, Password, QueueSlot, Verdict},
    secret,
    sessions::LiveSession,
    throttle::{Charged, ThrottleError},
};

/// Attempts of a login while the user's sessions are being ended.
const ATTEMPTS: usize = 4;

/// A new session and its token.
#[derive(Debug)]
pub struct IssuedSession {
    pub token: Token,
    pub session: LiveSession,
    pub user: User,
}

impl Users {
    /// Checks name and password and creates a session.
    ///
    /// # Errors
    /// [`UserError::InvalidCredentials`] for unknown names, wrong passwords and suspended users, at the same cost.
    pub async fn login(
        &self,
        login_name: &str,
        password: &Password,
        address: Option<IpAddr>,
        client: Client,
    ) -> Result<IssuedSession, UserError> {
        // Before any store is asked, so that refused logins cost none of them anything.
        let slot = self.passwords.reserve(address, HashKind::Check)?;
        let name = LoginName::parse(login_name).ok();
        let charged_name = name.as_ref().map_or(login_name, LoginName::as_str);
        let charged = self.throttle.charge_login(charged_name, address, checks(password)).await;
        let charged = audit_throttled(charged, None, address)?;
        let issued = self.login_charged(slot, name.as_ref(), login_name, password, address, client).await;
        match &issued {
            Ok(issued) => {
                let user_id = issued.user.user_id;
                audit::record(audit::Kind::Login, Some(user_id), Actor::User(user_id), address);
            }
            Err(UserError::InvalidCredentials) => {
                audit::record(audit::Kind::LoginRefused, None, Actor::Anonymous, address)
            }
            Err(_) => {}
        }
        if issued.is_err() {
            self.throttle.refund(charged.success);
        }
        // Any other result was no wrong guess: the password was right, or was not compared.
        if !matches!(issued, Err(UserError::InvalidCredentials)) {
            self.throttle.refund(charged.check);
        }
        issued
    }

    pub(super) async fn charge(
        &self,
        name: &str,
        user_id: Option<UserId>,
        address: Option<IpAddr>,
        checks: u32,
    ) -> Result<Charged, UserError> {
        audit_throttled(self.throttle.charge(name, address, checks).await, user_id, address)
    }

    async fn login_charged(
        &self,
        slot: QueueSlot,
        name: Option<&LoginName>,
        text: &str,
        password: &Password,
        address: Option<IpAddr>,
        client: Client,
    ) -> Result<IssuedSession, UserError> {
        let mut slot = Some(slot);
        for _ in 0..ATTEMPTS {
            // The generation is read before the row: see Sessions::begin.
            let user_id = self.find_claimant(name, text).await?;
            let start = self.sessions.begin(user_id).await?;
            let user = self.shards.shard_for_user(user_id)?.find_user(user_id).await?;
            let slot = slot.take().map_or_else(|| self.passwords.reserve(address, HashKind::Check), Ok)?;
            let Some(user) = user.filter(|user| Some(&user.login_name) == name) else {
                self.verify(slot, password, self.passwords.decoy(), address).await?;
                return Err(UserError::InvalidCredentials);
            };
            let verdict = self.verify(slot, password, &user.password_hash, address).await?;
            if verdict == Verdict::Wrong || user.suspended {
                return Err(UserError::InvalidCredentials);
            }
            // Checked after the password, so that a refusal reveals nothing to others.
            if !self.may_log_in(user_id, start).await? {
                continue;
            }
            if let Some((token, session)) = self.sessions.create(start.generation, &user, client.clone()).await? {
                if verdict == Verdict::RightButOutdated {
                    self.rehash(&user, password, address).await;
                }
                return Ok(IssuedSession { token, session, user });
            }
        }
        Err(UserError::Contended)
    }

    /// Checks a password in normalized form, and also as sent if that differs: earlier and imported hashes are of the form
    /// that was sent. The time does not depend on the result.
    async fn verify(
        &self,
        slot: QueueSlot,
        password: &Password,
        hash: &PasswordHash,
        address: Option<IpAddr>,
    ) -> Result<Verdict, UserError> {
        let normalized = self.passwords.verify(slot, &password.normalized(), hash).await?;
        if password.is_normalized() {
            return Ok(normalized);
        }
        let slot = self.passwords.reserve(address, HashKind::Check)?;
        let as_sent = self.passwords.verify(slot, password, hash).await?;
        Ok(match (normalized, as_sent) {
            (Verdict::Wrong, Verdict::Wrong) => Verdict::Wrong,
            (Verdict::Wrong, _) => Verdict::RightButOutdated,
            (right, _) => right,
        })
    }

    /// Returns the user that claims a name, or an id that no user has, so that unknown names take the same steps.
    async fn find_claimant(&self, name: Option<&LoginName>, text: &str) -> Result<UserId, UserError> {
        let claimed = match name {
            Some(name) => self.shards.shard_for_name(name)?.find_claim(name).await?,
            None => None,
        };
        Ok(claimed.map_or_else(|| decoy_user_id(text), |stored| stored.claim.user_id))
    }

    /// Creates a session without a password, for an operator.
    pub async fn issue_session(&self, user_id: UserId, client: Client) -> Result<IssuedSession, UserError> {
        for _ in 0..ATTEMPTS {
            let start = self.sessions.begin(user_id).await?;
            let user = self.find(user_id).await?;
            if user.suspended {
                return Err(UserError::Suspended);
            }
            if !self.may_log_in(user_id, start).await? {
                continue;
            }
            if let Some((token, session)) = self.sessions.create(start.generation, &user, client.clone()).await? {
                return Ok(IssuedSession { token, session, user });
            }
        }
        Err(UserError::Contended)
    }

    /// Checks the password of a known user. It is charged like a login.
    pub(super) async fn check_password(
        &self,
        user: &User,
        password: &Password,
        by: Actor,
        address: Option<IpAddr>,
    ) -> Result<(), UserError> {
        let slot = self.passwords.reserve(address, HashKind::Check)?;
        let charged = self.charge(user.login_name.as_str(), Some(user.user_id), address, checks(password)).await?;
        let verdict = self.verify(slot, password, &user.password_hash, address).await;
        if matches!(verdict, Ok(Verdict::Wrong)) {
            audit::record(audit::Kind::PasswordRefused, Some(user.user_id), by, address);
            return Err(UserError::WrongPassword);
        }
        self.throttle.refund(charged);
        verdict.map(drop)
    }

    /// Hashes a password with the current parameters and stores it, unless the password was changed meanwhile. A failure is
    /// only logged, because the login has succeeded.
    async fn rehash(&self, user: &User, password: &Password, address: Option<IpAddr>) {
        let rehashed = async {
            let hash = self.passwords.hash(self.passwords.reserve(address, HashKind::New)?, password).await?;
            self.shards.shard_for_user(user.user_id)?.rehash(user.user_id, &user.password_hash, &hash).await?;
            Ok::<_, UserError>(())
        };
        if let Err(error) = rehashed.await {
            static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more passwords not rehashed"));
            FAILURES.record(|| {
                tracing::warn!(error = &error as &dyn std::error::Error, user_id = %user.user_id, "password not rehashed");
            });
        }
    }

    pub async fn find_by_name(&self, login_name: &str) -> Result<User, UserError> {
        let Ok(name) = LoginName::parse(login_name) else { return Err(UserError::Unknown) };
        names::find(&self.shards, &name).await?.ok_or(UserError::Unknown)
    }
}

/// Returns the number of checks for a password: one for each form that may have been hashed.
fn checks(password: &Password) -> u32 {
    if password.is_normalized() { 1 } else { 2 }
}

/// Records an audit event if the throttle refused a charge.
pub(super) fn audit_throttled<T>(
    charged: Result<T, ThrottleError>,
    user_id: Option<UserId>,
    address: Option<IpAddr>,
) -> Result<T, UserError> {
    if matches!(charged, Err(ThrottleError::Exhausted { .. })) {
        audit::record(audit::Kind::Throttled, user_id, Actor::Anonymous, address);
    }
    Ok(charged?)
}

/// Returns an id that no user has, always the same for the same name.
fn decoy_user_id(text: &str) -> UserId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&secret::digest(text.as_bytes())[..16]);
    UserId::from_bytes(bytes)
}
