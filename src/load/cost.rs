//! The processor time that a request of each class costs, learnt from what the whole process used: everything that a request
//! causes is in it, wherever it runs.
//!
//! Hashing is measured apart, on its threads. What else the process used is spread over reads and changes by least squares,
//! old measurements counting less and less; where reads and changes always come in the same proportion, they are taken to
//! cost the same, which is right for just that proportion. What the process uses by itself, without requests, is left out.
//! Windows in which much was refused teach nothing: what is refused costs something too, and what is served costs more.

use std::time::Duration;

use crate::model::ByClass;

/// After so long a measurement counts half.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// From so many requests on a cost is known.
const ENOUGH_REQUESTS: f64 = 200.0;
/// From so many hashes on theirs is.
const ENOUGH_HASHES: f64 = 3.0;
/// How much may be refused in a window that teaches something.
const REFUSED: f64 = 0.05;
/// How much it costs a fit to have reads and changes differ, relative to what there is of them.
const RIDGE: f64 = 0.001;

/// What happened in a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub elapsed: Duration,
    /// Of the whole process.
    pub cpu: Duration,
    /// Of the hashing threads.
    pub hashing_cpu: Duration,
    pub hashes: u64,
    pub requests: ByClass<u64>,
    pub refused: u64,
}

/// Sums over windows, old ones counting less.
#[derive(Debug, Clone, Default)]
pub(super) struct CostModel {
    /// The processor time that an idle process uses in a second, and the seconds in which that was measured.
    idle_cpu: f64,
    idle_seconds: f64,
    hashing_cpu: f64,
    hashes: f64,
    requests: f64,
    read_read: f64,
    read_change: f64,
    change_change: f64,
    read_cpu: f64,
    change_cpu: f64,
}

impl CostModel {
    pub(super) fn learn(&mut self, window: &Window) {
        let requests = window.requests.map(|count| count as f64);
        let all: f64 = requests.into_array().iter().sum();
        if window.refused as f64 > REFUSED * all {
            return;
        }
        let seconds = window.elapsed.as_secs_f64();
        let own_cpu = window.cpu.saturating_sub(window.hashing_cpu).as_secs_f64();
        if all < 1.0 {
            self.idle_cpu += own_cpu;
            self.idle_seconds += seconds;
            return;
        }
        let kept = 0.5_f64.powf(seconds / HALF_LIFE.as_secs_f64());
        let idle = if self.idle_seconds > 0.0 { self.idle_cpu / self.idle_seconds } else { 0.0 };
        let cpu = (own_cpu - idle * seconds).max(0.0);
        // A login is a change besides its hash.
        let (read, change) = (requests.read, requests.change + requests.login);
        for (sum, term) in [
            (&mut self.hashing_cpu, window.hashing_cpu.as_secs_f64()),
            (&mut self.hashes, window.hashes as f64),
            (&mut self.requests, all),
            (&mut self.read_read, read * read),
            (&mut self.read_change, read * change),
            (&mut self.change_change, change * change),
            (&mut self.read_cpu, read * cpu),
            (&mut self.change_cpu, change * cpu),
        ] {
            *sum = *sum * kept + term;
        }
    }

    /// What a request costs, in seconds; none where too few have been seen.
    pub(super) fn costs(&self) -> ByClass<Option<f64>> {
        let fitted = (self.requests >= ENOUGH_REQUESTS).then(|| self.fit());
        let hash = (self.hashes >= ENOUGH_HASHES).then(|| self.hashing_cpu / self.hashes);
        // Beside a hash the rest of a login hardly counts.
        let login = hash.map(|hash| hash + fitted.map_or(0.0, |(_, change)| change));
        ByClass { login, read: fitted.map(|(read, _)| read), change: fitted.map(|(_, change)| change) }
    }

    /// The costs of reads and changes that explain best what was used.
    fn fit(&self) -> (f64, f64) {
        let ridge = RIDGE * (self.read_read + self.change_change);
        let (a, b, c) = (self.read_read + ridge, self.read_change - ridge, self.change_change + ridge);
        let determinant = a * c - b * b;
        let read = (self.read_cpu * c - self.change_cpu * b) / determinant;
        let change = (self.change_cpu * a - self.read_cpu * b) / determinant;
        // Noise may make the rarer class cost less than nothing; then the other one explains it all.
        if read < 0.0 {
            (0.0, self.change_cpu / self.change_change)
        } else if change < 0.0 {
            (self.read_cpu / self.read_read, 0.0)
        } else {
            (read, change)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ: f64 = 60e-6;
    const CHANGE: f64 = 300e-6;
    const HASH: f64 = 0.04;
    const IDLE: f64 = 0.005;

    fn window(login: u64, read: u64, change: u64) -> Window {
        let own = READ * read as f64 + CHANGE * (change + login) as f64 + 5.0 * IDLE;
        Window {
            elapsed: Duration::from_secs(5),
            cpu: Duration::from_secs_f64(own + HASH * login as f64),
            hashing_cpu: Duration::from_secs_f64(HASH * login as f64),
            hashes: login,
            requests: ByClass { login, read, change },
            refused: 0,
        }
    }

    fn learnt(windows: impl IntoIterator<Item = Window>) -> ByClass<Option<f64>> {
        let mut model = CostModel::default();
        model.learn(&window(0, 0, 0));
        windows.into_iter().for_each(|window| model.learn(&window));
        model.costs()
    }

    fn is_near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 0.05 * expected)
    }

    #[test]
    fn what_was_never_seen_is_not_known() {
        assert_eq!(learnt([]), ByClass::default());
        assert_eq!(learnt([window(0, 10, 1)]).read, None, "too few");
        assert_eq!(learnt([window(0, 1000, 100)]).login, None);
    }

    #[test]
    fn each_class_costs_what_it_uses() {
        let costs = learnt((0..40).map(|index| window(index % 7, 1000 + 100 * (index % 5), 200 * (index % 3))));
        assert!(is_near(costs.read, READ), "{costs:?}");
        assert!(is_near(costs.change, CHANGE), "{costs:?}");
        assert!(is_near(costs.login, HASH + CHANGE), "{costs:?}");
    }

    #[test]
    fn what_always_comes_in_one_proportion_is_right_for_that_proportion() {
        let costs = learnt((0..40).map(|_| window(0, 900, 100)));
        let (read, change) = (costs.read.expect("a cost"), costs.change.expect("a cost"));
        assert!(is_near(Some(0.9 * read + 0.1 * change), 0.9 * READ + 0.1 * CHANGE), "{costs:?}");
    }

    #[test]
    fn a_window_in_which_much_was_refused_teaches_nothing() {
        let refused = Window { refused: 500, cpu: Duration::from_secs(5), ..window(0, 1000, 0) };
        let costs = learnt((0..20).flat_map(|_| [window(0, 1000, 0), refused]));
        assert!(is_near(costs.read, READ), "{costs:?}");
    }

    #[test]
    fn new_costs_replace_old_ones() {
        let cheap = (0..200).map(|_| window(0, 1000, 0));
        let dear = (0..200).map(|_| Window { cpu: Duration::from_secs_f64(0.145), ..window(0, 1000, 0) });
        let costs = learnt(cheap.chain(dear));
        assert!(is_near(costs.read, 2.0 * READ), "{costs:?}");
    }

    proptest! {
        #[test]
        fn whatever_is_measured_no_cost_is_negative_or_unheard_of(
            windows in proptest::collection::vec((0..50_u64, 0..5000_u64, 0..5000_u64, 0..5000_u64, 0..100_u64), 0..50),
        ) {
            let windows = windows.into_iter().map(|(login, read, change, milliseconds, refused)| Window {
                cpu: Duration::from_millis(milliseconds),
                refused,
                ..window(login, read, change)
            });
            for cost in learnt(windows).into_array().into_iter().flatten() {
                prop_assert!((0.0..60.0).contains(&cost), "{}", cost);
            }
        }
    }
}
