//! Throttling of what costs a hash, fleet-wide, charged before the password is hashed.
//!
//! Charging first means that parallel guesses can't slip past a count that is only raised by failures; a success gives
//! its own charge back. Password checks have three buckets: by name and address (guessing one account), by address (trying
//! many accounts; IPv6 by /64, which one customer has to itself), and, looser, by name (a distributed attack), so that
//! nobody locks someone else out cheaply. Names that nobody has are charged the same. Successful logins and registrations
//! are charged by address, each in a bucket of its own: they are no guesses, but as many as one client likes would use up
//! what all others hash with.

mod exhausted;
mod guesses;

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use exhausted::Exhausted;
pub use guesses::Guesses;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Timestamp,
    log::repeats::Repeats,
    model::Network,
    secret,
    shared_store::{Bucket, Charge, ThrottleStore},
    store_error::StoreError,
};

/// So many tries in so much time, such as `10/15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many tries.
    pub tries: u32,
    /// In how much time they come back.
    pub window: Duration,
}

/// The shortest time in which a try may come back: with shorter ones a limit would limit nothing.
const FINEST: Duration = Duration::from_millis(2);

/// Text that is not a limit.
#[derive(Debug, thiserror::Error)]
#[error("is not a number of tries in a time, such as 10/15m")]
pub struct InvalidLimit;

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tries, window) = text.split_once('/').ok_or(InvalidLimit)?;
        let tries = tries.trim().parse().ok().filter(|&tries| tries > 0).ok_or(InvalidLimit)?;
        let window = humantime::parse_duration(window.trim()).map_err(|_| InvalidLimit)?;
        let limit = Self { tries, window };
        if limit.interval() < FINEST { Err(InvalidLimit) } else { Ok(limit) }
    }
}

impl Limit {
    /// How long until one try comes back, in whole milliseconds, as stores count them.
    fn interval(self) -> Duration {
        let millis = self.window.as_millis().div_ceil(u128::from(self.tries));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tries, humantime::format_duration(self.window))
    }
}

/// All limits.
#[derive(Debug, Clone, Copy)]
pub struct ThrottleLimits {
    /// Password checks for one name from one address.
    pub name_and_address: Limit,
    /// Password checks from one address, whatever the names.
    pub address: Limit,
    /// Password checks for one name, whatever the addresses.
    pub name: Limit,
    /// Registrations from one address.
    pub registrations: Limit,
    /// Successful logins from one address.
    pub logins: Limit,
}

/// Addresses are divided into so many groups, each of which has only [`AT_A_TIME`] charges with the store at a time.
const GROUPS: usize = 256;
const AT_A_TIME: usize = 8;

/// Charges and refunds what costs a hash.
#[derive(Debug, Clone)]
pub struct Throttle {
    store: Arc<dyn ThrottleStore>,
    limits: Option<ThrottleLimits>,
    tasks: TaskTracker,
    exhausted: Arc<Exhausted>,
    /// The turns of each group: a thousand charges of one address at once keep those of others waiting for a few.
    turns: Arc<[Semaphore]>,
}

/// A charge that was accepted.
#[derive(Debug)]
#[must_use = "a check that succeeds refunds its charge"]
pub struct Charged(Vec<Bucket>);

/// The charges of a login: as a password check, and as a successful login. One of them is refunded once it is known which
/// it was.
#[derive(Debug)]
#[must_use = "a login that succeeds is no guess, and one that fails is no login"]
pub struct ChargedLogin {
    /// As a password check.
    pub check: Charged,
    /// As a successful login.
    pub success: Charged,
}

/// Why a password may not be checked or hashed.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// Too many were.
    #[error("too many password checks, logins or registrations")]
    Exhausted {
        /// When the next may be made.
        retry_after: Duration,
    },
    /// The store failed; nothing is checked uncounted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Throttle {
    /// Creates a throttle that keeps its buckets in `store`, and that without limits refuses nothing. Refunds are among `tasks`.
    pub fn new(store: Arc<dyn ThrottleStore>, limits: Option<ThrottleLimits>, tasks: TaskTracker) -> Self {
        let turns = std::iter::repeat_with(|| Semaphore::new(AT_A_TIME)).take(GROUPS).collect();
        Self { store, limits, exhausted: Arc::default(), turns, tasks }
    }

    /// Charges `checks` password checks of `name` from `address`.
    pub async fn charge(&self, name: &str, address: Option<IpAddr>, checks: u32) -> Result<Charged, ThrottleError> {
        self.charge_buckets(|limits| limits.check(name, address, checks)).await
    }

    /// Charges one login as `name` from `address`, for which a password is checked `checks` times, for whatever becomes of it.
    /// If a success were charged only afterwards, any number of parallel logins would slip by.
    pub async fn charge_login(
        &self,
        name: &str,
        address: Option<IpAddr>,
        checks: u32,
    ) -> Result<ChargedLogin, ThrottleError> {
        let Charged(mut check) = self
            .charge_buckets(|limits| {
                let success = limits.success(address);
                limits.check(name, address, checks).into_iter().chain([success]).collect()
            })
            .await?;
        let success = check.pop().into_iter().collect();
        Ok(ChargedLogin { check: Charged(check), success: Charged(success) })
    }

    /// Charges one registration from `address`.
    pub async fn charge_registration(&self, address: Option<IpAddr>) -> Result<Charged, ThrottleError> {
        self.charge_buckets(|limits| vec![limits.registration(address)]).await
    }

    async fn charge_buckets(
        &self,
        buckets: impl FnOnce(&ThrottleLimits) -> Vec<Bucket>,
    ) -> Result<Charged, ThrottleError> {
        let Some(limits) = &self.limits else { return Ok(Charged(Vec::new())) };
        let buckets = buckets(limits);
        self.refuse_exhausted(&buckets)?;
        // The last bucket is that of the address, where there is one.
        let group = buckets.last().map_or(0, |bucket| usize::from(bucket.key[0]) % GROUPS);
        let _turn = self.turns[group].acquire().await;
        self.refuse_exhausted(&buckets)?;
        match self.store.charge(&buckets, Timestamp::now()).await? {
            Charge::Accepted => Ok(Charged(buckets)),
            Charge::Refused { retry_after, bucket } => {
                self.exhausted.remember(&bucket, retry_after, Instant::now());
                Err(ThrottleError::Exhausted { retry_after })
            }
        }
    }

    fn refuse_exhausted(&self, buckets: &[Bucket]) -> Result<(), ThrottleError> {
        match self.exhausted.wait(buckets, Instant::now()) {
            Some(retry_after) => Err(ThrottleError::Exhausted { retry_after }),
            None => Ok(()),
        }
    }

    /// Refunds a charge in the background: nobody waits for it, and a failure is only logged.
    pub fn refund(&self, Charged(buckets): Charged) {
        if !buckets.is_empty() {
            self.exhausted.forget(&buckets);
            self.tasks.spawn(refund(Arc::clone(&self.store), buckets));
        }
    }
}

async fn refund(store: Arc<dyn ThrottleStore>, buckets: Vec<Bucket>) {
    if let Err(error) = store.refund(&buckets, Timestamp::now()).await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more charges were not refunded"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, "a throttle charge was not refunded");
        });
    }
}

impl ThrottleLimits {
    fn check(&self, name: &str, address: Option<IpAddr>, checks: u32) -> Vec<Bucket> {
        let mut buckets = vec![bucket("name", self.name, &[name], checks)];
        if let Some(address) = address {
            let network = Network::from(address).to_string();
            buckets.push(bucket("name+address", self.name_and_address, &[name, &network], checks));
            buckets.push(bucket("address", self.address, &[&network], checks));
        }
        buckets
    }

    fn success(&self, address: Option<IpAddr>) -> Bucket {
        bucket("login", self.logins, &[&Network::from(address).to_string()], 1)
    }

    fn registration(&self, address: Option<IpAddr>) -> Bucket {
        bucket("registration", self.registrations, &[&Network::from(address).to_string()], 1)
    }
}

fn bucket(kind: &str, limit: Limit, parts: &[&str], charges: u32) -> Bucket {
    Bucket {
        key: secret::digest([&[kind], parts].concat().join("\0").as_bytes()),
        burst: limit.tries,
        interval: limit.interval(),
        // Never more than there is room for at all.
        charges: charges.min(limit.tries),
    }
}

#[cfg(test)]
mod tests;
