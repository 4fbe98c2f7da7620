//! How many requests of a class may be under way at a time.
//!
//! It follows the gradient: what requests would take with a delay that is tolerated, divided by what they take. Where that
//! is less than one, the limit falls by as much, at most to half. It rises by its own square root, room for a queue that
//! keeps the process busy between two answers; the two meet where the delay is somewhat more than tolerated. It
//! moves only while it is used: an idle process says nothing about what it could do. And it does not fall below what is
//! served in a time that nobody minds to wait: to queue for a place costs more than that is worth.
//!
//! As low as it may be, the limit can't be what makes requests very slow: what they take then is taken for what they need.
//! Where requests are slow for long, it goes there for one window to find out; also when requests first have to wait, if
//! until then there were always too many for it to show what they need. Not where that would keep waiting who is served in
//! no time.

use std::time::Duration;

use super::latency::{Load, Slowdown, tolerance};

/// The lowest gradient: one bad window takes no more than this part.
const STEEPEST: f64 = 0.5;
/// The weight of the newest window.
const WEIGHT: f64 = 0.5;
/// What is left of the limit when something behind it refused a request for want of room.
const BACK_OFF: f64 = 0.9;
/// After so many windows that were too slow the limit tries whether it is to blame.
const TRY_AFTER: u32 = 20;

/// Between what a limit stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub least: f64,
    pub most: f64,
    /// What a request may wait for by intent, beyond what is tolerated anyway.
    pub patience: Duration,
    /// As many as are served in this time are always let in.
    pub negligible: Duration,
}

/// What happened since the limit last moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// How much slower than unloaded all requests were, if there were enough.
    pub slowdown: Option<Slowdown>,
    /// The most that were under way.
    pub peak: usize,
    /// How many were served a second.
    pub rate: f64,
    /// Whether anybody was kept waiting who would not have overloaded anything.
    pub pressed: bool,
    /// Whether something behind refused a request for want of room.
    pub refused: bool,
}

/// The limit.
#[derive(Debug)]
pub(super) struct Limit {
    value: f64,
    bounds: Bounds,
    /// Whether a window has shown what requests need.
    informed: bool,
    /// How many windows in a row were too slow.
    slow: u32,
    /// What it is again after this window, in which it is as low as it may be to see what requests take then.
    after_try: Option<f64>,
}

impl Limit {
    pub(super) fn new(start: f64, bounds: Bounds) -> Self {
        Self { value: start, bounds, informed: false, slow: 0, after_try: None }
    }

    /// As a number of requests.
    pub(super) fn get(&self) -> usize {
        self.value as usize
    }

    /// What the limit says of a window in which at most `peak` were under way.
    pub(super) fn load(&self, peak: usize) -> Load {
        if self.after_try.is_some() || self.value < self.bounds.least + 1.0 {
            Load::Least
        } else if (peak as f64) < self.value / 2.0 {
            Load::Light
        } else {
            Load::Heavy
        }
    }

    /// Moves as the window has it.
    pub(super) fn follow(&mut self, window: Window) {
        let floor = window.rate * self.bounds.negligible.as_secs_f64();
        self.seek(window, floor);
        if self.after_try.is_none() {
            self.set(self.value.max(floor));
        }
    }

    fn seek(&mut self, window: Window, floor: f64) {
        let peak = window.peak as f64;
        if let Some(value) = self.after_try.take() {
            self.value = value;
            return;
        }
        if window.refused {
            self.set(self.value.min(peak) * BACK_OFF);
            return;
        }
        let Some(slowdown) = window.slowdown else { return };
        let gradient = self.gradient(slowdown);
        self.slow = if gradient < 1.0 { self.slow + 1 } else { 0 };
        self.informed |= peak < 0.5 * self.value;
        let in_doubt = self.slow > TRY_AFTER || (window.pressed && !self.informed);
        if in_doubt && self.value > 2.0 * floor {
            (self.slow, self.informed) = (0, true);
            self.after_try = Some(self.value);
            self.set(self.bounds.least.max(floor));
            return;
        }
        let grows = window.pressed || peak >= 0.8 * self.value;
        if grows || peak >= 0.5 * self.value {
            let room = if grows { self.value.sqrt() } else { 0.0 };
            let next = self.value * gradient + room;
            self.set(self.value + WEIGHT * (next - self.value));
        }
    }

    fn gradient(&self, slowdown: Slowdown) -> f64 {
        let seconds = |time: Duration| time.as_secs_f64().max(1e-6);
        let tolerated = slowdown.baseline + tolerance(slowdown.baseline) + self.bounds.patience;
        (seconds(tolerated) / seconds(slowdown.baseline + slowdown.delay)).clamp(STEEPEST, 1.0)
    }

    fn set(&mut self, value: f64) {
        self.value = value.clamp(self.bounds.least, self.bounds.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BOUNDS: Bounds = Bounds { least: 8.0, most: 1000.0, patience: Duration::ZERO, negligible: Duration::ZERO };

    fn window(delay: Duration, peak: usize) -> Window {
        let slowdown = Some(Slowdown { baseline: 10 * MS, delay });
        Window { slowdown, peak, rate: 1000.0, pressed: false, refused: false }
    }

    #[test]
    fn it_grows_only_while_it_is_used_and_only_to_its_bound() {
        let mut limit = Limit::new(100.0, BOUNDS);
        (0..1000).for_each(|_| limit.follow(window(Duration::ZERO, 70)));
        assert_eq!(limit.get(), 100);
        limit.follow(window(Duration::ZERO, 90));
        assert_eq!(limit.get(), 105);
        limit.follow(Window { pressed: true, ..window(Duration::ZERO, 10) });
        assert_eq!(limit.get(), 110);
        (0..1000).for_each(|_| limit.follow(window(Duration::ZERO, 1000)));
        assert_eq!(limit.get(), 1000);
    }

    #[test]
    fn one_bad_window_takes_a_quarter_and_many_leave_the_least() {
        let mut limit = Limit::new(1000.0, BOUNDS);
        limit.follow(window(60_000 * MS, 700));
        assert_eq!(limit.get(), 750);
        (0..40).for_each(|_| limit.follow(window(60_000 * MS, 1000)));
        assert!(limit.get() < 12, "{limit:?}");
    }

    #[test]
    fn it_settles_where_the_delay_is_little_more_than_tolerated() {
        let mut limit = Limit::new(8.0, BOUNDS);
        // A process that does one request a millisecond: 10 ms and a millisecond for each that is ahead.
        for _ in 0..200 {
            limit.follow(window(MS * limit.get().saturating_sub(10) as u32, limit.get()));
        }
        assert!((20..32).contains(&limit.get()), "{limit:?}");
    }

    #[test]
    fn slowness_that_the_limit_is_not_to_blame_for_does_not_lower_it() {
        let mut limit = Limit::new(100.0, BOUNDS);
        (0..100).for_each(|_| limit.follow(window(1000 * MS, 49)));
        assert_eq!(limit.get(), 100);
        let patient = Bounds { patience: Duration::from_secs(1), ..BOUNDS };
        let mut limit = Limit::new(100.0, patient);
        limit.follow(window(1000 * MS, 100));
        assert_eq!(limit.get(), 105);
    }

    #[test]
    fn it_does_not_fall_below_what_is_served_in_a_negligible_time() {
        let mut limit = Limit::new(100.0, Bounds { negligible: 20 * MS, ..BOUNDS });
        (0..10).for_each(|_| limit.follow(window(60_000 * MS, 1000)));
        assert_eq!(limit.get(), 20);
        limit.follow(Window { rate: 10_000.0, ..window(60_000 * MS, 20) });
        assert_eq!(limit.get(), 200);
        limit.follow(Window { rate: 1e9, ..window(60_000 * MS, 20) });
        assert_eq!(limit.get(), 1000);
        (0..100).for_each(|_| limit.follow(Window { rate: 1e9, pressed: true, ..window(60_000 * MS, 1000) }));
        assert_eq!(limit.get(), 1000, "not even to find out what requests need");
        let mut limit = Limit::new(1000.0, Bounds { negligible: 8 * MS, ..BOUNDS });
        limit.follow(Window { rate: 10_000.0, pressed: true, ..window(Duration::ZERO, 1000) });
        assert_eq!((limit.get(), limit.load(80)), (80, Load::Least), "to find out it goes there");
    }

    #[test]
    fn it_finds_out_what_requests_need_before_any_has_to_wait_for_long() {
        let waited = |peak| Window { pressed: true, ..window(Duration::ZERO, peak) };
        let mut limit = Limit::new(100.0, BOUNDS);
        limit.follow(window(Duration::ZERO, 79));
        limit.follow(waited(100));
        assert_eq!(limit.get(), 8, "there were always too many to tell");
        limit.follow(waited(8));
        assert_eq!(limit.get(), 100, "only for a window");
        limit.follow(waited(100));
        assert_eq!(limit.get(), 105, "and once");
        let mut limit = Limit::new(100.0, BOUNDS);
        limit.follow(window(Duration::ZERO, 49));
        limit.follow(waited(100));
        assert_eq!(limit.get(), 105, "few were under way before");
    }

    #[test]
    fn a_refusal_behind_it_lowers_it_to_what_was_taken() {
        let mut limit = Limit::new(1000.0, BOUNDS);
        limit.follow(Window { refused: true, ..window(Duration::ZERO, 60) });
        assert_eq!(limit.get(), 54);
    }
}
