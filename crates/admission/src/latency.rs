//! The latency of a group of requests, compared with its latency without load.
//!
//! A group is what a request's head tells: reads or changes of one bulkhead. A window yields the median, which a few requests
//! that wait for a disk do not move. The baseline is the latency without load. It falls with every faster window, but rises
//! only after windows that were not slowed down by too many requests, so that a long overload does not become the baseline.

use std::time::Duration;

/// The number of samples of a window that are kept; the last ones.
const MAX_SAMPLES: usize = 64;
/// The minimum number of samples for a median.
const MIN_SAMPLES: usize = 5;
/// The step of the baseline towards a faster window.
const FALL_RATE: f64 = 0.5;

/// The step of the baseline towards a slower window without load.
const RISE_RATE: f64 = 0.1;
/// A delay that is always tolerated.
const MIN_TOLERANCE: Duration = Duration::from_millis(1);

/// The load of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// So few requests that they did not slow each other down.
    Light,
    /// No more requests than the lower bound of the limit. Some may have waited for others briefly.
    Minimal,
    /// So many requests that they may have slowed each other down.
    Heavy,
}

/// The latencies of one group.
#[derive(Debug, Default)]
pub(super) struct Latency {
    window: Vec<Duration>,
    count: usize,
    baseline: Option<Duration>,
}

/// The latency of one group in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slowdown {
    /// The latency without load.
    pub baseline: Duration,
    /// The additional latency in this window.
    pub delay: Duration,
}

impl Latency {
    pub(super) fn record(&mut self, sample: Duration) {
        if self.window.len() < MAX_SAMPLES {
            self.window.push(sample);
        } else {
            self.window[self.count % MAX_SAMPLES] = sample;
        }
        self.count += 1;
    }

    /// Ends a window; returns none if it had too few samples.
    pub(super) fn end_window(&mut self, load: Load) -> Option<Slowdown> {
        let enough = self.window.len() >= MIN_SAMPLES;
        let median = enough.then(|| {
            let middle = self.window.len() / 2;
            *self.window.select_nth_unstable(middle).1
        });
        self.window.clear();
        self.count = 0;
        let median = median?;
        let baseline = match self.baseline {
            None => median,
            Some(baseline)
                if load == Load::Minimal && (median < baseline || median > baseline + tolerance(baseline)) =>
            {
                median
            }
            Some(baseline) if median < baseline => baseline - (baseline - median).mul_f64(FALL_RATE),
            Some(baseline) if load == Load::Light => baseline + (median - baseline).mul_f64(RISE_RATE),
            Some(baseline) => baseline,
        };
        self.baseline = Some(baseline);
        Some(Slowdown { baseline, delay: median.saturating_sub(baseline) })
    }
}

/// Returns the tolerated delay of requests whose latency without load is `baseline`: as much again.
pub(super) fn tolerance(baseline: Duration) -> Duration {
    baseline.max(MIN_TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn window(latency: &mut Latency, sample: Duration, load: Load) -> Slowdown {
        (0..MIN_SAMPLES).for_each(|_| latency.record(sample));
        latency.end_window(load).expect("enough samples")
    }

    #[test]
    fn windows_under_load_do_not_raise_the_baseline() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        for _ in 0..1000 {
            assert_eq!(window(&mut latency, 5 * MS, Load::Heavy), Slowdown { baseline: MS, delay: 4 * MS });
        }
    }

    #[test]
    fn windows_without_load_raise_the_baseline() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        let last = (0..50).map(|_| window(&mut latency, 10 * MS, Load::Light)).last().expect("a window");
        assert!(last.delay < MS / 10, "{last:?}");
        let last = (0..10).map(|_| window(&mut latency, MS, Load::Heavy)).last().expect("a window");
        assert!(last.baseline < MS * 11 / 10, "{last:?}");
    }

    #[test]
    fn windows_at_the_minimum_replace_the_baseline_beyond_the_tolerance() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        assert_eq!(window(&mut latency, 2 * MS, Load::Minimal), Slowdown { baseline: MS, delay: MS });
        for sample in [10 * MS, 4 * MS] {
            assert_eq!(
                window(&mut latency, sample, Load::Minimal),
                Slowdown { baseline: sample, delay: Duration::ZERO }
            );
        }
    }

    #[test]
    fn too_few_samples_and_a_few_slow_ones_have_no_effect() {
        let mut latency = Latency::default();
        window(&mut latency, MS, Load::Light);
        (0..MIN_SAMPLES - 1).for_each(|_| latency.record(MS));
        assert_eq!(latency.end_window(Load::Heavy), None);
        (0..500).for_each(|number| latency.record(if number % 10 == 0 { 1000 * MS } else { MS }));
        assert_eq!(latency.end_window(Load::Heavy), Some(Slowdown { baseline: MS, delay: Duration::ZERO }));
    }
}
