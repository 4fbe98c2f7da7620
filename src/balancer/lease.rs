//! A request under way on a node.

use std::{sync::Arc, time::Instant};

use super::Node;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The node answered, be it that the request was wrong.
    Success,
    /// The node failed.
    Failure,
    /// The response did not reach its end.
    Cancelled,
}

/// Holds a request's place on its node until dropped. Unless told otherwise, it was cancelled.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once measures nothing"]
pub struct Lease {
    node: Arc<Node>,
    begun: Instant,
    outcome: Outcome,
}

impl Lease {
    pub(super) fn new(node: Arc<Node>, begun: Instant) -> Self {
        Self { node, begun, outcome: Outcome::Cancelled }
    }

    /// Notes how the request ended, for when the lease is dropped.
    pub fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.node.end(self.begun.elapsed(), self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::NodeSpec;

    fn node() -> Arc<Node> {
        Node::new(NodeSpec {
            id: "a".into(),
            url: "http://a".into(),
            weight: 1,
            max_connections: 10,
            region: "default".into(),
            zone: "default".into(),
        })
    }

    #[test]
    fn a_lease_counts_as_in_flight_until_it_is_dropped() {
        let node = node();
        let leases: Vec<Lease> = (0..3).map(|_| node.lease(Instant::now())).collect();
        assert_eq!(node.stats().in_flight, 3);
        drop(leases);
        assert_eq!((node.stats().in_flight, node.stats().requests), (0, 3));
    }

    #[test]
    fn only_a_finished_request_is_a_success() {
        let node = node();
        for outcome in [Some(Outcome::Success), Some(Outcome::Failure), None] {
            let mut lease = node.lease(Instant::now());
            if let Some(outcome) = outcome {
                lease.finish(outcome);
            }
        }
        assert_eq!((node.stats().requests, node.stats().errors), (3, 2));
    }

    #[test]
    fn a_lease_dropped_by_a_panic_is_returned() {
        let node = node();
        let held = Arc::clone(&node);
        let panicked = std::thread::spawn(move || {
            let _lease = held.lease(Instant::now());
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert_eq!((node.stats().in_flight, node.stats().errors), (0, 1));
    }

    #[test]
    fn the_mean_follows_the_responses() {
        let node = node();
        let ago = |millis| Instant::now().checked_sub(std::time::Duration::from_millis(millis)).expect("an instant");
        drop(node.lease(ago(1000)));
        assert!((node.stats().average_response_time.as_secs_f64() - 1.0).abs() < 0.2);
        for _ in 0..50 {
            drop(node.lease(ago(100)));
        }
        assert!((node.stats().average_response_time.as_secs_f64() - 0.1).abs() < 0.1);
    }
}
