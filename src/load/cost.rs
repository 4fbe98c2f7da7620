//! The cost model: learns the processor time of one request of each class from the processor time of the whole process. So it
//! includes everything that a request causes, on whichever thread.
//!
//! - Hashing is measured separately, on its threads.
//! - The remaining time is attributed to reads and changes by least squares, with exponentially decaying weights. If reads and
//!   changes always arrive in the same proportion, both get the same cost, which is correct for that proportion.
//! - The processor time of the idle process is subtracted.
//! - Windows with many refusals are skipped: a refused request costs something too, and served ones cost more.

use std::time::Duration;

use crate::model::ByClass;

/// The time after which the weight of a measurement halves.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// Weighted requests needed before their costs are reported.
const MIN_REQUESTS: f64 = 200.0;
/// Weighted hashes needed before the cost of a login is reported.
const MIN_HASHES: f64 = 3.0;
/// The largest share of refused requests in a window that is learnt from.
const MAX_REFUSED: f64 = 0.05;
/// Ridge penalty on the difference between the costs of reads and changes, relative to the amount of data.
const RIDGE: f64 = 0.001;

/// The counts of one measurement window.
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

/// Exponentially weighted sums over windows.
#[derive(Debug, Clone, Default)]
pub(super) struct CostModel {
    /// Processor time of the process during windows without requests. Not weighted.
    idle_cpu: f64,
    /// Length of the windows without requests.
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
        let total: f64 = requests.into_array().iter().sum();
        if window.refused as f64 > MAX_REFUSED * total {
            return;
        }
        let seconds = window.elapsed.as_secs_f64();
        let own_cpu = window.cpu.saturating_sub(window.hashing_cpu).as_secs_f64();
        if total < 1.0 {
            self.idle_cpu += own_cpu;
            self.idle_seconds += seconds;
            return;
        }
        let kept = 0.5_f64.powf(seconds / HALF_LIFE.as_secs_f64());
        let idle = if self.idle_seconds > 0.0 { self.idle_cpu / self.idle_seconds } else { 0.0 };
        let cpu = (own_cpu - idle * seconds).max(0.0);
        // Apart from its hash, a login costs as much as a change.
        let (read, change) = (requests.read, requests.change + requests.login);
        for (sum, term) in [
            (&mut self.hashing_cpu, window.hashing_cpu.as_secs_f64()),
            (&mut self.hashes, window.hashes as f64),
            (&mut self.requests, total),
            (&mut self.read_read, read * read),
            (&mut self.read_change, read * change),
            (&mut self.change_change, change * change),
            (&mut self.read_cpu, read * cpu),
            (&mut self.change_cpu, change * cpu),
        ] {
            *sum = *sum * kept + term;
        }
    }

    /// Returns the processor time of one request, in seconds. None for classes with too few requests.
    pub(super) fn costs(&self) -> ByClass<Option<f64>> {
        let fitted = (self.requests >= MIN_REQUESTS).then(|| self.fit());
        let hash = (self.hashes >= MIN_HASHES).then(|| self.hashing_cpu / self.hashes);
        // The hash dominates, so the cost of a login is reported even if that of a change is unknown.
        let login = hash.map(|hash| hash + fitted.map_or(0.0, |(_, change)| change));
        ByClass { login, read: fitted.map(|(read, _)| read), change: fitted.map(|(_, change)| change) }
    }

    /// Returns the costs of a read and of a change that fit the measured processor time best.
    fn fit(&self) -> (f64, f64) {
        let ridge = RIDGE * (self.read_read + self.change_change);
        let (a, b, c) = (self.read_read + ridge, self.read_change - ridge, self.change_change + ridge);
        let determinant = a * c - b * b;
        let read = (self.read_cpu * c - self.change_cpu * b) / determinant;
        let change = (self.change_cpu * a - self.read_cpu * b) / determinant;
        // Noise can make the cost of the rarer class negative. Then all time is attributed to the other class.
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
    fn classes_with_too_few_requests_have_no_cost() {
        assert_eq!(learnt([]), ByClass::default());
        assert_eq!(learnt([window(0, 10, 1)]).read, None, "too few");
        assert_eq!(learnt([window(0, 1000, 100)]).login, None);
    }

    #[test]
    fn the_cost_of_each_class_is_learnt() {
        let costs = learnt((0..40).map(|index| window(index % 7, 1000 + 100 * (index % 5), 200 * (index % 3))));
        assert!(is_near(costs.read, READ), "{costs:?}");
        assert!(is_near(costs.change, CHANGE), "{costs:?}");
        assert!(is_near(costs.login, HASH + CHANGE), "{costs:?}");
    }

    #[test]
    fn requests_in_a_constant_proportion_get_the_right_total_cost() {
        let costs = learnt((0..40).map(|_| window(0, 900, 100)));
        let (read, change) = (costs.read.expect("a cost"), costs.change.expect("a cost"));
        assert!(is_near(Some(0.9 * read + 0.1 * change), 0.9 * READ + 0.1 * CHANGE), "{costs:?}");
    }

    #[test]
    fn windows_with_many_refusals_are_skipped() {
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
        fn costs_are_never_negative_or_absurd(
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
