//! Circuit breaker: requests to an endpoint that is down fail at once instead of each waiting for a timeout.
//!
//! A closed breaker lets every request pass. After [`FAILURE_THRESHOLD`] failures in a row it opens and refuses every
//! request. After [`OPEN_DURATION`] it is half open and lets one probe pass at a time: a success closes it, a failure opens
//! it again. The caller decides what counts as a failure. A caller that is cancelled reports neither.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sync::MutexExt;
use serde::Serialize;

/// Failures in a row that open a breaker.
pub const FAILURE_THRESHOLD: u32 = 3;
/// Time that a breaker stays open before it lets a probe pass.
pub const OPEN_DURATION: Duration = Duration::from_millis(250);

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request at a time passes, to find out whether the endpoint is available again.
    HalfOpen,
}

/// Circuit breaker in front of one endpoint.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
    /// Whether the last outcome was a failure. While it was not, no caller takes the lock.
    is_failing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    opened_at: Option<Instant>,
    probing: bool,
}

/// Permission to send one request. The holder reports the outcome with [`Self::finish`].
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    /// Returns a permit for a request at `now`, or `None` if the breaker refuses it.
    pub fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        if !self.is_failing.load(Ordering::Acquire) {
            return Some(Permit { breaker: self, probe: false });
        }
        let mut state = self.state();
        let probe = match state.circuit(now) {
            Circuit::Closed => false,
            Circuit::HalfOpen if !state.probing => {
                state.probing = true;
                true
            }
            Circuit::Open | Circuit::HalfOpen => return None,
        };
        drop(state);
        Some(Permit { breaker: self, probe })
    }

    /// Returns the state at `now`.
    pub fn circuit(&self, now: Instant) -> Circuit {
        self.state().circuit(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }
}

impl State {
    fn circuit(&self, now: Instant) -> Circuit {
        match self.opened_at {
            None => Circuit::Closed,
            Some(opened_at) if now.saturating_duration_since(opened_at) < OPEN_DURATION => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }
}

impl Permit<'_> {
    /// Whether this request probes an endpoint that was down.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Reports at `now` whether the endpoint was available.
    pub fn finish(self, is_available: bool, now: Instant) {
        if is_available && !self.breaker.is_failing.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.breaker.state();
        self.breaker.is_failing.store(!is_available, Ordering::Release);
        if is_available {
            state.failures = 0;
            state.opened_at = None;
        } else {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURE_THRESHOLD {
                state.opened_at = Some(now);
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.permit(now).expect("a permit").finish(false, now);
    }

    fn open_breaker(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURE_THRESHOLD {
            fail(&breaker, now);
        }
        breaker
    }

    #[test]
    fn only_consecutive_failures_open_the_breaker() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..FAILURE_THRESHOLD {
                fail(&breaker, now);
            }
            breaker.permit(now).expect("a permit").finish(true, now);
        }
        assert_eq!(breaker.circuit(now), Circuit::Closed);
        assert_eq!(open_breaker(now).circuit(now), Circuit::Open);
        assert!(open_breaker(now).permit(now).is_none());
    }

    #[test]
    fn a_half_open_breaker_lets_one_probe_pass_at_a_time() {
        let now = Instant::now();
        let (breaker, later) = (open_breaker(now), now + OPEN_DURATION);
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
        let probe = breaker.permit(later).expect("a permit");
        assert!(breaker.permit(later).is_none());
        drop(probe);
        breaker.permit(later).expect("a permit after a cancelled probe").finish(false, later);
        assert_eq!(breaker.circuit(later), Circuit::Open);
        let again = later + OPEN_DURATION;
        breaker.permit(again).expect("a permit").finish(true, again);
        assert_eq!(breaker.circuit(again), Circuit::Closed);
    }
}
