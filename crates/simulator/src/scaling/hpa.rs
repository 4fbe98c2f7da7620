//! A model of the Kubernetes Horizontal Pod Autoscaler, after its documentation and `horizontal.go`/`replica_calculator.go`: a
//! resource metric with a target utilization, and the default behaviours.
//!
//! One deviation favours it: its metric is the offered load, not processor use, so it does not saturate at 100 %.

use std::collections::VecDeque;

use super::View;

/// The interval of decisions (`--horizontal-pod-autoscaler-sync-period`).
pub(super) const SYNC_SECONDS: usize = 15;
/// The window of metrics-server. A pod counts as unready until its metrics cover a whole window
/// (`--horizontal-pod-autoscaler-cpu-initialization-period` is far longer than any window).
const WINDOW_SECONDS: usize = 15;

/// The autoscaler with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Hpa {
    /// The target utilization.
    pub target: f64,
    /// The relative deviation from the target that is tolerated.
    pub tolerance: f64,
    /// The stabilization window for scaling in, in seconds.
    pub scale_down_stabilization: usize,
    recommendations: VecDeque<(usize, u32)>,
    /// The pods added in the last 15 s, by second.
    added: VecDeque<(usize, u32)>,
}

/// The state of the pods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pods {
    /// Pods in the specification, including starting ones.
    pub current: u32,
    /// Pods with metrics.
    pub measured: u32,
    /// Pods that are not ready, or whose metrics are not used yet.
    pub unready: u32,
    /// The mean utilization of the pods with metrics.
    pub usage: f64,
}

impl Hpa {
    /// Returns the defaults: a tolerance of 10 % and a stabilization window of 300 s.
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
        // Pods have metrics once they were ready for a whole window.
        let window = view.ready.get(view.until.saturating_sub(WINDOW_SECONDS)..view.until).unwrap_or_default();
        let measured = window.iter().min().copied().unwrap_or(view.fleet.ready()).min(view.fleet.ready());
        if measured == 0 {
            return current;
        }
        // The load was shared by the pods that were ready.
        let sharing = window.iter().map(|ready| f64::from(*ready)).sum::<f64>() / window.len().max(1) as f64;
        let usage = view.offered(WINDOW_SECONDS) / if sharing > 0.0 { sharing } else { f64::from(measured) };
        let pods = Pods { current, measured, unready: current - measured, usage };
        let recommended = view.settings.bounds.clamp(self.replicas(pods));
        let stabilized = self.stabilize(recommended, current, view.now);
        self.limit(stabilized, current, view.now)
    }

    /// Returns the number of pods by the metric (`GetResourceReplicas`).
    pub(super) fn replicas(&self, pods: Pods) -> u32 {
        let ratio = pods.usage / self.target;
        let small = |ratio: f64| (1.0 - ratio).abs() <= self.tolerance;
        if pods.unready == 0 || ratio <= 1.0 {
            return if small(ratio) { pods.current } else { (ratio * f64::from(pods.measured)).ceil() as u32 };
        }
        // When scaling out, pods that are not ready count as idle.
        let all = f64::from(pods.measured.saturating_add(pods.unready));
        let diluted = ratio * f64::from(pods.measured) / all;
        if small(diluted) || diluted < 1.0 {
            return pods.current;
        }
        ((diluted * all).ceil() as u32).max(pods.current)
    }

    /// Returns the maximum recommendation of the window when scaling in (`stabilizeRecommendationWithBehaviors`).
    fn stabilize(&mut self, recommended: u32, current: u32, now: usize) -> u32 {
        while self.recommendations.pop_front_if(|(at, _)| *at + self.scale_down_stabilization <= now).is_some() {}
        let max = self.recommendations.iter().map(|(_, count)| *count).fold(recommended, u32::max);
        self.recommendations.push_back((now, recommended));
        current.clamp(recommended, max)
    }

    /// Limits scaling out to twice as many pods or four more in 15 s (`convertDesiredReplicasWithBehaviorRate`). The default limit
    /// of scaling in, 100 % in 15 s, has no effect.
    fn limit(&mut self, wanted: u32, current: u32, now: usize) -> u32 {
        while self.added.pop_front_if(|(at, _)| *at + 15 <= now).is_some() {}
        if wanted <= current {
            return wanted;
        }
        let initial = current.saturating_sub(self.added.iter().map(|(_, count)| *count).sum());
        let max = (initial + 4).max(initial.saturating_mul(2)).max(current);
        let limited = wanted.min(max);
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
        // Within the tolerance of 0.1 nothing changes.
        assert_eq!(hpa.replicas(pods(10, 0, 0.1099)), 10);
        assert_eq!(hpa.replicas(pods(10, 0, 0.0901)), 10);
        assert_eq!(hpa.replicas(pods(10, 0, 0.1101)), 12);
    }

    #[test]
    fn pods_that_are_not_ready_count_as_idle_when_scaling_out() {
        // 3 pods at twice the target need 6; with 3 more starting, no more are needed.
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 3, 1.0)), 6);
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 1, 1.0)), 6);
        // They do not turn scaling out into scaling in.
        assert_eq!(Hpa::new(0.5).replicas(pods(3, 9, 1.0)), 12);
    }

    #[test]
    fn scaling_in_uses_the_maximum_recommendation_of_five_minutes() {
        let mut hpa = Hpa::new(0.5);
        assert_eq!(hpa.stabilize(10, 10, 0), 10);
        assert_eq!(hpa.stabilize(4, 10, 15), 10);
        assert_eq!(hpa.stabilize(4, 10, 299), 10);
        assert_eq!(hpa.stabilize(4, 10, 300), 4);
    }

    #[test]
    fn scaling_out_is_limited_to_twice_as_many_or_four_more_in_a_period() {
        let mut hpa = Hpa::new(0.5);
        assert_eq!(hpa.limit(100, 1, 0), 5);
        assert_eq!(hpa.limit(100, 5, 14), 5);
        assert_eq!(hpa.limit(100, 5, 15), 10);
        assert_eq!(hpa.limit(3, 10, 30), 3);
    }
}
