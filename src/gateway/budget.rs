//! Retry budget, as in Finagle: retries are a share of the requests, so that they do not overload failing nodes.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

/// Cost of a retry. A request deposits a part of it.
const RETRY_COST: i64 = 1000;

#[derive(Debug)]
pub(super) struct RetryBudget {
    balance: AtomicI64,
    /// Deposit per request.
    deposit: i64,
    /// Minimum balance at the beginning of each second, without any requests.
    reserve: i64,
    max: i64,
    epoch: Instant,
    /// The second of the last refill, counted from `epoch`.
    refilled_second: AtomicI64,
}

impl RetryBudget {
    /// Allows `percent` retries per hundred requests, and at least `reserve` per second.
    pub(super) fn new(percent: u32, reserve: u32, now: Instant) -> Self {
        let reserve = i64::from(reserve) * RETRY_COST;
        Self {
            balance: AtomicI64::new(reserve),
            deposit: i64::from(percent) * RETRY_COST / 100,
            reserve,
            // Ten times the reserve, and at least a thousand retries.
            max: 10 * reserve.max(100 * RETRY_COST),
            epoch: now,
            refilled_second: AtomicI64::new(0),
        }
    }

    /// Adds the deposit of a request.
    pub(super) fn deposit(&self) {
        if self.balance.load(Ordering::Relaxed) < self.max {
            self.balance.fetch_add(self.deposit, Ordering::Relaxed);
        }
    }

    /// Pays for a retry. Returns false if the balance is too low.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        self.refill_reserve(now.saturating_duration_since(self.epoch));
        let pay = |balance| (balance >= RETRY_COST).then_some(balance - RETRY_COST);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    fn refill_reserve(&self, since: Duration) {
        let second = since.as_secs() as i64;
        if self.refilled_second.fetch_max(second, Ordering::Relaxed) < second && self.reserve > 0 {
            self.balance.fetch_max(self.reserve, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let now = Instant::now();
        let budget = RetryBudget::new(20, 0, now);
        assert_eq!(retries(&budget, now), 0);
        (0..100).for_each(|_| budget.deposit());
        assert_eq!(retries(&budget, now), 20);
    }

    #[test]
    fn a_reserve_of_retries_is_available_each_second() {
        let now = Instant::now();
        let budget = RetryBudget::new(20, 10, now);
        assert_eq!(retries(&budget, now), 10);
        assert_eq!(retries(&budget, now + Duration::from_millis(900)), 0);
        assert_eq!(retries(&budget, now + Duration::from_secs(7)), 10, "unused reserves do not add up");
    }

    #[test]
    fn the_balance_is_bounded() {
        let now = Instant::now();
        let budget = RetryBudget::new(100, 1, now);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(retries(&budget, now), 1000);
    }
}
