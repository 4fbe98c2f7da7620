//! The concurrency limit of a gate.
//!
//! The limit follows a gradient: the tolerated latency divided by the measured latency. If the gradient is below 1 the limit is
//! multiplied by it, at most halved. While the limit is used it rises by its own square root, which is room for a queue that
//! keeps the process busy; the two are in balance at a delay slightly above the tolerated one. The limit moves only while it
//! is used, as an idle process shows nothing about its capacity. It does not fall below the number of requests that are served
//! in a negligible time, as queueing costs more than that.
//!
//! At its lower bound the limit cannot be the cause of a high latency, so the latency measured there becomes the baseline. If
//! requests are slow for long, the limit goes to its lower bound for one window (a probe) to find out. It also does so when
//! requests have to wait for the first time and no window so far had few enough requests to show a baseline.

use std::time::Duration;

use super::latency::{Load, Slowdown, tolerance};

/// The lowest gradient, which bounds the effect of one bad window.
const MIN_GRADIENT: f64 = 0.5;
/// The weight of the newest window.
const SMOOTHING: f64 = 0.5;
/// The factor of the limit after another limit behind the gate rejected a request.
const BACK_OFF: f64 = 0.9;
/// The number of slow windows in a row after which the limit probes.
const PROBE_AFTER_WINDOWS: u32 = 20;

/// The bounds of a limit, and the delays that it tolerates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub min: f64,
    pub max: f64,
    /// Additional delay that does not lower the limit.
    pub patience: Duration,
    /// The limit does not fall below the number of requests that are served in this time.
    pub negligible: Duration,
}

/// The measurements since the last change of the limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// The slowdown that all groups of requests have in common, if there were enough samples.
    pub slowdown: Option<Slowdown>,
    /// The maximum number of requests that competed for the process.
    pub peak: usize,
    /// Requests served per second.
    pub rate: f64,
    /// Whether the limit kept requests waiting that would not have overloaded a backend.
    pub saturated: bool,
    /// Whether another limit behind the gate rejected a request.
    pub rejected_downstream: bool,
}

/// An adaptive limit.
#[derive(Debug)]
pub(super) struct Limit {
    value: f64,
    bounds: Bounds,
    /// Whether a window had few enough requests to show a baseline.
    baseline_seen: bool,
    /// The number of slow windows in a row.
    slow_windows: u32,
    /// The value before the probe, if this window is one.
    before_probe: Option<f64>,
}

impl Limit {
    pub(super) fn new(initial: f64, bounds: Bounds) -> Self {
        Self { value: initial, bounds, baseline_seen: false, slow_windows: 0, before_probe: None }
    }

    /// Returns the limit, in requests.
    pub(super) fn get(&self) -> usize {
        self.value as usize
    }

    /// Classifies the load of a window with at most `peak` requests in flight.
    pub(super) fn load(&self, peak: usize) -> Load {
        if self.before_probe.is_some() || self.value < self.bounds.min + 1.0 {
            Load::Minimal
        } else if (peak as f64) < self.value / 2.0 {
            Load::Light
        } else {
            Load::Heavy
        }
    }

    /// Changes the limit after a window.
    pub(super) fn update(&mut self, window: Window) {
        let floor = window.rate * self.bounds.negligible.as_secs_f64();
        self.adjust(window, floor);
        if self.before_probe.is_none() {
            self.set(self.value.max(floor));
        }
    }

    fn adjust(&mut self, window: Window, floor: f64) {
        let peak = window.peak as f64;
        if let Some(value) = self.before_probe.take() {
            self.value = value;
            return;
        }
        if window.rejected_downstream {
            self.set(self.value.min(peak) * BACK_OFF);
            return;
        }
        let Some(slowdown) = window.slowdown else { return };
        let gradient = self.gradient(slowdown);
        self.slow_windows = if gradient < 1.0 { self.slow_windows + 1 } else { 0 };
        self.baseline_seen |= peak < 0.5 * self.value;
        let should_probe = self.slow_windows > PROBE_AFTER_WINDOWS || (window.saturated && !self.baseline_seen);
        if should_probe && self.value > 2.0 * floor {
            (self.slow_windows, self.baseline_seen) = (0, true);
            self.before_probe = Some(self.value);
            self.set(self.bounds.min.max(floor));
            return;
        }
        let grows = window.saturated || peak >= 0.8 * self.value;
        if grows || peak >= 0.5 * self.value {
            let room = if grows { self.value.sqrt() } else { 0.0 };
            let next = self.value * gradient + room;
            self.set(self.value + SMOOTHING * (next - self.value));
        }
    }

    fn gradient(&self, slowdown: Slowdown) -> f64 {
        let seconds = |time: Duration| time.as_secs_f64().max(1e-6);
        let tolerated = slowdown.baseline + tolerance(slowdown.baseline) + self.bounds.patience;
        (seconds(tolerated) / seconds(slowdown.baseline + slowdown.delay)).clamp(MIN_GRADIENT, 1.0)
    }

    fn set(&mut self, value: f64) {
        self.value = value.clamp(self.bounds.min, self.bounds.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BOUNDS: Bounds = Bounds { min: 8.0, max: 1000.0, patience: Duration::ZERO, negligible: Duration::ZERO };

    fn window(delay: Duration, peak: usize) -> Window {
        let slowdown = Some(Slowdown { baseline: 10 * MS, delay });
        Window { slowdown, peak, rate: 1000.0, saturated: false, rejected_downstream: false }
    }

    #[test]
    fn the_limit_grows_only_while_it_is_used_up_to_its_bound() {
        let mut limit = Limit::new(100.0, BOUNDS);
        (0..1000).for_each(|_| limit.update(window(Duration::ZERO, 70)));
        assert_eq!(limit.get(), 100);
        limit.update(window(Duration::ZERO, 90));
        assert_eq!(limit.get(), 105);
        limit.update(Window { saturated: true, ..window(Duration::ZERO, 10) });
        assert_eq!(limit.get(), 110);
        (0..1000).for_each(|_| limit.update(window(Duration::ZERO, 1000)));
        assert_eq!(limit.get(), 1000);
    }

    #[test]
    fn one_bad_window_removes_a_quarter_and_many_leave_the_minimum() {
        let mut limit = Limit::new(1000.0, BOUNDS);
        limit.update(window(60_000 * MS, 700));
        assert_eq!(limit.get(), 750);
        (0..40).for_each(|_| limit.update(window(60_000 * MS, 1000)));
        assert!(limit.get() < 12, "{limit:?}");
    }

    #[test]
    fn the_limit_settles_at_slightly_more_than_the_tolerated_delay() {
        let mut limit = Limit::new(8.0, BOUNDS);
        // A process that serves one request a millisecond: 10 ms, and a millisecond for each request ahead.
        for _ in 0..200 {
            limit.update(window(MS * limit.get().saturating_sub(10) as u32, limit.get()));
        }
        assert!((20..32).contains(&limit.get()), "{limit:?}");
    }

    #[test]
    fn a_delay_that_the_limit_does_not_cause_does_not_lower_it() {
        let mut limit = Limit::new(100.0, BOUNDS);
        (0..100).for_each(|_| limit.update(window(1000 * MS, 49)));
        assert_eq!(limit.get(), 100);
        let patient = Bounds { patience: Duration::from_secs(1), ..BOUNDS };
        let mut limit = Limit::new(100.0, patient);
        limit.update(window(1000 * MS, 100));
        assert_eq!(limit.get(), 105);
    }

    #[test]
    fn the_limit_does_not_fall_below_what_is_served_in_a_negligible_time() {
        let mut limit = Limit::new(100.0, Bounds { negligible: 20 * MS, ..BOUNDS });
        (0..10).for_each(|_| limit.update(window(60_000 * MS, 1000)));
        assert_eq!(limit.get(), 20);
        limit.update(Window { rate: 10_000.0, ..window(60_000 * MS, 20) });
        assert_eq!(limit.get(), 200);
        limit.update(Window { rate: 1e9, ..window(60_000 * MS, 20) });
        assert_eq!(limit.get(), 1000);
        (0..100).for_each(|_| limit.update(Window { rate: 1e9, saturated: true, ..window(60_000 * MS, 1000) }));
        assert_eq!(limit.get(), 1000, "not even to probe");
        let mut limit = Limit::new(1000.0, Bounds { negligible: 8 * MS, ..BOUNDS });
        limit.update(Window { rate: 10_000.0, saturated: true, ..window(Duration::ZERO, 1000) });
        assert_eq!((limit.get(), limit.load(80)), (80, Load::Minimal), "a probe goes to that floor");
    }

    #[test]
    fn the_limit_probes_once_when_requests_wait_for_the_first_time() {
        let waited = |peak| Window { saturated: true, ..window(Duration::ZERO, peak) };
        let mut limit = Limit::new(100.0, BOUNDS);
        limit.update(window(Duration::ZERO, 79));
        limit.update(waited(100));
        assert_eq!(limit.get(), 8, "no window had few requests so far");
        limit.update(waited(8));
        assert_eq!(limit.get(), 100, "a probe takes one window");
        limit.update(waited(100));
        assert_eq!(limit.get(), 105, "only one probe");
        let mut limit = Limit::new(100.0, BOUNDS);
        limit.update(window(Duration::ZERO, 49));
        limit.update(waited(100));
        assert_eq!(limit.get(), 105, "a window had few requests before");
    }

    #[test]
    fn a_downstream_rejection_lowers_the_limit_below_the_peak() {
        let mut limit = Limit::new(1000.0, BOUNDS);
        limit.update(Window { rejected_downstream: true, ..window(Duration::ZERO, 60) });
        assert_eq!(limit.get(), 54);
    }
}
