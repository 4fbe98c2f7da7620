//! A model of Knative's Pod Autoscaler, after its documentation and `pkg/autoscaler/scaling/autoscaler.go`: concurrency over a
//! stable and a panic window, defaults, without scale to zero and target burst capacity.

use super::View;

/// The interval of decisions.
pub(super) const TICK_SECONDS: usize = 2;

/// The autoscaler with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Kpa {
    /// The target utilization.
    pub target: f64,
    /// The stable window, in seconds; the panic window is a tenth of it.
    pub stable_window: usize,
    /// The multiple of the ready pods that must be needed to panic.
    pub panic_threshold: f64,
    /// The maximum factor of scaling out in one decision.
    pub max_scale_up_rate: f64,
    /// The maximum factor of scaling in in one decision.
    pub max_scale_down_rate: f64,
    panicking: Option<Panic>,
    started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Panic {
    since: usize,
    max_pods: u32,
}

impl Kpa {
    /// Returns the defaults.
    pub fn new(target: f64) -> Self {
        Self {
            target,
            stable_window: 60,
            panic_threshold: 2.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            panicking: None,
            started: false,
        }
    }

    pub(super) fn decide(&mut self, view: &View<'_>) -> u32 {
        let (stable, panic) = (view.offered(self.stable_window), view.offered((self.stable_window / 10).max(1)));
        self.scale(stable, panic, view.fleet.ready(), view.now)
    }

    /// Returns the wanted number of pods (`Scale`). The load on all pods is in pods at full use.
    pub(super) fn scale(&mut self, stable: f64, panic: f64, ready: u32, now: usize) -> u32 {
        if !self.started {
            self.started = true;
            // A start with more than one pod begins in panic mode, as there is no history to scale in by.
            self.panicking = (ready > 1).then_some(Panic { since: now, max_pods: ready });
        }
        let pods = f64::from(ready.max(1));
        let (min, max) = ((pods / self.max_scale_down_rate).floor(), (pods * self.max_scale_up_rate).ceil());
        let panic_pods = (panic / self.target).ceil();
        let wanted_stable = (stable / self.target).ceil().max(min).min(max) as u32;
        let wanted_panic = panic_pods.max(min).min(max) as u32;
        if panic_pods / pods >= self.panic_threshold {
            let max_pods = self.panicking.map_or(0, |panic| panic.max_pods);
            self.panicking = Some(Panic { since: now, max_pods });
        } else if self.panicking.is_some_and(|panic| panic.since + self.stable_window < now) {
            self.panicking = None;
        }
        let Some(panicking) = &mut self.panicking else { return wanted_stable };
        // There is no scaling in while panicking.
        panicking.max_pods = panicking.max_pods.max(wanted_stable).max(wanted_panic);
        panicking.max_pods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_out_follows_the_stable_window() {
        // Knative's own example: a concurrency of 3 with a target of 1 and 2 ready pods needs 3.
        let mut kpa = Kpa { max_scale_up_rate: 1.1, ..Kpa::new(1.0) };
        assert_eq!(kpa.scale(3.0, 3.0, 2, 0), 3);
    }

    #[test]
    fn scaling_in_is_limited_to_half() {
        let mut kpa = Kpa::new(1.0);
        kpa.scale(1.0, 1.0, 1, 0);
        assert_eq!(kpa.scale(1.0, 1.0, 10, 2), 5);
    }

    #[test]
    fn twice_the_pods_needed_is_panic_without_scaling_in() {
        let mut kpa = Kpa::new(1.0);
        assert_eq!(kpa.scale(1.0, 1.0, 1, 0), 1);
        assert_eq!(kpa.scale(3.0, 8.0, 4, 10), 8);
        assert_eq!(kpa.scale(2.0, 2.0, 8, 70), 8);
        assert_eq!(kpa.scale(2.0, 2.0, 8, 71), 4);
    }

    #[test]
    fn less_than_twice_the_pods_needed_is_no_panic() {
        let mut kpa = Kpa::new(1.0);
        kpa.scale(1.0, 1.0, 1, 0);
        assert_eq!(kpa.scale(3.0, 7.0, 4, 10), 3);
    }

    #[test]
    fn a_start_with_several_pods_begins_in_panic() {
        let mut kpa = Kpa::new(1.0);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 0), 6);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 60), 6);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 62), 3);
    }
}
