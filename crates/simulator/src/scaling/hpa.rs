//! The Kubernetes Horizontal Pod Autoscaler as its documentation and `horizontal.go`/`replica_calculator.go` have it, for
//! comparison: a resource metric with a target utilisation, and the default behaviours.
//!
//! Kinder than life in one point: its metric is what was offered, not processor use, so it does not end at 100 % when an
//! instance is full.

use std::collections::VecDeque;

use super::View;

/// How often it looks (`--horizontal-pod-autoscaler-sync-period`), and over how long metrics-server averages.
pub(super) const SYNC_SECONDS: usize = 15;
/// For how long after its start a pod counts as unready while its metrics are not yet of a whole window
/// (`--horizontal-pod-autoscaler-cpu-initialization-period` is far longer than any window).
const WINDOW_SECONDS: usize = 15;

/// The autoscaler, with what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Hpa {
    /// Which part of an instance's capacity shall be used.
    pub target: f64,
    /// By which part the use may differ before anything is done.
    pub tolerance: f64,
    /// For how long it keeps to the greatest recommendation, in seconds.
    pub scale_down_stabilization: usize,
    recommendations: VecDeque<(usize, u32)>,
    /// How many were added in the running period, by second: both default policies look 15 s back.
    added: VecDeque<(usize, u32)>,
}

/// What it knows of the pods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pods {
    /// Pods in the specification, starting ones included.
    pub current: u32,
    /// Pods with metrics.
    pub measured: u32,
    /// Pods that are not ready, or whose metrics don't count yet.
    pub unready: u32,
    /// The mean use of those with metrics, as a part of the capacity.
    pub usage: f64,
}

impl Hpa {
    /// The defaults: a tolerance of 10 % and 300 s of stabilisation.
    pub fn new(target: f64) -> Self {
        Self {
            target,
            tolerance: 0.1,
            scale_down_stabilization: 300,
            recommendations: VecDeque::new(),
            added: VecDeque::new(),
        }
    }

    pub(super) fn decide(&mut self, view: &View<'_>) -> u32 {
        let current = view.fleet.count();
        // Ready pods are measured once they were there for a whole window before what is seen.
        let window = view.ready.get(view.until.saturating_sub(WINDOW_SECONDS)..view.until).unwrap_or_default();
        let measured = window.iter().min().copied().unwrap_or(view.fleet.ready()).min(view.fleet.ready());
        if measured == 0 {
            return current;
        }
        // Each of those that were ready had its share.
        let sharing = window.iter().map(|ready| f64::from(*ready)).sum::<f64>() / window.len().max(1) as f64;
        let usage = view.offered(WINDOW_SECONDS) / if sharing > 0.0 { sharing } else { f64::from(measured) };
        let pods = Pods { current, measured, unready: current - measured, usage };
        let recommended = view.settings.bounds.clamp(self.replicas(pods));
        let stabilized = self.stabilize(recommended, current, view.now);
        self.limit(stabilized, current, view.now)
    }

    /// How many pods the metric asks for (`GetResourceReplicas`).
    pub(super) fn replicas(&self, pods: Pods) -> u32 {
        let ratio = pods.usage / self.target;
        let small = |ratio: f64| (1.0 - ratio).abs() <= self.tolerance;
        if pods.unready == 0 || ratio <= 1.0 {
            return if small(ratio) { pods.current } else { (ratio * f64::from(pods.measured)).ceil() as u32 };
        }
        // Growing: those that are not ready yet count as idle.
        let all = f64::from(pods.measured.saturating_add(pods.unready));
        let diluted = ratio * f64::from(pods.measured) / all;
        if small(diluted) || diluted < 1.0 {
            return pods.current;
        }
        ((diluted * all).ceil() as u32).max(pods.current)
    }

    /// The greatest recommendation of the window when shrinking (`stabilizeRecommendationWithBehaviors`).
    fn stabilize(&mut self, recommended: u32, current: u32, now: usize) -> u32 {
        while self.recommendations.pop_front_if(|(at, _)| *at + self.scale_down_stabilization <= now).is_some() {}
        let greatest = self.recommendations.iter().map(|(_, count)| *count).fold(recommended, u32::max);
        self.recommendations.push_back((now, recommended));
        current.clamp(recommended, greatest)
    }

    /// At most twice as many, or four more, in 15 s (`convertDesiredReplicasWithBehaviorRate`). Shrinking by 100 % in 15 s
    /// is no limit.
    fn limit(&mut self, wanted: u32, current: u32, now: usize) -> u32 {
        while self.added.pop_front_if(|(at, _)| *at + 15 <= now).is_some() {}
        if wanted <= current {
            return wanted;
        }
        let began_with = current.saturating_sub(self.added.iter().map(|(_, count)| *count).sum());
        let most = (began_with + 4).max(began_with.saturating_mul(2)).max(current);
        let limited = wanted.min(most);
        self.added.push_back((now, limited - current));
        limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(measured: u32, unready: u32, usage: f64) -> Pods {
        Pods { current: measured + unready, measured, unready, usage }
    }

    #[test]
    fn the_documented_examples() {
        // Current 200m and desired 100m double the replicas, current 50m halves them.
        let hpa = Hpa::new(0.1);
        assert_eq!(hpa.replicas(pods(4, 0, 0.2)), 8);
        assert_eq!(hpa.replicas(pods(4, 0, 0.05)), 2);
        // Within the tolerance of 0.1 nothing is done.
        assert_eq!(hpa.replicas(pods(10, 0, 0.1099)), 10);
        assert_eq!(hpa.replicas(pods(10, 0, 0.0901)), 10);
        assert_eq!(hpa.replicas(pods(10, 0, 0.1101)), 12);
    }

    #[test]
    fn pods_that_are_not_ready_count_as_idle_when_growing() {
        // 3 pods at twice the target need 6; with 3 more on their way, all is well.
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 3, 1.0)), 6);
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 1, 1.0)), 6);
        // They turn no growth into shrinking.
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 9, 1.0)), 12);
    }

    #[test]
    fn it_shrinks_to_the_greatest_recommendation_of_five_minutes() {
        let mut hpa = Hpa::new(0.5);
        assert_eq!(hpa.stabilize(10, 10, 0), 10);
        assert_eq!(hpa.stabilize(4, 10, 15), 10);
        assert_eq!(hpa.stabilize(4, 10, 299), 10);
        assert_eq!(hpa.stabilize(4, 10, 300), 4);
    }

    #[test]
    fn it_grows_at_most_to_twice_as_many_or_by_four_in_a_period() {
        let mut hpa = Hpa::new(0.5);
        assert_eq!(hpa.limit(100, 1, 0), 5);
        assert_eq!(hpa.limit(100, 5, 14), 5);
        assert_eq!(hpa.limit(100, 5, 15), 10);
        assert_eq!(hpa.limit(3, 10, 30), 3);
    }
}
