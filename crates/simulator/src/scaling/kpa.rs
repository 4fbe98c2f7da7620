//! Knative's Pod Autoscaler as its documentation and `pkg/autoscaler/scaling/autoscaler.go` have it, for comparison:
//! concurrency over a stable and a panic window, defaults, without scale to zero and target burst capacity.

use super::View;

/// How often it looks.
pub(super) const TICK_SECONDS: usize = 2;

/// The autoscaler, with what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Kpa {
    /// Which part of an instance's capacity shall be used.
    pub target: f64,
    /// The stable window, in seconds; the panic window is a tenth of it.
    pub stable_window: usize,
    /// How many times the ready pods must be wanted for panic.
    pub panic_threshold: f64,
    /// How many times the ready pods there may be next.
    pub max_scale_up_rate: f64,
    /// To which part of the ready pods it may shrink.
    pub max_scale_down_rate: f64,
    panicking: Option<Panic>,
    started: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Panic {
    since: usize,
    most: u32,
}

impl Kpa {
    /// The defaults.
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

    /// How many pods there should be (`Scale`), by the load on all of them, in pods at full use.
    pub(super) fn scale(&mut self, stable: f64, panic: f64, ready: u32, now: usize) -> u32 {
        if !self.started {
            self.started = true;
            // One that starts with more than one pod panics, as it has no history to shrink by.
            self.panicking = (ready > 1).then_some(Panic { since: now, most: ready });
        }
        let pods = f64::from(ready.max(1));
        let (least, most) = ((pods / self.max_scale_down_rate).floor(), (pods * self.max_scale_up_rate).ceil());
        let panic_pods = (panic / self.target).ceil();
        let wanted_stable = (stable / self.target).ceil().max(least).min(most) as u32;
        let wanted_panic = panic_pods.max(least).min(most) as u32;
        if panic_pods / pods >= self.panic_threshold {
            let most = self.panicking.map_or(0, |panic| panic.most);
            self.panicking = Some(Panic { since: now, most });
        } else if self.panicking.is_some_and(|panic| panic.since + self.stable_window < now) {
            self.panicking = None;
        }
        let Some(panicking) = &mut self.panicking else { return wanted_stable };
        // No shrinking in panic.
        panicking.most = panicking.most.max(wanted_stable).max(wanted_panic);
        panicking.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_what_the_stable_window_needs() {
        // Its own example: a concurrency of 3 with a target of 1 and 2 ready pods needs 3.
        let mut kpa = Kpa { max_scale_up_rate: 1.1, ..Kpa::new(1.0) };
        assert_eq!(kpa.scale(3.0, 3.0, 2, 0), 3);
    }

    #[test]
    fn it_shrinks_by_half_at_most() {
        let mut kpa = Kpa::new(1.0);
        kpa.scale(1.0, 1.0, 1, 0);
        assert_eq!(kpa.scale(1.0, 1.0, 10, 2), 5);
    }

    #[test]
    fn it_panics_when_twice_as_many_are_wanted_and_then_does_not_shrink() {
        let mut kpa = Kpa::new(1.0);
        assert_eq!(kpa.scale(1.0, 1.0, 1, 0), 1);
        assert_eq!(kpa.scale(3.0, 8.0, 4, 10), 8);
        assert_eq!(kpa.scale(2.0, 2.0, 8, 70), 8);
        assert_eq!(kpa.scale(2.0, 2.0, 8, 71), 4);
    }

    #[test]
    fn below_twice_as_many_there_is_no_panic() {
        let mut kpa = Kpa::new(1.0);
        kpa.scale(1.0, 1.0, 1, 0);
        assert_eq!(kpa.scale(3.0, 7.0, 4, 10), 3);
    }

    #[test]
    fn it_starts_in_panic_as_it_knows_nothing() {
        let mut kpa = Kpa::new(1.0);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 0), 6);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 60), 6);
        assert_eq!(kpa.scale(1.0, 1.0, 6, 62), 3);
    }
}
