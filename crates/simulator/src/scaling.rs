//! Autoscaling policies on a trace of requests, in virtual time with steps of a second. The same seed gives the same run, and all
//! contenders get the same requests.
//!
//! The model:
//! - An instance is ready after the start-up delay, and serves up to its capacity in each second.
//! - Requests beyond the capacity of the ready instances are rejected in that second, which is a violation.
//! - Removed instances end at once, starting ones first.
//! - A policy sees the offered requests, including rejected ones, after the metric lag, averaged as its algorithm requires.
//! - The used share of connections equals the used share of the capacity (Little's law).

mod arrivals;
pub mod chart;
mod contender;
mod fleet;
mod frontier;
mod hpa;
mod kpa;
mod minimum;
mod report;
mod trace;

use std::time::Duration;

pub use arrivals::Arrivals;
pub use contender::{Contender, ContenderName, DECIDE_EVERY, UnknownContender};
use fleet::Fleet;
pub use frontier::{Comparison, compare};
pub use hpa::Hpa;
pub use kpa::Kpa;
pub use report::Report;
use report::Tally;
use symbolon_scaler::Bounds;
pub use trace::{Trace, TraceError};

/// Parameters of a simulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The maximum number of requests that an instance serves in a second; more than 0.
    pub capacity: f64,
    /// The time from the start of an instance until it is ready, in whole seconds.
    pub startup_delay: Duration,
    /// The age of measurements, in whole seconds.
    pub metric_lag: Duration,
    /// Bounds of the number of instances.
    pub bounds: Bounds,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The totals.
    pub report: Report,
    /// The number of instances in each second, including starting ones.
    pub counts: Vec<u32>,
}

/// The information that a contender may use.
struct View<'a> {
    /// The current second.
    pub now: usize,
    /// The first second without measurements so far.
    pub until: usize,
    /// The requests.
    pub arrivals: &'a Arrivals,
    /// The number of ready instances in each second so far.
    pub ready: &'a [u32],
    /// The current instances.
    pub fleet: &'a Fleet,
    /// The parameters.
    pub settings: &'a Settings,
}

impl View<'_> {
    /// Returns the mean of the offered requests over the last measured `seconds`, in instances at full use. At the beginning of a
    /// run the mean covers fewer seconds, at least the first one.
    pub fn offered(&self, seconds: usize) -> f64 {
        let until = self.until.max(1);
        self.arrivals.mean(until.saturating_sub(seconds.max(1)), until) / self.settings.capacity
    }
}

/// Runs a contender. It starts with as many instances as the first minute needs at its target.
pub fn run(mut contender: Contender, arrivals: &Arrivals, settings: &Settings) -> Run {
    let seconds = arrivals.seconds();
    let first = arrivals.mean(0, seconds.min(60)) / settings.capacity / contender.target();
    let mut fleet = Fleet::new(settings.bounds.clamp(first.ceil() as u32));
    let delay = settings.startup_delay.as_secs() as usize;
    let lag = settings.metric_lag.as_secs() as usize;
    let mut tally = Tally::default();
    let (mut counts, mut ready) = (Vec::with_capacity(seconds), Vec::with_capacity(seconds));
    for now in 0..seconds {
        fleet.advance(now);
        if now.is_multiple_of(contender.interval()) {
            let until = now.saturating_sub(lag);
            let view = View { now, until, arrivals, ready: &ready, fleet: &fleet, settings };
            let wanted = settings.bounds.clamp(contender.decide(&view));
            tally.record_change(now, fleet.count(), wanted);
            fleet.set(wanted, now, delay);
        }
        // Without a start-up delay, instances started now are ready now.
        fleet.advance(now);
        tally.record_second(arrivals.at(now), fleet.ready(), fleet.count(), settings.capacity);
        ready.push(fleet.ready());
        counts.push(fleet.count());
    }
    let report = tally.report(&contender, arrivals, settings);
    Run { report, counts }
}

#[cfg(test)]
mod tests;
