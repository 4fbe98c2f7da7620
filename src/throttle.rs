//! Throttling of password checks, fleet-wide, charged before the password is hashed.
//!
//! Charging first means that parallel guesses can't slip past a count that is only raised by failures; a success gives
//! its own charge back. Three buckets: by name and address (guessing one account), by address (trying many accounts;
//! IPv6 by /64, which one customer has to itself), and, looser, by name (a distributed attack), so that nobody locks
//! someone else out cheaply. Names that nobody has are charged the same.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
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

/// The three limits.
#[derive(Debug, Clone, Copy)]
pub struct ThrottleLimits {
    /// For one name from one address.
    pub name_and_address: Limit,
    /// For one address, whatever the names.
    pub address: Limit,
    /// For one name, whatever the addresses.
    pub name: Limit,
}

/// Charges and refunds password checks.
#[derive(Debug, Clone)]
pub struct Throttle {
    store: Arc<dyn ThrottleStore>,
    limits: Option<ThrottleLimits>,
}

/// A charge that was accepted.
#[derive(Debug)]
#[must_use = "a check that succeeds refunds its charge"]
pub struct Charged(Vec<Bucket>);

/// Why a password check may not be made.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// Too many were made.
    #[error("too many password checks")]
    Exhausted {
        /// When the next may be made.
        retry_after: Duration,
    },
    /// The store failed; nothing is checked uncounted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Throttle {
    /// Without limits nothing is ever refused.
    pub fn new(store: Arc<dyn ThrottleStore>, limits: Option<ThrottleLimits>) -> Self {
        Self { store, limits }
    }

    /// Charges one password check of `name` from `address`.
    pub async fn charge(&self, name: &str, address: Option<IpAddr>) -> Result<Charged, ThrottleError> {
        let buckets = self.limits.map_or_else(Vec::new, |limits| buckets(&limits, name, address));
        if buckets.is_empty() {
            return Ok(Charged(buckets));
        }
        match self.store.charge(&buckets, Timestamp::now()).await? {
            Charge::Accepted => Ok(Charged(buckets)),
            Charge::Refused { retry_after } => Err(ThrottleError::Exhausted { retry_after }),
        }
    }

    /// Gives a charge back: the password was right. What the check was for has succeeded: a failure is only noted.
    pub async fn refund(&self, Charged(buckets): Charged) {
        if buckets.is_empty() {
            return;
        }
        if let Err(error) = self.store.refund(&buckets, Timestamp::now()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a throttle charge was not refunded");
        }
    }
}

fn buckets(limits: &ThrottleLimits, name: &str, address: Option<IpAddr>) -> Vec<Bucket> {
    let bucket = |kind: &str, limit: Limit, parts: &[&str]| Bucket {
        key: secret::digest([&[kind], parts].concat().join("\0").as_bytes()),
        burst: limit.tries,
        interval: limit.interval(),
    };
    let mut buckets = vec![bucket("name", limits.name, &[name])];
    if let Some(address) = address {
        let network = network(address);
        buckets.push(bucket("name+address", limits.name_and_address, &[name, &network]));
        buckets.push(bucket("address", limits.address, &[&network]));
    }
    buckets
}

/// What one customer of a provider has to itself: an IPv4 address, or an IPv6 /64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let segments = address.segments();
            format!("{:x}:{:x}:{:x}:{:x}", segments[0], segments[1], segments[2], segments[3])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_from_text_and_written_back() {
        let limit: Limit = "10/15m".parse().expect("a limit");
        assert_eq!(limit, Limit { tries: 10, window: Duration::from_secs(900) });
        assert_eq!(limit.to_string(), "10/15m");
        for wrong in ["", "10", "0/1m", "-1/1m", "10/", "10/1ms", "1000/1s", "x/1m"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_of_one_customer_share_a_bucket() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
