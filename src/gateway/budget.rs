//! How many requests may be made again: a part of those that were made at all, so that nodes that fail are not drowned in
//! second attempts (Finagle's retry budget).

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

/// What one attempt costs; a request pays in a part of it.
const ATTEMPT: i64 = 1000;

/// A budget of second attempts.
#[derive(Debug)]
pub(super) struct RetryBudget {
    balance: AtomicI64,
    /// What a request pays in.
    deposit: i64,
    /// What is paid in each second whether there are requests or not.
    reserve: i64,
    most: i64,
    epoch: Instant,
    /// The second that the reserve was last paid in.
    second: AtomicI64,
}

impl RetryBudget {
    /// One more attempt for each hundred requests is one percent; `reserve` come each second in any case.
    pub(super) fn new(percent: u32, reserve: u32, now: Instant) -> Self {
        let reserve = i64::from(reserve) * ATTEMPT;
        Self {
            balance: AtomicI64::new(reserve),
            deposit: i64::from(percent) * ATTEMPT / 100,
            reserve,
            // What was not spent for ten seconds is gone.
            most: 10 * reserve.max(100 * ATTEMPT),
            epoch: now,
            second: AtomicI64::new(0),
        }
    }

    /// Counts a request.
    pub(super) fn deposit(&self) {
        if self.balance.load(Ordering::Relaxed) < self.most {
            self.balance.fetch_add(self.deposit, Ordering::Relaxed);
        }
    }

    /// Whether there is enough for another attempt; it is paid for.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        self.pay_reserve(now.saturating_duration_since(self.epoch));
        let paid = |balance| (balance >= ATTEMPT).then_some(balance - ATTEMPT);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }

    fn pay_reserve(&self, since: Duration) {
        let second = since.as_secs() as i64;
        if self.second.fetch_max(second, Ordering::Relaxed) < second && self.reserve > 0 {
            self.balance.fetch_max(self.reserve, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn attempts_are_a_part_of_the_requests() {
        let now = Instant::now();
        let budget = RetryBudget::new(20, 0, now);
        assert_eq!(attempts(&budget, now), 0);
        (0..100).for_each(|_| budget.deposit());
        assert_eq!(attempts(&budget, now), 20);
    }

    #[test]
    fn a_few_are_had_each_second_in_any_case() {
        let now = Instant::now();
        let budget = RetryBudget::new(20, 10, now);
        assert_eq!(attempts(&budget, now), 10);
        assert_eq!(attempts(&budget, now + Duration::from_millis(900)), 0);
        assert_eq!(attempts(&budget, now + Duration::from_secs(7)), 10, "unused seconds don't add up");
    }

    #[test]
    fn what_is_not_spent_does_not_grow_without_bound() {
        let now = Instant::now();
        let budget = RetryBudget::new(100, 1, now);
        (0..1_000_000).for_each(|_| budget.deposit());
        assert_eq!(attempts(&budget, now), 1000);
    }
}
