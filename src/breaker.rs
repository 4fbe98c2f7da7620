//! A circuit breaker: what is down is not asked by everyone, one after the other, until each has waited in vain.
//!
//! Closed, everything passes. After [`OPENS_AFTER`] failures in a row it opens, and everything is refused at once. After
//! [`COOLS_FOR`] it is half open: one caller at a time probes; a success closes it, a failure opens it again. What a
//! failure is, the caller says; a caller that goes away says nothing.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sync::MutexExt;
use serde::Serialize;

/// How many failures in a row open it.
pub const OPENS_AFTER: u32 = 3;
/// How long it is open before it is probed.
pub const COOLS_FOR: Duration = Duration::from_millis(250);

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Everything passes.
    Closed,
    /// Everything is refused.
    Open,
    /// One caller at a time finds out whether it is up again.
    HalfOpen,
}

/// A breaker in front of one endpoint.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
    /// Whether the last that is known is a failure: as long as there is none, nobody takes the lock, which all callers share.
    troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    opened_at: Option<Instant>,
    probing: bool,
}

/// Leave to ask the endpoint; says how it went with [`Self::finish`].
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    /// Leave to ask at `now`, or none.
    pub fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        if !self.troubled.load(Ordering::Acquire) {
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

    /// Where it stands at `now`.
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
            Some(opened_at) if now.saturating_duration_since(opened_at) < COOLS_FOR => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }
}

impl Permit<'_> {
    /// Whether it was given to find out if the endpoint is back.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Says at `now` whether the endpoint was there.
    pub fn finish(self, up: bool, now: Instant) {
        if up && !self.breaker.troubled.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.breaker.state();
        self.breaker.troubled.store(!up, Ordering::Release);
        if up {
            state.failures = 0;
            state.opened_at = None;
        } else {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= OPENS_AFTER {
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
        breaker.permit(now).expect("leave").finish(false, now);
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..OPENS_AFTER {
            fail(&breaker, now);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..OPENS_AFTER {
                fail(&breaker, now);
            }
            breaker.permit(now).expect("leave").finish(true, now);
        }
        assert_eq!(breaker.circuit(now), Circuit::Closed);
        assert_eq!(opened(now).circuit(now), Circuit::Open);
        assert!(opened(now).permit(now).is_none());
    }

    #[test]
    fn half_open_it_lets_one_probe_through_at_a_time() {
        let now = Instant::now();
        let (breaker, later) = (opened(now), now + COOLS_FOR);
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
        let probe = breaker.permit(later).expect("leave");
        assert!(breaker.permit(later).is_none());
        drop(probe);
        breaker.permit(later).expect("leave after a probe that went away").finish(false, later);
        assert_eq!(breaker.circuit(later), Circuit::Open);
        let again = later + COOLS_FOR;
        breaker.permit(again).expect("leave").finish(true, again);
        assert_eq!(breaker.circuit(again), Circuit::Closed);
    }
}
