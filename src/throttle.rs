//! Fleet-wide throttling of requests that hash a password, charged before hashing.
//!
//! Charging first means that parallel guesses can't outrun a count that only failures raise. A success refunds its own
//! charge. A password check is charged to three buckets: name and address (guessing one account), address (trying many
//! accounts), and, with a higher limit, name (a distributed attack), so that locking someone else out is expensive. IPv6
//! addresses count by /64, which one customer has to itself. Unknown names are charged alike.
//!
//! Successful logins and registrations are charged by address, each to a bucket of its own. They are no guesses, but
//! unlimited ones from one client would take the hashing capacity of all others.

mod exhausted;
mod guess_limiter;

use std::{
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use exhausted::Exhausted;
pub use guess_limiter::GuessLimiter;
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

/// A number of tries in a time window, such as `10/15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub tries: u32,
    /// Time in which all tries become available again.
    pub window: Duration,
}

/// Minimum time in which one try becomes available again. Below it a limit would have no effect.
const MIN_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
#[error("is not a number of tries in a time window, such as 10/15m")]
pub struct InvalidLimit;

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tries, window) = text.split_once('/').ok_or(InvalidLimit)?;
        let tries = tries.trim().parse().ok().filter(|&tries| tries > 0).ok_or(InvalidLimit)?;
        let window = humantime::parse_duration(window.trim()).map_err(|_| InvalidLimit)?;
        let limit = Self { tries, window };
        if limit.interval() < MIN_INTERVAL { Err(InvalidLimit) } else { Ok(limit) }
    }
}

impl Limit {
    /// Returns the time until one try becomes available again, in whole milliseconds, as stores count it.
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

#[derive(Debug, Clone, Copy)]
pub struct ThrottleLimits {
    /// Password checks for one name from one address.
    pub name_and_address: Limit,
    /// Password checks from one address, for all names.
    pub address: Limit,
    /// Password checks for one name, from all addresses.
    pub name: Limit,
    /// Registrations from one address.
    pub registrations: Limit,
    /// Successful logins from one address.
    pub logins: Limit,
}

/// Address groups. Each may have [`MAX_CHARGES_PER_GROUP`] charges in flight to the store.
const GROUPS: usize = 256;
const MAX_CHARGES_PER_GROUP: usize = 8;

/// Charges and refunds requests that hash a password.
#[derive(Debug, Clone)]
pub struct Throttle {
    store: Arc<dyn ThrottleStore>,
    limits: Option<ThrottleLimits>,
    tasks: TaskTracker,
    exhausted: Arc<Exhausted>,
    /// One semaphore a group, so that a thousand simultaneous charges of one address delay those of others only a little.
    permits: Arc<[Semaphore]>,
}

/// An accepted charge.
#[derive(Debug)]
#[must_use = "a check that succeeds refunds its charge"]
pub struct Charged(Vec<Bucket>);

/// The charges of a login. Once its result is known, one of them is refunded.
#[derive(Debug)]
#[must_use = "one of the two charges must be refunded"]
pub struct ChargedLogin {
    pub check: Charged,
    pub success: Charged,
}

#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    #[error("too many password checks, logins or registrations")]
    Exhausted {
        /// Time until the next try is available.
        retry_after: Duration,
    },
    /// The store failed. No password is checked without a charge.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Throttle {
    /// Creates a throttle with its buckets in `store`. Without limits it refuses nothing. Refunds run as `tasks`.
    pub fn new(store: Arc<dyn ThrottleStore>, limits: Option<ThrottleLimits>, tasks: TaskTracker) -> Self {
        let permits = std::iter::repeat_with(|| Semaphore::new(MAX_CHARGES_PER_GROUP)).take(GROUPS).collect();
        Self { store, limits, exhausted: Arc::default(), permits, tasks }
    }

    /// Charges `checks` password checks of `name` from `address`.
    pub async fn charge(&self, name: &str, address: Option<IpAddr>, checks: u32) -> Result<Charged, ThrottleError> {
        self.charge_buckets(|limits| limits.check(name, address, checks)).await
    }

    /// Charges one login as `name` from `address` with `checks` password checks, both as a check and as a success. If a success
    /// were charged only afterwards, any number of parallel logins would get past the limit.
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
        let _permit = self.permits[group].acquire().await;
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

    /// Refunds a charge in the background. A failure is only logged.
    pub fn refund(&self, Charged(buckets): Charged) {
        if !buckets.is_empty() {
            self.exhausted.forget(&buckets);
            self.tasks.spawn(refund(Arc::clone(&self.store), buckets));
        }
    }
}

async fn refund(store: Arc<dyn ThrottleStore>, buckets: Vec<Bucket>) {
    if let Err(error) = store.refund(&buckets, Timestamp::now()).await {
        static FAILURES: Repeats = Repeats::new(|count| tracing::warn!(count, "more throttle charges not refunded"));
        FAILURES.record(|| {
            tracing::warn!(error = &error as &dyn std::error::Error, "throttle charge not refunded");
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
        // A charge above the bucket's size could never be accepted.
        charges: charges.min(limit.tries),
    }
}

#[cfg(test)]
mod tests;
