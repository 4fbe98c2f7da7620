//! What policies would do with a trace of requests, in virtual time, a second a step. Seeded: the same seed gives the same
//! run, and within a run all contenders meet the same requests.
//!
//! The model: an instance that is started takes requests after the start-up delay, up to its capacity in each second. What
//! is beyond the capacity of the ready instances is refused in that second, as the service does, and that second is a
//! violation. Fewer instances are fewer at once, those that still start first. Whoever decides sees what was offered
//! (refused requests included), as old as the metric lag, averaged as its own algorithm says. Where connections are
//! asked for, Little's law gives them: the part of its capacity that an instance uses is the part of its places taken.

mod arrivals;
pub mod chart;
mod contender;
mod fleet;
mod frontier;
mod hpa;
mod kpa;
mod least;
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

/// The world that policies are put into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How many requests an instance serves in a second, at most; more than 0.
    pub capacity: f64,
    /// How long an instance takes from its start until it takes requests, in whole seconds.
    pub startup_delay: Duration,
    /// How old what is seen is, in whole seconds.
    pub metric_lag: Duration,
    /// How many instances there may be.
    pub bounds: Bounds,
}

/// What happened, second by second.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The sums.
    pub report: Report,
    /// How many instances there were, those that start included.
    pub counts: Vec<u32>,
}

/// What a decider may look at.
struct View<'a> {
    /// Now, in seconds since the beginning.
    pub now: usize,
    /// The first second that is not seen yet.
    pub until: usize,
    /// What arrived.
    pub arrivals: &'a Arrivals,
    /// Instances in each second that takes requests, up to now.
    pub ready: &'a [u32],
    /// Instances now.
    pub fleet: &'a Fleet,
    /// The world.
    pub settings: &'a Settings,
}

impl View<'_> {
    /// The mean of what was offered in the last so many seconds that are seen, in instances at full use. At the beginning it
    /// is of fewer seconds; with none, of the first.
    pub fn offered(&self, seconds: usize) -> f64 {
        let until = self.until.max(1);
        self.arrivals.mean(until.saturating_sub(seconds.max(1)), until) / self.settings.capacity
    }
}

/// Has a contender meet the arrivals. It begins with as many instances as the first minute needs at its target.
pub fn run(mut contender: Contender, arrivals: &Arrivals, settings: &Settings) -> Run {
    let seconds = arrivals.seconds();
    let first = arrivals.mean(0, seconds.min(60)) / settings.capacity / contender.target();
    let mut fleet = Fleet::new(settings.bounds.clamp(first.ceil() as u32));
    let delay = settings.startup_delay.as_secs() as usize;
    let lag = settings.metric_lag.as_secs() as usize;
    let mut tally = Tally::default();
    let (mut counts, mut ready) = (Vec::with_capacity(seconds), Vec::with_capacity(seconds));
    for now in 0..seconds {
        fleet.pass(now);
        if now.is_multiple_of(contender.interval()) {
            let until = now.saturating_sub(lag);
            let view = View { now, until, arrivals, ready: &ready, fleet: &fleet, settings };
            let wanted = settings.bounds.clamp(contender.decide(&view));
            tally.changed(now, fleet.count(), wanted);
            fleet.set(wanted, now, delay);
        }
        // Without a delay, what was started now is there now.
        fleet.pass(now);
        tally.second(arrivals.at(now), fleet.ready(), fleet.count(), settings.capacity);
        ready.push(fleet.ready());
        counts.push(fleet.count());
    }
    let report = tally.report(&contender, arrivals, settings);
    Run { report, counts }
}

#[cfg(test)]
mod tests;
