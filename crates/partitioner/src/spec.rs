//! The input of a partitioner: strategy, nodes, split points and pins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The largest weight of a node: 100,000 virtual nodes.
pub const MAX_WEIGHT: u32 = 1000;

/// How keys are mapped to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "snake_case", parse_err_ty = UnknownStrategy, parse_err_fn = UnknownStrategy::new)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub enum Strategy {
    /// MD5 of the key modulo the number of nodes. Even, but nearly every key moves when the number of nodes changes.
    Hash,
    /// Contiguous ranges of keys, by split points; without any, equal ranges of the numbers below a million.
    Range,
    /// Explicit pins; keys without a pin are placed by the ring.
    Directory,
    /// A weighted ring of MD5 positions. Few keys move when nodes change.
    ConsistentHash,
}

impl Strategy {
    /// All strategies.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
    /// The names of all strategies, in snake case.
    pub const NAMES: &[&str] = <Self as strum::VariantNames>::VARIANTS;

    /// Returns the name, in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn has_ring(self) -> bool {
        matches!(self, Self::Directory | Self::ConsistentHash)
    }
}

/// The text is not the name of a strategy.
#[derive(Debug, thiserror::Error)]
#[error("unknown strategy; use {}", Strategy::NAMES.join(", "))]
pub struct UnknownStrategy;

impl UnknownStrategy {
    fn new(_: &str) -> Self {
        Self
    }
}

/// A node that keys are placed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's id, unique and not empty.
    pub id: String,
    /// The node's share of the ring relative to the others, 1 to [`MAX_WEIGHT`]; 1 for strategies without a ring.
    pub weight: u32,
}

impl Node {
    /// Makes a node of weight 1.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), weight: 1 }
    }
}

/// The input of a [`Partitioner`](crate::Partitioner).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionerSpec {
    /// The strategy.
    pub strategy: Strategy,
    /// The nodes. Their order matters for `hash` and `range`.
    pub nodes: Vec<Node>,
    /// For `range`: ascending keys, one fewer than nodes. Node i owns the keys from split i-1 up to, but without, split i.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<String>,
    /// For `directory`: node ids by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, String>,
}

/// A spec is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The list of nodes is empty.
    #[error("at least one node is needed")]
    NoNodes,
    /// A node id is empty.
    #[error("a node id is empty")]
    EmptyNodeId,
    /// Two nodes have the same id.
    #[error("node {0:?} is named twice")]
    DuplicateNode(String),
    /// A weight is outside 1 to [`MAX_WEIGHT`].
    #[error("node {node:?} has weight {weight}; weights go from 1 to {MAX_WEIGHT}")]
    Weight {
        /// The id of the node.
        node: String,
        /// The weight of the node.
        weight: u32,
    },
    /// A weight is set, but the strategy has no ring.
    #[error(
        "node {node:?} has a weight, but strategy {strategy} has none; weights belong to consistent_hash and directory"
    )]
    WeightWithoutRing {
        /// The id of the node.
        node: String,
        /// The strategy.
        strategy: Strategy,
    },
    /// Split points are set, but the strategy is not `range`.
    #[error("split points belong to strategy range, not {0}")]
    SplitsWithoutRange(Strategy),
    /// The number of split points is not the number of nodes minus one.
    #[error("{nodes} nodes need {} split points, not {splits}", nodes - 1)]
    SplitCount {
        /// The number of nodes.
        nodes: usize,
        /// The number of split points.
        splits: usize,
    },
    /// A split point is not greater than the one before it.
    #[error("split points must ascend strictly, but {0:?} does not come after the one before it")]
    SplitOrder(String),
    /// Pins are set, but the strategy is not `directory`.
    #[error("pins belong to strategy directory, not {0}")]
    PinsWithoutDirectory(Strategy),
    /// A pin or a lookup names a node that is not in the list.
    #[error("{0:?} is not one of the nodes")]
    UnknownNode(String),
}

impl PartitionerSpec {
    /// Makes a spec of nodes of weight 1, without split points or pins.
    pub fn new<I: Into<String>>(strategy: Strategy, nodes: impl IntoIterator<Item = I>) -> Self {
        Self { strategy, nodes: nodes.into_iter().map(Node::new).collect(), splits: Vec::new(), pins: BTreeMap::new() }
    }

    /// Returns the index of node `id` in [`Self::nodes`].
    ///
    /// # Errors
    /// [`SpecError::UnknownNode`] if no node has that id.
    pub fn node_index(&self, id: &str) -> Result<usize, SpecError> {
        self.nodes.iter().position(|node| node.id == id).ok_or_else(|| SpecError::UnknownNode(id.to_owned()))
    }

    /// Checks that the spec is valid and spreads keys that are not numbers. `range` needs split points for that: its numeric
    /// default would place nearly all such keys on one node.
    ///
    /// # Errors
    /// [`SpecError`] if the spec is not valid, or is `range` without split points.
    pub fn validate_for_text_keys(&self) -> Result<(), SpecError> {
        if self.strategy == Strategy::Range && self.splits.is_empty() {
            return Err(SpecError::SplitCount { nodes: self.nodes.len(), splits: 0 });
        }
        self.validate()
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        self.validate_nodes()?;
        self.validate_splits()?;
        if !self.pins.is_empty() && self.strategy != Strategy::Directory {
            return Err(SpecError::PinsWithoutDirectory(self.strategy));
        }
        self.pins.values().try_for_each(|node| self.node_index(node).map(drop))
    }

    fn validate_nodes(&self) -> Result<(), SpecError> {
        if self.nodes.is_empty() {
            return Err(SpecError::NoNodes);
        }
        let mut seen = std::collections::HashSet::new();
        for Node { id, weight } in &self.nodes {
            if id.is_empty() {
                return Err(SpecError::EmptyNodeId);
            }
            if !seen.insert(id) {
                return Err(SpecError::DuplicateNode(id.clone()));
            }
            if !(1..=MAX_WEIGHT).contains(weight) {
                return Err(SpecError::Weight { node: id.clone(), weight: *weight });
            }
            if *weight != 1 && !self.strategy.has_ring() {
                return Err(SpecError::WeightWithoutRing { node: id.clone(), strategy: self.strategy });
            }
        }
        Ok(())
    }

    fn validate_splits(&self) -> Result<(), SpecError> {
        if self.splits.is_empty() {
            return Ok(());
        }
        if self.strategy != Strategy::Range {
            return Err(SpecError::SplitsWithoutRange(self.strategy));
        }
        if self.splits.len() + 1 != self.nodes.len() {
            return Err(SpecError::SplitCount { nodes: self.nodes.len(), splits: self.splits.len() });
        }
        match self.splits.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(SpecError::SplitOrder(pair[1].clone())),
            None => Ok(()),
        }
    }
}
