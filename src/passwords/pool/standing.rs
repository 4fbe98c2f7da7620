//! Detects a standing queue, as CoDel does for packets (RFC 8289).
//!
//! A burst drains, and the queue soon is short again. A standing queue is long at every arrival: more arrives than is
//! processed.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct StandingDetector {
    /// Since when every arrival has found the queue long; `None` if the last one found it short.
    long_since: Option<Instant>,
    is_standing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueState {
    /// It is short, or a burst that still may drain.
    Draining,
    /// This observation is the first to find it standing.
    BecameStanding,
    Standing,
}

impl StandingDetector {
    /// Records the length that an arrival finds. A queue stands once it has been long for more than `interval`, and until
    /// an arrival finds it empty.
    pub(super) fn observe(&mut self, ahead: usize, is_long: bool, now: Instant, interval: Duration) -> QueueState {
        let was_standing = self.is_standing;
        if is_long {
            let since = *self.long_since.get_or_insert(now);
            self.is_standing |= now.saturating_duration_since(since) > interval;
        } else {
            self.long_since = None;
            self.is_standing &= ahead > 0;
        }
        match (was_standing, self.is_standing) {
            (_, false) => QueueState::Draining,
            (false, true) => QueueState::BecameStanding,
            (true, true) => QueueState::Standing,
        }
    }

    pub(super) fn is_standing(&self) -> bool {
        self.is_standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: (usize, bool) = (9, true);
    const SHORT: (usize, bool) = (1, false);
    const EMPTY: (usize, bool) = (0, false);

    /// Returns what arrivals at these times, in seconds, observe.
    fn observed<const N: usize>(queue: [((usize, bool), f64); N]) -> [QueueState; N] {
        let (mut standing, begun) = (StandingDetector::default(), Instant::now());
        queue.map(|((ahead, is_long), at)| standing.observe(ahead, is_long, begun + SECOND.mul_f64(at), SECOND))
    }

    #[test]
    fn a_burst_is_not_a_standing_queue() {
        assert_eq!(
            observed([(LONG, 0.0), (LONG, 0.9), (SHORT, 1.1), (LONG, 1.2), (LONG, 2.1)]),
            [QueueState::Draining; 5]
        );
    }

    #[test]
    fn a_queue_that_stays_long_stands_until_it_is_empty() {
        let queue = [(LONG, 0.0), (LONG, 1.1), (SHORT, 1.2), (LONG, 1.3), (EMPTY, 1.4), (LONG, 1.5)];
        let expected = [
            QueueState::Draining,
            QueueState::BecameStanding,
            QueueState::Standing,
            QueueState::Standing,
            QueueState::Draining,
            QueueState::Draining,
        ];
        assert_eq!(observed(queue), expected);
    }
}
