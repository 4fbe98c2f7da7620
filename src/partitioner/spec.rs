//! What a partitioner is built from: the part of a topology that decides where keys live.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The largest weight of a node: 100,000 virtual nodes.
pub const MAX_WEIGHT: u32 = 1000;

/// The seed's four strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// md5(key) mod n: even, but moves nearly every key when n changes.
    Hash,
    /// Contiguous key ranges: by split points, or the seed's numeric default.
    Range,
    /// Explicit pins, and the ring for all other keys.
    Directory,
    /// The MD5 ring.
    ConsistentHash,
}

impl Strategy {
    /// Every strategy, for messages and help texts.
    pub const ALL: [Self; 4] = [Self::Hash, Self::Range, Self::Directory, Self::ConsistentHash];

    /// Its name in settings, API and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Range => "range",
            Self::Directory => "directory",
            Self::ConsistentHash => "consistent_hash",
        }
    }

    fn has_ring(self) -> bool {
        matches!(self, Self::Directory | Self::ConsistentHash)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A strategy that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown strategy; use hash, range, directory or consistent_hash")]
pub struct UnknownStrategy;

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == text).ok_or(UnknownStrategy)
    }
}

/// A shard as the partitioner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The shard's id (the seed's `node_id`).
    pub id: String,
    /// Its share of the ring relative to the others, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

impl Node {
    /// A node of weight 1.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), weight: 1 }
    }
}

/// Strategy, nodes, split points and pins; serialised as part of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionerSpec {
    /// How keys are placed.
    pub strategy: Strategy,
    /// The nodes; their order counts for `hash` and `range`.
    pub nodes: Vec<Node>,
    /// `range`: ascending keys, one fewer than nodes; node i holds the keys from split i-1 up to before split i.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<String>,
    /// `directory`: key → node id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, String>,
}

/// A spec that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is nothing to place keys on.
    #[error("at least one node is needed")]
    NoNodes,
    /// A node without a name.
    #[error("a node id is empty")]
    EmptyNodeId,
    /// The same node twice.
    #[error("node {0:?} is named twice")]
    DuplicateNode(String),
    /// A weight outside 1 to [`MAX_WEIGHT`].
    #[error("node {node:?} has weight {weight}; weights go from 1 to {MAX_WEIGHT}")]
    Weight {
        /// The node.
        node: String,
        /// Its weight.
        weight: u32,
    },
    /// Weights where the strategy knows none.
    #[error(
        "node {node:?} has a weight, but strategy {strategy} has none; weights belong to consistent_hash and directory"
    )]
    WeightWithoutRing {
        /// The node.
        node: String,
        /// The strategy.
        strategy: Strategy,
    },
    /// Split points without `range`.
    #[error("split points belong to strategy range, not {0}")]
    SplitsWithoutRange(Strategy),
    /// Too few or too many split points.
    #[error("{nodes} nodes need {} split points, not {splits}", nodes - 1)]
    SplitCount {
        /// How many nodes there are.
        nodes: usize,
        /// How many split points there are.
        splits: usize,
    },
    /// Split points out of order.
    #[error("split points must ascend strictly, but {0:?} does not come after the one before it")]
    SplitOrder(String),
    /// Pins without `directory`.
    #[error("pins belong to strategy directory, not {0}")]
    PinsWithoutDirectory(Strategy),
    /// A pin or lookup names a node that is not there.
    #[error("{0:?} is not one of the nodes")]
    UnknownNode(String),
}

impl PartitionerSpec {
    /// A spec of equal nodes without splits or pins.
    pub fn new<I: Into<String>>(strategy: Strategy, nodes: impl IntoIterator<Item = I>) -> Self {
        Self { strategy, nodes: nodes.into_iter().map(Node::new).collect(), splits: Vec::new(), pins: BTreeMap::new() }
    }

    /// The place of node `id` in the node list.
    ///
    /// # Errors
    /// [`SpecError::UnknownNode`] if there is none of that id.
    pub fn node_index(&self, id: &str) -> Result<usize, SpecError> {
        self.nodes.iter().position(|node| node.id == id).ok_or_else(|| SpecError::UnknownNode(id.to_owned()))
    }

    /// Whether users can be served by it. For `range` that takes split points: the numeric default would put every user
    /// on one shard.
    ///
    /// # Errors
    /// [`SpecError`] names what contradicts itself.
    pub fn check_servable(&self) -> Result<(), SpecError> {
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
