//! A node that may be picked, with what picks read at hand.

use std::sync::Arc;

use super::{Node, measured::Measured};

/// A node that may be picked.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) measured: Arc<Measured>,
    pub(super) node: Arc<Node>,
    pub(super) weight: f32,
}

impl Candidate {
    pub(super) fn new(node: &Arc<Node>) -> Self {
        Self { measured: Arc::clone(node.measured()), node: Arc::clone(node), weight: node.weight() as f32 }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.measured.in_flight()
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.node.limit()
    }
}
