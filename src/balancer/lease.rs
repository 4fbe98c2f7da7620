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
    /// The node answered that it can't serve the request now: it is neither slow nor broken, and no better than others.
    Refused,
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
    ended: Option<Instant>,
    /// Since when the place is given back, as the client is waited for.
    paused: Option<Instant>,
}

impl Lease {
    pub(super) fn new(node: Arc<Node>, begun: Instant) -> Self {
        Self { node, begun, outcome: Outcome::Cancelled, ended: None, paused: None }
    }

    /// The node that the request is on.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Notes how the request ended, for when the lease is dropped.
    pub fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Gives the place back until [`Self::resume`]: what the client takes to receive a response is no load of the node.
    pub fn pause(&mut self, now: Instant) {
        if self.paused.is_none() {
            self.paused = Some(now);
            self.node.measured().leave();
        }
    }

    /// Takes a place again, whatever the limit.
    pub fn resume(&mut self, now: Instant) {
        if let Some(paused) = self.paused.take() {
            self.node.measured().begin();
            self.begun += now.saturating_duration_since(paused);
        }
    }

    /// Ends the request as of `now`.
    pub fn end(mut self, outcome: Outcome, now: Instant) {
        (self.outcome, self.ended) = (outcome, Some(now));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(Instant::now);
        self.resume(now);
        self.node.end(now.saturating_duration_since(self.begun), self.outcome, now);
    }
}
