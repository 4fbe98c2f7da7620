//! Passwords: recognised by argon2id hashes (RFC 9106) in PHC format, computed off the runtime on a bounded pool. Hashes
//! that came with imported users may be of other kinds until their next login (`format`).
//!
//! Invariants: a password is never stored, logged or compared; hashing never runs on a runtime thread; an unknown user
//! costs one hash with the parameters in force.

mod common;
mod format;
mod pool;

use std::{fmt, time::Duration};

use argon2::{Argon2, Params, PasswordHasher, password_hash::phc};
use format::Parsed;
pub use format::{HashingError, InvalidHash};
use pool::HashPool;
pub use pool::{PoolStats, Saturated};
use secrecy::{ExposeSecret, SecretString};

/// A password as a client sent it; wiped from memory when dropped, hidden from `Debug`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct Password(SecretString);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Password {
    /// Its text, for rules and hashing.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A password hash, in PHC format if it was made here; hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash that a store has kept.
    pub(crate) fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The PHC string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// How passwords are hashed.
#[derive(Debug, Clone)]
pub struct PasswordPolicy {
    /// argon2id memory, in KiB.
    pub memory_kib: u32,
    /// argon2id passes.
    pub passes: u32,
    /// argon2id lanes.
    pub lanes: u32,
    /// How many hashes are computed at a time.
    pub threads: usize,
    /// How long a hash may wait for its turn.
    pub deadline: Duration,
}

/// Parameters that argon2 does not accept.
#[derive(Debug, thiserror::Error)]
#[error("argon2 refuses these parameters: {0}")]
pub struct InvalidPolicy(argon2::Error);

/// Whether argon2 accepts these parameters.
///
/// # Errors
/// [`InvalidPolicy`] says what it refuses.
pub fn check_parameters(memory_kib: u32, passes: u32, lanes: u32) -> Result<(), InvalidPolicy> {
    parameters(memory_kib, passes, lanes).map(drop)
}

fn parameters(memory_kib: u32, passes: u32, lanes: u32) -> Result<Params, InvalidPolicy> {
    Params::new(memory_kib, passes, lanes, None).map_err(InvalidPolicy)
}

/// Why a password was not hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many others are waiting.
    #[error(transparent)]
    Saturated(#[from] Saturated),
    /// The hasher failed, or a stored hash can't be read.
    #[error(transparent)]
    Hashing(#[from] HashingError),
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another password.
    Wrong,
    /// The right one, hashed as it would be today.
    Right,
    /// The right one, hashed under other parameters: to be hashed again.
    RightButOutdated,
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct Passwords {
    pool: HashPool,
    argon2: Argon2<'static>,
    decoy: PasswordHash,
}

impl Passwords {
    /// Starts the pool's threads.
    ///
    /// # Errors
    /// [`InvalidPolicy`] if argon2 does not accept the parameters.
    pub fn start(policy: &PasswordPolicy) -> Result<Self, InvalidPolicy> {
        let params = parameters(policy.memory_kib, policy.passes, policy.lanes)?;
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let decoy = PasswordHash(decoy(&argon2));
        Ok(Self { pool: HashPool::start(policy.threads, policy.deadline), argon2, decoy })
    }

    /// Hashes a new password with a random salt.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        Ok(self.pool.run(move || hash(&argon2, &password)).await??)
    }

    /// Whether a password is one that guessers try first, `login_name` being known to them.
    pub async fn is_common(&self, password: &Password, login_name: &str) -> Result<bool, PasswordError> {
        let (password, login_name) = (password.clone(), login_name.to_owned());
        Ok(self.pool.run(move || common::is_common(password.reveal(), &[&login_name])).await?)
    }

    /// Checks a password against a stored hash. For a user without one it costs the same.
    pub async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<Verdict, PasswordError> {
        let hash = if hash.export().is_some() { hash } else { &self.decoy };
        let (argon2, password, hash) = (self.argon2.clone(), password.clone(), hash.clone());
        Ok(self.pool.run(move || verify(&argon2, &password, &hash)).await??)
    }

    /// Costs what [`Self::verify`] costs, for names that nobody has.
    pub async fn verify_nobody(&self, password: &Password) -> Result<(), PasswordError> {
        self.verify(password, &self.decoy).await.map(drop)
    }

    /// How busy the pool is.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }
}

fn hash(argon2: &Argon2<'_>, password: &Password) -> Result<PasswordHash, HashingError> {
    let hashed = argon2.hash_password(password.reveal().as_bytes());
    let hash: phc::PasswordHash = hashed.map_err(|error| HashingError(error.into()))?;
    Ok(PasswordHash(hash.to_string()))
}

fn verify(argon2: &Argon2<'_>, password: &Password, hash: &PasswordHash) -> Result<Verdict, HashingError> {
    let parsed = Parsed::new(hash.as_str()).map_err(|error| HashingError(error.into()))?;
    match parsed.matches(password)? {
        false => Ok(Verdict::Wrong),
        true if is_current(argon2, &parsed) => Ok(Verdict::Right),
        true => Ok(Verdict::RightButOutdated),
    }
}

fn is_current(argon2: &Argon2<'_>, hash: &Parsed<'_>) -> bool {
    let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    matches!(hash, Parsed::Argon2(hash, params)
        if hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.version == Some(u32::from(argon2::Version::V0x13))
            && cost(params) == cost(argon2.params()))
}

/// A well-formed hash that no password is known for: its output is random instead of computed.
fn decoy(argon2: &Argon2<'_>) -> String {
    let params = argon2.params();
    let salt =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, &crate::secret::random()[..16]);
    let output = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, crate::secret::random());
    format!("$argon2id$v=19$m={},t={},p={}${salt}${output}", params.m_cost(), params.t_cost(), params.p_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(memory_kib: u32) -> Passwords {
        let policy = PasswordPolicy { memory_kib, passes: 1, lanes: 1, threads: 2, deadline: Duration::from_secs(60) };
        Passwords::start(&policy).expect("valid parameters")
    }

    #[tokio::test]
    async fn the_right_password_is_told_from_a_wrong_one() {
        let passwords = passwords(64);
        let hash = passwords.hash(&"correct horse".to_owned().into()).await.expect("a hash");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        let verify = async |text: &str| passwords.verify(&text.to_owned().into(), &hash).await.expect("a verdict");
        assert_eq!(verify("correct horse").await, Verdict::Right);
        assert_eq!(verify("correct horsf").await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_under_other_parameters_is_right_but_outdated() {
        let hash = passwords(64).hash(&"correct horse".to_owned().into()).await.expect("a hash");
        let verdict = passwords(128).verify(&"correct horse".to_owned().into(), &hash).await.expect("a verdict");
        assert_eq!(verdict, Verdict::RightButOutdated);
    }

    #[tokio::test]
    async fn the_decoy_is_checked_like_a_real_hash() {
        let passwords = passwords(64);
        let verdict = passwords.verify(&"anything".to_owned().into(), &passwords.decoy).await.expect("a verdict");
        assert_eq!(verdict, Verdict::Wrong);
    }

    #[tokio::test]
    async fn nothing_secret_shows_in_debug_output() {
        let password = Password::from("correct horse".to_owned());
        let hash = passwords(64).hash(&password).await.expect("a hash");
        let shown = format!("{password:?} {hash:?}");
        assert!(!shown.contains("horse") && !shown.contains("argon2"), "{shown}");
    }
}
