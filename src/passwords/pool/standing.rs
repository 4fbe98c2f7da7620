//! Tells a queue that stands from a burst, as CoDel does for packets (RFC 8289): a burst drains, and the queue is short again
//! before long; what is never short holds more than is worked off.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(super) struct Standing {
    /// How long a burst may take to drain.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
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
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, state: Mutex::default() }
    }

    /// The queue that one finds who comes `now`. It stands if it has been long for longer than a burst takes, and was not empty
    /// since.
    pub(super) fn find(&self, ahead: usize, is_long: bool, now: Instant) -> Queue {
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stood = state.stands;
        if is_long {
            let since = *state.long_since.get_or_insert(now);
            state.stands |= now.saturating_duration_since(since) > self.patience;
        } else {
            state.long_since = None;
            state.stands &= ahead > 0;
        }
        match (stood, state.stands) {
            (_, false) => Queue::Moves,
            (false, true) => Queue::BeginsToStand,
            (true, true) => Queue::Stands,
        }
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
        let (standing, begun) = (Standing::new(SECOND), Instant::now());
        queue.map(|((ahead, is_long), at)| standing.find(ahead, is_long, begun + SECOND.mul_f64(at)))
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
