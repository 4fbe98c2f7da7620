//! Tells a queue that stands from a burst, as CoDel does for packets (RFC 8289): a burst drains, and the queue is short again
//! before long; what is never short holds more than is worked off.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Since when it has been long whenever anybody came; none if it was short.
    long_since: Option<Instant>,
    stands: bool,
}

/// What a queue is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Short, or a burst.
    Moves,
    /// It is found to stand for the first time.
    BeginsToStand,
    /// It still stands.
    Stands,
}

impl Standing {
    /// The queue that one finds who comes `now`. It stands if it has been long for longer than a burst takes (`patience`), and
    /// was not empty since.
    pub(super) fn find(&mut self, ahead: usize, is_long: bool, now: Instant, patience: Duration) -> Queue {
        let stood = self.stands;
        if is_long {
            let since = *self.long_since.get_or_insert(now);
            self.stands |= now.saturating_duration_since(since) > patience;
        } else {
            self.long_since = None;
            self.stands &= ahead > 0;
        }
        match (stood, self.stands) {
            (_, false) => Queue::Moves,
            (false, true) => Queue::BeginsToStand,
            (true, true) => Queue::Stands,
        }
    }

    /// Whether it was last found to stand.
    pub(super) fn stands(&self) -> bool {
        self.stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: (usize, bool) = (9, true);
    const SHORT: (usize, bool) = (1, false);
    const EMPTY: (usize, bool) = (0, false);

    /// What those find who come at these times.
    fn found<const N: usize>(queue: [((usize, bool), f64); N]) -> [Queue; N] {
        let (mut standing, begun) = (Standing::default(), Instant::now());
        queue.map(|((ahead, is_long), at)| standing.find(ahead, is_long, begun + SECOND.mul_f64(at), SECOND))
    }

    #[test]
    fn a_burst_does_not_stand() {
        assert_eq!(found([(LONG, 0.0), (LONG, 0.9), (SHORT, 1.1), (LONG, 1.2), (LONG, 2.1)]), [Queue::Moves; 5]);
    }

    #[test]
    fn what_is_long_for_long_stands_until_it_is_empty() {
        let queue = [(LONG, 0.0), (LONG, 1.1), (SHORT, 1.2), (LONG, 1.3), (EMPTY, 1.4), (LONG, 1.5)];
        let expected = [Queue::Moves, Queue::BeginsToStand, Queue::Stands, Queue::Stands, Queue::Moves, Queue::Moves];
        assert_eq!(found(queue), expected);
    }
}
