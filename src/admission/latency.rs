//! How much longer requests of one group take than they do when little is going on.
//!
//! Groups are as alike as can be told from a request's head: read or change, of one lane. What a window shows is the
//! median, which a few requests that wait for a disk don't move. The baseline, what they take unloaded, falls with every
//! faster window, but rises only where it can't be too many requests that made the window slow: else an overload that
//! lasts would soon pass for normal.

use std::time::Duration;

/// How many samples of a window are kept: the last ones.
const KEPT: usize = 64;
/// The fewest samples that say something about a group.
const FEWEST: usize = 5;
/// How far the baseline goes towards a faster window.
const FALL: f64 = 0.5;

/// How far it goes towards a slower one, where it goes.
const RISE: f64 = 0.1;
/// A delay that is never worth refusing anybody for.
const UNNOTICED: Duration = Duration::from_millis(1);

/// How many requests were under way in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// So few that none made others slow.
    Light,
    /// No more than are always let in. Some may have waited for others, but not for long.
    Least,
    /// So many that they may have made each other slow.
    Heavy,
}

/// The response times of one group.
#[derive(Debug, Default)]
pub(super) struct Latency {
    window: Vec<Duration>,
    count: usize,
    baseline: Option<Duration>,
}

/// What a window showed of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slowdown {
    /// What its requests take unloaded.
    pub baseline: Duration,
    /// What they took beyond that.
    pub delay: Duration,
}

impl Latency {
    pub(super) fn record(&mut self, took: Duration) {
        if self.window.len() < KEPT {
            self.window.push(took);
        } else {
            self.window[self.count % KEPT] = took;
        }
        self.count += 1;
    }

    /// Ends a window; `None` if it had too few samples.
    pub(super) fn close(&mut self, load: Load) -> Option<Slowdown> {
        let enough = self.window.len() >= FEWEST;
        let median = enough.then(|| {
            let middle = self.window.len() / 2;
            *self.window.select_nth_unstable(middle).1
        });
        self.window.clear();
        self.count = 0;
        let median = median?;
        let baseline = match self.baseline {
            None => median,
            Some(baseline) if load == Load::Least && (median < baseline || median > baseline + tolerance(baseline)) => {
                median
            }
            Some(baseline) if median < baseline => baseline - (baseline - median).mul_f64(FALL),
            Some(baseline) if load == Load::Light => baseline + (median - baseline).mul_f64(RISE),
            Some(baseline) => baseline,
        };
        self.baseline = Some(baseline);
        Some(Slowdown { baseline, delay: median.saturating_sub(baseline) })
    }
}

/// The delay that requests may have which take `baseline` unloaded: as much again.
pub(super) fn tolerance(baseline: Duration) -> Duration {
    baseline.max(UNNOTICED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn window(latency: &mut Latency, took: Duration, load: Load) -> Slowdown {
        (0..FEWEST).for_each(|_| latency.record(took));
        latency.close(load).expect("enough samples")
    }

    #[test]
    fn a_loaded_window_is_held_against_what_was_before() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        for _ in 0..1000 {
            assert_eq!(window(&mut latency, 5 * MS, Load::Heavy), Slowdown { baseline: MS, delay: 4 * MS });
        }
    }

    #[test]
    fn what_is_slow_without_load_becomes_normal() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        let last = (0..50).map(|_| window(&mut latency, 10 * MS, Load::Light)).last().expect("a window");
        assert!(last.delay < MS / 10, "{last:?}");
        let last = (0..10).map(|_| window(&mut latency, MS, Load::Heavy)).last().expect("a window");
        assert!(last.baseline < MS * 11 / 10, "{last:?}");
    }

    #[test]
    fn what_even_the_fewest_take_is_normal_unless_they_may_have_waited_for_each_other() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        assert_eq!(window(&mut latency, 2 * MS, Load::Least), Slowdown { baseline: MS, delay: MS });
        for took in [10 * MS, 4 * MS] {
            assert_eq!(window(&mut latency, took, Load::Least), Slowdown { baseline: took, delay: Duration::ZERO });
        }
    }

    #[test]
    fn a_few_slow_ones_and_too_few_of_any_kind_say_nothing() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        (0..FEWEST - 1).for_each(|_| latency.record(MS));
        assert_eq!(latency.close(Load::Heavy), None);
        (0..500).for_each(|number| latency.record(if number % 10 == 0 { 1000 * MS } else { MS }));
        assert_eq!(latency.close(Load::Heavy), Some(Slowdown { baseline: MS, delay: Duration::ZERO }));
    }
}
