//! Password hashing: argon2id (RFC 9106) in PHC format, computed off the runtime on a bounded pool.
//!
//! Imported users may have hashes of other formats until their next login (`format`).
//!
//! Invariants: a password is never stored, logged or compared. Hashing never runs on a runtime thread. An unknown user costs
//! one hash with the current parameters.

mod common;
mod format;
mod pool;

use std::{borrow::Cow, time::Duration};

use argon2::{Argon2, Params, password_hash::phc};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use format::Parsed;
pub use format::{HashingError, InvalidHash};
use icu_normalizer::ComposingNormalizerBorrowed;
pub use pool::{HashKind, PoolStats, QueueSlot, Saturated};
use pool::{HashMemory, HashPool};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::model::{Network, PasswordHash};

/// In bytes.
const SALT_LENGTH: usize = 16;

/// A password as a client sent it. It is wiped from memory when dropped, and hidden from `Debug`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct Password(SecretString);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Password {
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns the form that is hashed (NFC), because keyboards and systems encode the same letters differently.
    pub fn normalized(&self) -> Cow<'_, Self> {
        if self.is_normalized() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(ComposingNormalizerBorrowed::new_nfc().normalize(self.reveal()).into_owned().into())
    }

    /// Returns whether it was sent in the form that is hashed.
    pub fn is_normalized(&self) -> bool {
        ComposingNormalizerBorrowed::new_nfc().is_normalized(self.reveal())
    }
}

#[derive(Debug, Clone)]
pub struct PasswordPolicy {
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    /// Hashes computed at a time.
    pub threads: usize,
    /// Maximum time that a hash may wait before it begins.
    pub queue_timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("argon2 does not accept these parameters: {0}")]
pub struct InvalidPolicy(argon2::Error);

/// Checks that argon2 accepts these parameters.
pub fn check_parameters(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<(), InvalidPolicy> {
    parameters(memory_kib, iterations, parallelism).map(drop)
}

fn parameters(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Params, InvalidPolicy> {
    Params::new(memory_kib, iterations, parallelism, None).map_err(InvalidPolicy)
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error(transparent)]
    Saturated(#[from] Saturated),
    #[error(transparent)]
    Hashing(#[from] HashingError),
}

/// Result of a password check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    /// The password is right, and its hash has the current parameters.
    Right,
    /// The password is right, and its hash has other parameters: it should be hashed again.
    RightButOutdated,
}

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
        let params = parameters(policy.memory_kib, policy.iterations, policy.parallelism)?;
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let decoy = PasswordHash::new(decoy(&argon2));
        Ok(Self { pool: HashPool::start(policy.threads, policy.queue_timeout), argon2, decoy })
    }

    /// Reserves a queue slot for one hash of a client. Requests call this before anything else, so a refused one costs little.
    ///
    /// # Errors
    /// [`Saturated`] if the hash would not begin before the queue timeout, or the client has too many waiting.
    pub fn reserve(&self, client: impl Into<Network>, kind: HashKind) -> Result<QueueSlot, Saturated> {
        self.pool.reserve(client.into(), kind)
    }

    /// Hashes the normalized form of a password with a random salt.
    pub async fn hash(&self, slot: QueueSlot, password: &Password) -> Result<PasswordHash, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.normalized().into_owned());
        Ok(self.pool.run(slot, move |memory| hash(&argon2, &password, memory)).await??)
    }

    /// Hashes the normalized form of a new password. Returns `None` if it is easy to guess for someone who knows
    /// `login_name`.
    pub async fn hash_new(
        &self,
        slot: QueueSlot,
        password: &Password,
        login_name: &str,
    ) -> Result<Option<PasswordHash>, PasswordError> {
        let (argon2, login_name) = (self.argon2.clone(), login_name.to_owned());
        let password = password.normalized().into_owned();
        let check_and_hash = move |memory: &mut HashMemory| {
            let is_common = common::is_common(password.reveal(), &[&login_name]);
            if is_common { Ok(None) } else { hash(&argon2, &password, memory).map(Some) }
        };
        Ok(self.pool.run(slot, check_and_hash).await??)
    }

    /// Checks a password, without normalizing it, against a stored hash. A user without a password costs the same.
    pub async fn verify(
        &self,
        slot: QueueSlot,
        password: &Password,
        hash: &PasswordHash,
    ) -> Result<Verdict, PasswordError> {
        let hash = if hash.export().is_some() { hash } else { &self.decoy };
        let (argon2, password, hash) = (self.argon2.clone(), password.clone(), hash.clone());
        Ok(self.pool.run(slot, move |memory| verify(&argon2, &password, &hash, memory)).await??)
    }

    /// Returns a hash for unknown users. No password matches it, and a check costs the same as for a real one.
    pub fn decoy(&self) -> &PasswordHash {
        &self.decoy
    }

    /// Computes at most `concurrency` hashes at a time in at most `buffers` buffers from now on.
    pub fn resize(&self, concurrency: usize, buffers: usize) {
        self.pool.resize(concurrency, buffers);
    }

    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }
}

fn hash(argon2: &Argon2<'_>, password: &Password, memory: &mut HashMemory) -> Result<PasswordHash, HashingError> {
    let salt = &crate::secret::random()[..SALT_LENGTH];
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let blocks = memory.blocks(argon2.params().block_count());
    argon2
        .hash_password_into_with_memory(password.reveal().as_bytes(), salt, &mut output, blocks)
        .map_err(|error| HashingError(error.into()))?;
    Ok(PasswordHash::new(phc_string(argon2.params(), salt, &output)))
}

fn verify(
    argon2: &Argon2<'_>,
    password: &Password,
    hash: &PasswordHash,
    memory: &mut HashMemory,
) -> Result<Verdict, HashingError> {
    let parsed = Parsed::new(hash.as_str()).map_err(|error| HashingError(error.into()))?;
    let is_current = is_current(argon2, &parsed);
    // A hash with other parameters may need any amount of memory. Only the buffer for the current ones is kept.
    let matches = match &parsed {
        Parsed::Argon2(hash, params) if is_current => matches_current(password, hash, params, memory)?,
        parsed => parsed.matches(password)?,
    };
    Ok(match (matches, is_current) {
        (false, _) => Verdict::Wrong,
        (true, true) => Verdict::Right,
        (true, false) => Verdict::RightButOutdated,
    })
}

/// Checks a password against a hash with the current parameters, in reused memory.
fn matches_current(
    password: &Password,
    hash: &phc::PasswordHash,
    params: &Params,
    memory: &mut HashMemory,
) -> Result<bool, HashingError> {
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params.clone());
    let mut output = vec![0; expected.len()];
    argon2
        .hash_password_into_with_memory(
            password.reveal().as_bytes(),
            salt,
            &mut output,
            memory.blocks(params.block_count()),
        )
        .map_err(|error| HashingError(error.into()))?;
    Ok(expected.as_bytes().ct_eq(&output).into())
}

fn is_current(argon2: &Argon2<'_>, hash: &Parsed<'_>) -> bool {
    let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    matches!(hash, Parsed::Argon2(hash, params)
        if hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.version == Some(u32::from(argon2::Version::V0x13))
            && cost(params) == cost(argon2.params()))
}

/// Returns a well-formed hash that no known password matches: its output is random instead of computed.
fn decoy(argon2: &Argon2<'_>) -> String {
    phc_string(argon2.params(), &crate::secret::random()[..SALT_LENGTH], &crate::secret::random())
}

fn phc_string(params: &Params, salt: &[u8], output: &[u8]) -> String {
    let [salt, output] = [salt, output].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    format!("$argon2id$v=19$m={},t={},p={}${salt}${output}", params.m_cost(), params.t_cost(), params.p_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(memory_kib: u32) -> Passwords {
        let policy = PasswordPolicy {
            memory_kib,
            iterations: 1,
            parallelism: 1,
            threads: 2,
            queue_timeout: Duration::from_secs(60),
        };
        Passwords::start(&policy).expect("valid parameters")
    }

    async fn hash_of(passwords: &Passwords, text: &str) -> PasswordHash {
        let slot = passwords.reserve(None, HashKind::New).expect("a queue slot");
        passwords.hash(slot, &text.to_owned().into()).await.expect("a hash")
    }

    async fn verdict(passwords: &Passwords, text: &str, hash: &PasswordHash) -> Verdict {
        let slot = passwords.reserve(None, HashKind::Check).expect("a queue slot");
        passwords.verify(slot, &text.to_owned().into(), hash).await.expect("a verdict")
    }

    #[tokio::test]
    async fn other_argon2_implementations_verify_a_hash() {
        let hash = hash_of(&passwords(64), "correct horse").await;
        let parsed = Parsed::new(hash.as_str()).expect("a hash");
        assert!(parsed.matches(&"correct horse".to_owned().into()).expect("a verdict"));
        assert!(!parsed.matches(&"correct horsf".to_owned().into()).expect("a verdict"));
    }

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = passwords(64);
        let hash = hash_of(&passwords, "correct horse").await;
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_eq!(verdict(&passwords, "correct horse", &hash).await, Verdict::Right);
        assert_eq!(verdict(&passwords, "correct horsf", &hash).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_is_outdated() {
        let hash = hash_of(&passwords(64), "correct horse").await;
        assert_eq!(verdict(&passwords(128), "correct horse", &hash).await, Verdict::RightButOutdated);
        assert_eq!(verdict(&passwords(128), "correct horsf", &hash).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn no_password_matches_the_decoy() {
        let passwords = passwords(64);
        assert_eq!(verdict(&passwords, "anything", &passwords.decoy).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn debug_output_shows_no_secret() {
        let password = Password::from("correct horse".to_owned());
        let hash = hash_of(&passwords(64), password.reveal()).await;
        let shown = format!("{password:?} {hash:?}");
        assert!(!shown.contains("horse") && !shown.contains("argon2"), "{shown}");
    }
}
