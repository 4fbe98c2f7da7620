//! A request under way on a node.

use std::{sync::Arc, time::Instant};

use super::Node;

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The node answered, possibly that the request was wrong.
    Success,
    /// The node failed. Failures in a row eject it.
    Failure,
    /// The node answered that it is overloaded. That does not eject it, and its latency counts as a failure's.
    Refused,
    /// The response was not sent to its end.
    Cancelled,
}

/// One request on a node, in flight until the lease is dropped. Its outcome is [`Outcome::Cancelled`] unless set.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once measures nothing"]
pub struct Lease {
    node: Arc<Node>,
    started_at: Instant,
    outcome: Outcome,
    ended: Option<Instant>,
    /// When the request was paused, if it is.
    paused_at: Option<Instant>,
}

impl Lease {
    pub(super) fn new(node: Arc<Node>, started_at: Instant) -> Self {
        Self { node, started_at, outcome: Outcome::Cancelled, ended: None, paused_at: None }
    }

    /// Returns the node that the request is on.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Sets the outcome that is recorded when the lease is dropped.
    pub fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Stops counting the request as in flight until [`Self::resume`], for the time that a client takes to receive a response.
    /// That time is not part of the node's latency.
    pub fn pause(&mut self, now: Instant) {
        if self.paused_at.is_none() {
            self.paused_at = Some(now);
            self.node.measured().release();
        }
    }

    /// Counts the request as in flight again, regardless of the limit.
    pub fn resume(&mut self, now: Instant) {
        if let Some(paused_at) = self.paused_at.take() {
            self.node.measured().acquire();
            self.started_at += now.saturating_duration_since(paused_at);
        }
    }

    /// Ends the request at `now`.
    pub fn end(mut self, outcome: Outcome, now: Instant) {
        (self.outcome, self.ended) = (outcome, Some(now));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(Instant::now);
        self.resume(now);
        self.node.end(now.saturating_duration_since(self.started_at), self.outcome, now);
    }
}
