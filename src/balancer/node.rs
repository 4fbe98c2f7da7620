//! One node and what is measured of it. All counters are atomic: leases never wait for each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Lease, Outcome};

/// The weight of the newest response in the running mean: 1/10, as the seed averages over ten.
const NEWEST: f64 = 0.1;

/// What is known of a node before any request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its id, unique among the nodes.
    pub id: String,
    /// Where it is reached.
    pub url: String,
    /// Its share of the traffic relative to others.
    pub weight: u32,
    /// The most requests that it takes at a time.
    pub max_connections: u32,
    /// The region it is in.
    pub region: String,
    /// The zone it is in.
    pub zone: String,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    in_flight: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    /// A running mean in seconds, as the bits of an `f64`; zero before the first response.
    mean_bits: AtomicU64,
}

/// What was measured of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeStats {
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, the ones that failed on the node's side or were broken off.
    pub errors: u64,
    /// A running mean of the time from a request's arrival to the end of its response.
    pub average_response_time: Duration,
}

impl Node {
    /// A node without requests.
    pub fn new(spec: NodeSpec) -> Arc<Self> {
        Arc::new(Self {
            spec,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            mean_bits: AtomicU64::new(0),
        })
    }

    /// What is known of it.
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Begins a request that arrived at `now`.
    pub fn lease(self: &Arc<Self>, now: Instant) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease::new(Arc::clone(self), now)
    }

    /// What was measured so far.
    pub fn stats(&self) -> NodeStats {
        NodeStats {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            average_response_time: Duration::from_secs_f64(f64::from_bits(self.mean_bits.load(Ordering::Relaxed))),
        }
    }

    pub(super) fn end(&self, took: Duration, outcome: Outcome) {
        let took = took.as_secs_f64();
        let first = self.requests.fetch_add(1, Ordering::Relaxed) == 0;
        if outcome != Outcome::Success {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        let next = |mean: f64| if first { took } else { mean + NEWEST * (took - mean) };
        // The closure always gives a value, so this can't fail.
        let _ = self
            .mean_bits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(next(f64::from_bits(bits)).to_bits()));
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
