//! Limits guesses at operator tokens by address.
//!
//! Counters are kept in this process instead of the shared store: operators need their endpoints most when the store is
//! down, and wrong tokens must not keep the store busy. A keyed hash spreads addresses over a fixed table. Addresses that
//! share a counter share its limit, which does no harm: the right token is never counted and always accepted.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;

use super::Limit;
use crate::model::Network;

const COUNTERS: usize = 4096;

/// Counts refused requests to operator endpoints, and limits wrong tokens by address.
#[derive(Debug)]
pub struct GuessLimiter {
    limit: Option<Limit>,
    /// When each counter is full again, in milliseconds since `started_at` (GCRA, as in the SQLite store).
    full_at: Box<[AtomicU64]>,
    started_at: Instant,
    hasher: RandomState,
    refused: AtomicU64,
}

impl GuessLimiter {
    /// Creates a limiter. Without a limit it only counts.
    pub fn new(limit: Option<Limit>) -> Self {
        let full_at = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { limit, full_at, started_at: Instant::now(), hasher: RandomState::default(), refused: AtomicU64::new(0) }
    }

    /// Counts a request without a token.
    pub fn count_missing(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a wrong token, and charges it to its address.
    ///
    /// # Errors
    /// The time until the address may try again, if it has exceeded the limit.
    pub fn charge(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let Some(limit) = self.limit else { return Ok(()) };
        let (interval, now) = (millis(limit.interval()), millis(now.saturating_duration_since(self.started_at)));
        let room_until = now.saturating_add(interval.saturating_mul(u64::from(limit.tries)));
        let charged = |full_at: u64| full_at.max(now).saturating_add(interval);
        let counter = &self.full_at[self.hasher.hash_one(Network::from(address)) as usize % COUNTERS];
        let update = |full_at| Some(charged(full_at)).filter(|&charged| charged <= room_until);
        match counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(_) => Ok(()),
            Err(full_at) => Err(Duration::from_millis(charged(full_at) - room_until)),
        }
    }

    /// Returns the number of refused requests.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_limited_until_a_try_is_available_again() {
        let guesses = GuessLimiter::new("3/30s".parse().ok());
        let now = Instant::now();
        let own = address("2001:db8::1");
        for _ in 0..3 {
            assert_eq!(guesses.charge(own, now), Ok(()));
        }
        let wait = guesses.charge(address("2001:db8::2"), now).expect_err("too many");
        assert!((Duration::from_millis(9_900)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        assert!((0..100).filter(|n| guesses.charge(address(&format!("192.0.2.{n}")), now).is_ok()).count() > 90);
        assert_eq!(guesses.charge(own, now + wait), Ok(()));
        assert!(guesses.charge(own, now + wait).is_err());
        assert_eq!(guesses.refused(), 106);
    }

    #[test]
    fn without_a_limit_guesses_are_only_counted() {
        let guesses = GuessLimiter::new(None);
        assert!((0..1000).all(|_| guesses.charge(None, Instant::now()).is_ok()));
        guesses.count_missing();
        assert_eq!(guesses.refused(), 1001);
    }
}
