//! Passwords: recognised by argon2id hashes (RFC 9106) in PHC format, computed off the runtime on a bounded pool.
//!
//! Invariants: a password is never stored, logged or compared; hashing never runs on a runtime thread; an unknown user
//! costs one hash with the parameters in force.

mod pool;

use std::{fmt, time::Duration};

use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier, password_hash::phc};
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

/// A password hash in PHC format; hidden from `Debug`.
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
    #[error("password hashing failed")]
    Hashing(#[source] argon2::password_hash::Error),
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
        let hashed = self.pool.run(move || hash(&argon2, &password)).await?;
        hashed.map_err(PasswordError::Hashing)
    }

    /// Checks a password against a stored hash.
    pub async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<Verdict, PasswordError> {
        let (argon2, password, hash) = (self.argon2.clone(), password.clone(), hash.clone());
        self.pool.run(move || verify(&argon2, &password, &hash)).await?.map_err(PasswordError::Hashing)
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

fn hash(argon2: &Argon2<'_>, password: &Password) -> Result<PasswordHash, argon2::password_hash::Error> {
    let hash: phc::PasswordHash = argon2.hash_password(password.reveal().as_bytes())?;
    Ok(PasswordHash(hash.to_string()))
}

fn verify(
    argon2: &Argon2<'_>,
    password: &Password,
    hash: &PasswordHash,
) -> Result<Verdict, argon2::password_hash::Error> {
    let parsed = phc::PasswordHash::new(hash.as_str()).map_err(argon2::password_hash::Error::from)?;
    match argon2.verify_password(password.reveal().as_bytes(), &parsed) {
        Ok(()) if is_current(argon2, &parsed) => Ok(Verdict::Right),
        Ok(()) => Ok(Verdict::RightButOutdated),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(error),
    }
}

fn is_current(argon2: &Argon2<'_>, hash: &phc::PasswordHash) -> bool {
    let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.version == Some(u32::from(argon2::Version::V0x13))
        && Params::try_from(hash).is_ok_and(|params| cost(&params) == cost(argon2.params()))
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
