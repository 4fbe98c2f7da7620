//! Passwords: recognised by argon2id hashes (RFC 9106) in PHC format, computed off the runtime on a bounded pool. Hashes
//! that came with imported users may be of other kinds until their next login (`format`).
//!
//! Invariants: a password is never stored, logged or compared; hashing never runs on a runtime thread; an unknown user
//! costs one hash with the parameters in force.

mod common;
mod format;
mod pool;

use std::{borrow::Cow, time::Duration};

use argon2::{Argon2, Params, password_hash::phc};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use format::Parsed;
pub use format::{HashingError, InvalidHash};
use icu_normalizer::ComposingNormalizerBorrowed;
pub use pool::{HashKind, Place, PoolStats, Saturated};
use pool::{HashPool, Memory};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::model::{Network, PasswordHash};

/// The length of a salt, in bytes.
const SALT: usize = 16;

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

    /// The form that is hashed (NFC): keyboards and systems write the same letters in different ways.
    pub fn normalized(&self) -> Cow<'_, Self> {
        if self.is_normalized() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(ComposingNormalizerBorrowed::new_nfc().normalize(self.reveal()).into_owned().into())
    }

    /// Whether it was sent in the form that is hashed.
    pub fn is_normalized(&self) -> bool {
        ComposingNormalizerBorrowed::new_nfc().is_normalized(self.reveal())
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
        let decoy = PasswordHash::new(decoy(&argon2));
        Ok(Self { pool: HashPool::start(policy.threads, policy.deadline), argon2, decoy })
    }

    /// A place in the queue for one hash of a client, to be asked for before anything else is done for a request.
    ///
    /// # Errors
    /// [`Saturated`] if the hash could not be begun before the deadline, or the client has others that wait.
    pub fn place(&self, client: impl Into<Network>, kind: HashKind) -> Result<Place, Saturated> {
        self.pool.place(client.into(), kind)
    }

    /// Hashes the normalized form of a password with a random salt.
    pub async fn hash(&self, place: Place, password: &Password) -> Result<PasswordHash, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.normalized().into_owned());
        Ok(self.pool.run(place, move |memory| hash(&argon2, &password, memory)).await??)
    }

    /// Hashes the normalized form of a new password; `None` for one that guessers try first, `login_name` being known to them.
    pub async fn hash_new(
        &self,
        place: Place,
        password: &Password,
        login_name: &str,
    ) -> Result<Option<PasswordHash>, PasswordError> {
        let (argon2, login_name) = (self.argon2.clone(), login_name.to_owned());
        let password = password.normalized().into_owned();
        let judge_and_hash = move |memory: &mut Memory| {
            let is_common = common::is_common(password.reveal(), &[&login_name]);
            if is_common { Ok(None) } else { hash(&argon2, &password, memory).map(Some) }
        };
        Ok(self.pool.run(place, judge_and_hash).await??)
    }

    /// Checks a password as it is against a stored hash. For a user without one it costs the same.
    pub async fn verify(
        &self,
        place: Place,
        password: &Password,
        hash: &PasswordHash,
    ) -> Result<Verdict, PasswordError> {
        let hash = if hash.export().is_some() { hash } else { &self.decoy };
        let (argon2, password, hash) = (self.argon2.clone(), password.clone(), hash.clone());
        Ok(self.pool.run(place, move |memory| verify(&argon2, &password, &hash, memory)).await??)
    }

    /// The hash of users that don't exist: no password is right, and to check one costs the same.
    pub fn decoy(&self) -> &PasswordHash {
        &self.decoy
    }

    /// From now on hashes at most `concurrency` passwords at a time, in at most `buffers` pieces of memory.
    pub fn resize(&self, concurrency: usize, buffers: usize) {
        self.pool.resize(concurrency, buffers);
    }

    /// How busy the pool is.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }
}

fn hash(argon2: &Argon2<'_>, password: &Password, memory: &mut Memory) -> Result<PasswordHash, HashingError> {
    let salt = &crate::secret::random()[..SALT];
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
    memory: &mut Memory,
) -> Result<Verdict, HashingError> {
    let parsed = Parsed::new(hash.as_str()).map_err(|error| HashingError(error.into()))?;
    let is_current = is_current(argon2, &parsed);
    // What others have hashed may take any amount of memory: a thread keeps only what it always needs.
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

/// Whether `password` is the one of a hash made under the parameters in force.
fn matches_current(
    password: &Password,
    hash: &phc::PasswordHash,
    params: &Params,
    memory: &mut Memory,
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

/// A well-formed hash that no password is known for: its output is random instead of computed.
fn decoy(argon2: &Argon2<'_>) -> String {
    phc_string(argon2.params(), &crate::secret::random()[..SALT], &crate::secret::random())
}

fn phc_string(params: &Params, salt: &[u8], output: &[u8]) -> String {
    let [salt, output] = [salt, output].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    format!("$argon2id$v=19$m={},t={},p={}${salt}${output}", params.m_cost(), params.t_cost(), params.p_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(memory_kib: u32) -> Passwords {
        let policy = PasswordPolicy { memory_kib, passes: 1, lanes: 1, threads: 2, deadline: Duration::from_secs(60) };
        Passwords::start(&policy).expect("valid parameters")
    }

    async fn hash_of(passwords: &Passwords, text: &str) -> PasswordHash {
        let place = passwords.place(None, HashKind::New).expect("a place");
        passwords.hash(place, &text.to_owned().into()).await.expect("a hash")
    }

    async fn verdict(passwords: &Passwords, text: &str, hash: &PasswordHash) -> Verdict {
        let place = passwords.place(None, HashKind::Check).expect("a place");
        passwords.verify(place, &text.to_owned().into(), hash).await.expect("a verdict")
    }

    #[tokio::test]
    async fn a_hash_is_what_any_argon2_makes_of_it() {
        let hash = hash_of(&passwords(64), "correct horse").await;
        let parsed = Parsed::new(hash.as_str()).expect("a hash");
        assert!(parsed.matches(&"correct horse".to_owned().into()).expect("a verdict"));
        assert!(!parsed.matches(&"correct horsf".to_owned().into()).expect("a verdict"));
    }

    #[tokio::test]
    async fn the_right_password_is_told_from_a_wrong_one() {
        let passwords = passwords(64);
        let hash = hash_of(&passwords, "correct horse").await;
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_eq!(verdict(&passwords, "correct horse", &hash).await, Verdict::Right);
        assert_eq!(verdict(&passwords, "correct horsf", &hash).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_under_other_parameters_is_right_but_outdated() {
        let hash = hash_of(&passwords(64), "correct horse").await;
        assert_eq!(verdict(&passwords(128), "correct horse", &hash).await, Verdict::RightButOutdated);
        assert_eq!(verdict(&passwords(128), "correct horsf", &hash).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn the_decoy_is_checked_like_a_real_hash() {
        let passwords = passwords(64);
        assert_eq!(verdict(&passwords, "anything", &passwords.decoy).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn nothing_secret_shows_in_debug_output() {
        let password = Password::from("correct horse".to_owned());
        let hash = hash_of(&passwords(64), password.reveal()).await;
        let shown = format!("{password:?} {hash:?}");
        assert!(!shown.contains("horse") && !shown.contains("argon2"), "{shown}");
    }
}
