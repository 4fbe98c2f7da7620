//! Logging in, and checking a password again.

use std::net::IpAddr;

use super::{UserError, Users, names};
use crate::model::{LoginName, User, UserId};
use crate::{
    audit::{self, Actor},
    log::repeats::Repeats,
    model::{Client, PasswordHash, Token},
    passwords::{HashKind, Password, Place, Verdict},
    secret,
    sessions::LiveSession,
    throttle::{Charged, ThrottleError},
};

/// How often a login starts over when its user's sessions are ended meanwhile.
const ATTEMPTS: usize = 4;

/// A session just made.
#[derive(Debug)]
pub struct Issued {
    /// Opens the session; shown this once.
    pub token: Token,
    /// The session.
    pub session: LiveSession,
    /// Whose it is.
    pub user: User,
}

impl Users {
    /// Checks name and password and makes a session.
    ///
    /// # Errors
    /// [`UserError::InvalidCredentials`] alike for unknown names, wrong passwords and suspended users, at the same cost.
    pub async fn login(
        &self,
        login_name: &str,
        password: &Password,
        address: Option<IpAddr>,
        client: Client,
    ) -> Result<Issued, UserError> {
        // First of all, so that a storm's excess costs no store anything.
        let place = self.passwords.place(address, HashKind::Check)?;
        let name = LoginName::parse(login_name).ok();
        let charged_name = name.as_ref().map_or(login_name, LoginName::as_str);
        let charged = self.throttle.charge_login(charged_name, address, checks(password)).await;
        let charged = noting_refusal(charged, None, address)?;
        let issued = self.login_charged(place, name.as_ref(), login_name, password, address, client).await;
        match &issued {
            Ok(issued) => {
                let user_id = issued.user.user_id;
                audit::record(audit::Kind::Login, Some(user_id), Actor::User(user_id), address);
            }
            Err(UserError::InvalidCredentials) => {
                audit::record(audit::Kind::LoginRefused, None, Actor::Nobody, address)
            }
            Err(_) => {}
        }
        if issued.is_err() {
            self.throttle.refund(charged.success);
        }
        // What ended otherwise was no wrong guess: a right password, or none compared.
        if !matches!(issued, Err(UserError::InvalidCredentials)) {
            self.throttle.refund(charged.check);
        }
        issued
    }

    /// Charges password checks.
    pub(super) async fn charge(
        &self,
        name: &str,
        user_id: Option<UserId>,
        address: Option<IpAddr>,
        checks: u32,
    ) -> Result<Charged, UserError> {
        noting_refusal(self.throttle.charge(name, address, checks).await, user_id, address)
    }

    async fn login_charged(
        &self,
        place: Place,
        name: Option<&LoginName>,
        text: &str,
        password: &Password,
        address: Option<IpAddr>,
        client: Client,
    ) -> Result<Issued, UserError> {
        let mut place = Some(place);
        for _ in 0..ATTEMPTS {
            // The generation is read before the row: see Sessions::begin.
            let user_id = self.claimant(name, text).await?;
            let start = self.sessions.begin(user_id).await?;
            let user = self.shards.shard_for_user(user_id)?.find_user(user_id).await?;
            let place = place.take().map_or_else(|| self.passwords.place(address, HashKind::Check), Ok)?;
            let Some(user) = user.filter(|user| Some(&user.login_name) == name) else {
                self.verify(place, password, self.passwords.decoy(), address).await?;
                return Err(UserError::InvalidCredentials);
            };
            let verdict = self.verify(place, password, &user.password_hash, address).await?;
            if verdict == Verdict::Wrong || user.suspended {
                return Err(UserError::InvalidCredentials);
            }
            // Checked after the password, so that a refusal reveals nothing without it.
            if !self.may_log_in(user_id, start).await? {
                continue;
            }
            if let Some((token, session)) = self.sessions.create(start.generation, &user, client.clone()).await? {
                if verdict == Verdict::RightButOutdated {
                    self.rehash(&user, password, address).await;
                }
                return Ok(Issued { token, session, user });
            }
        }
        Err(UserError::Contended)
    }

    /// Checks a password in the form that is hashed today, and if it was sent in another one, in that too: hashes made
    /// earlier or elsewhere are of what was sent. How long that takes does not depend on what is found.
    async fn verify(
        &self,
        place: Place,
        password: &Password,
        hash: &PasswordHash,
        address: Option<IpAddr>,
    ) -> Result<Verdict, UserError> {
        let normalized = self.passwords.verify(place, &password.normalized(), hash).await?;
        if password.is_normalized() {
            return Ok(normalized);
        }
        let place = self.passwords.place(address, HashKind::Check)?;
        let as_sent = self.passwords.verify(place, password, hash).await?;
        Ok(match (normalized, as_sent) {
            (Verdict::Wrong, Verdict::Wrong) => Verdict::Wrong,
            (Verdict::Wrong, _) => Verdict::RightButOutdated,
            (right, _) => right,
        })
    }

    /// Who claims a name. A name that nobody claims gets an id that nobody has, so that it takes the same steps.
    async fn claimant(&self, name: Option<&LoginName>, text: &str) -> Result<UserId, UserError> {
        let claimed = match name {
            Some(name) => self.shards.shard_for_name(name)?.find_claim(name).await?,
            None => None,
        };
        Ok(claimed.map_or_else(|| nobody(text), |stored| stored.claim.user_id))
    }

    /// Makes a session for a user whom an operator vouches for.
    pub async fn issue_session(&self, user_id: UserId, client: Client) -> Result<Issued, UserError> {
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
                return Ok(Issued { token, session, user });
            }
        }
        Err(UserError::Contended)
    }

    /// Checks the password of a user known otherwise; charged like a login.
    pub(super) async fn check_password(
        &self,
        user: &User,
        password: &Password,
        by: Actor,
        address: Option<IpAddr>,
    ) -> Result<(), UserError> {
        let place = self.passwords.place(address, HashKind::Check)?;
        let charged = self.charge(user.login_name.as_str(), Some(user.user_id), address, checks(password)).await?;
        let verdict = self.verify(place, password, &user.password_hash, address).await;
        if matches!(verdict, Ok(Verdict::Wrong)) {
            audit::record(audit::Kind::PasswordRefused, Some(user.user_id), by, address);
            return Err(UserError::WrongPassword);
        }
        self.throttle.refund(charged);
        verdict.map(drop)
    }

    /// Hashes a password under today's parameters, unless it was changed meanwhile. The login has succeeded already: a
    /// failure is only noted.
    async fn rehash(&self, user: &User, password: &Password, address: Option<IpAddr>) {
        let rehashed = async {
            let hash = self.passwords.hash(self.passwords.place(address, HashKind::New)?, password).await?;
            self.shards.shard_for_user(user.user_id)?.rehash(user.user_id, &user.password_hash, &hash).await?;
            Ok::<_, UserError>(())
        };
        if let Err(error) = rehashed.await {
            static FAILURES: Repeats =
                Repeats::new(|count| tracing::warn!(count, "more passwords were not hashed again"));
            FAILURES.record(|| {
                tracing::warn!(error = &error as &dyn std::error::Error, user_id = %user.user_id, "a password was not hashed again");
            });
        }
    }

    /// The user whom a login name belongs to.
    pub async fn find_by_name(&self, login_name: &str) -> Result<User, UserError> {
        let Ok(name) = LoginName::parse(login_name) else { return Err(UserError::Unknown) };
        names::find(&self.shards, &name).await?.ok_or(UserError::Unknown)
    }
}

/// How many checks a password takes: one for each form that it may have been hashed in.
fn checks(password: &Password) -> u32 {
    if password.is_normalized() { 1 } else { 2 }
}

/// What became of a charge; a refusal is an audit event.
pub(super) fn noting_refusal<T>(
    charged: Result<T, ThrottleError>,
    user_id: Option<UserId>,
    address: Option<IpAddr>,
) -> Result<T, UserError> {
    if matches!(charged, Err(ThrottleError::Exhausted { .. })) {
        audit::record(audit::Kind::Throttled, user_id, Actor::Nobody, address);
    }
    Ok(charged?)
}

fn nobody(text: &str) -> UserId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&secret::digest(text.as_bytes())[..16]);
    UserId::from_bytes(bytes)
}
