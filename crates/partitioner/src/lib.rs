#![doc = include_str!("../README.md")]
//!
//! # Invariants
//! A [`Partitioner`] is immutable and has at least one node. [`Partitioner::partition`] answers for every key, gives the
//! same answer in every process and on every machine, and does not allocate. For equal input, partition id and node id
//! equal those of the reference design's `DataPartitioner`, so placements computed by other tools agree.
#![warn(missing_docs)]

mod plan;
mod range;
mod ring;
mod spec;

use std::{collections::HashMap, fmt};

use md5::{Digest, Md5};
use serde::{Serialize, Serializer};

pub use plan::{KeyMove, Move, Plan, PlanError, plan};
pub use ring::Ring;
pub use spec::{MAX_WEIGHT, Node, PartitionerSpec, SpecError, Strategy, UnknownStrategy};

/// Returns the position of a key on the ring: its MD5 as a big-endian 128-bit number.
pub fn position(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// The partition of one key, and the node that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition<'a> {
    /// The id of the node that owns the key.
    pub node_id: &'a str,
    /// The label of the part of the key space that the key falls into.
    pub partition_id: PartitionId<'a>,
}

/// The owner of one key, as an index into the nodes of the partitioner that located it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The owner's index into [`Partitioner::nodes`].
    pub owner: usize,
    segment: Segment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Hash,
    Range,
    Pin,
    Arc { position: u128 },
}

/// The label of a partition; [`fmt::Display`] writes it as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionId<'a> {
    /// `hash_{index}`
    Hash(usize),
    /// `range_{index}`
    Range(usize),
    /// `pin_{node}`
    Pin(&'a str),
    /// `consistent_{node}_{position % 100}`: a label, not a bucket of the ring.
    Consistent {
        /// The id of the owner.
        node: &'a str,
        /// The key's position on the ring.
        position: u128,
    },
}

impl fmt::Display for PartitionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(index) => write!(f, "hash_{index}"),
            Self::Range(index) => write!(f, "range_{index}"),
            Self::Pin(node) => write!(f, "pin_{node}"),
            Self::Consistent { node, position } => write!(f, "consistent_{node}_{}", position % LABELS),
        }
    }
}

impl Serialize for PartitionId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number of labels that a ring gives each node.
const LABELS: u128 = 100;

/// Maps keys to partitions and nodes. Built from a validated [`PartitionerSpec`].
#[derive(Debug, Clone)]
pub struct Partitioner {
    strategy: Strategy,
    nodes: Vec<Node>,
    layout: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    Hash,
    NumericRange,
    SplitRange(Vec<String>),
    Ring { ring: Ring, pins: HashMap<String, usize> },
}

impl Partitioner {
    /// Builds the lookup structures.
    ///
    /// # Errors
    /// [`SpecError`] if the spec is not valid; it names the part that is wrong.
    pub fn new(spec: &PartitionerSpec) -> Result<Self, SpecError> {
        spec.validate()?;
        let layout = match spec.strategy {
            Strategy::Hash => Layout::Hash,
            Strategy::Range if spec.splits.is_empty() => Layout::NumericRange,
            Strategy::Range => Layout::SplitRange(spec.splits.clone()),
            Strategy::ConsistentHash | Strategy::Directory => Layout::Ring {
                ring: Ring::new(spec.nodes.iter().map(|node| (node.id.as_str(), node.weight))),
                pins: spec.pins.iter().map(|(key, node)| Ok((key.clone(), spec.node_index(node)?))).collect::<Result<
                    _,
                    SpecError,
                >>(
                )?,
            },
        };
        Ok(Self { strategy: spec.strategy, nodes: spec.nodes.clone(), layout })
    }

    /// Returns the strategy.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Returns the nodes in the order that `hash` and `range` count them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the partition and the node of `key`.
    pub fn partition(&self, key: &str) -> Partition<'_> {
        self.describe(self.locate(key))
    }

    /// Returns the index into [`Self::nodes`] of the node that owns `key`.
    pub fn owner_index(&self, key: &str) -> usize {
        self.locate(key).owner
    }

    /// Locates `key`; [`Self::describe`] turns the location into labels.
    pub fn locate(&self, key: &str) -> Location {
        let (owner, segment) = match &self.layout {
            Layout::Hash => ((position(key) % self.nodes.len() as u128) as usize, Segment::Hash),
            Layout::NumericRange => (range::numeric_index(key, self.nodes.len()), Segment::Range),
            Layout::SplitRange(splits) => (splits.partition_point(|split| split.as_str() <= key), Segment::Range),
            Layout::Ring { ring, pins } => match pins.get(key) {
                Some(&owner) => (owner, Segment::Pin),
                None => {
                    let position = position(key);
                    (ring.owner(position), Segment::Arc { position })
                }
            },
        };
        Location { owner, segment }
    }

    /// Returns the labels of a location that this partitioner found.
    ///
    /// # Panics
    /// If the location is another partitioner's and its owner is out of range here.
    pub fn describe(&self, Location { owner, segment }: Location) -> Partition<'_> {
        let node = self.nodes[owner].id.as_str();
        let partition_id = match segment {
            Segment::Hash => PartitionId::Hash(owner),
            Segment::Range => PartitionId::Range(owner),
            Segment::Pin => PartitionId::Pin(node),
            Segment::Arc { position } => PartitionId::Consistent { node, position },
        };
        Partition { node_id: node, partition_id }
    }

    /// Returns the number of distinct partition ids of each node, in node order.
    pub fn partitions_per_node(&self) -> Vec<(&str, u64)> {
        let pinned = |index| match &self.layout {
            Layout::Ring { pins, .. } => u64::from(pins.values().any(|&node| node == index)),
            _ => 0,
        };
        let unpinned = match self.layout {
            Layout::Ring { .. } => LABELS as u64,
            _ => 1,
        };
        self.nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), unpinned + pinned(index))).collect()
    }

    /// Returns the share of the key space that each node owns, in node order; the shares add up to 1. `None` for split
    /// points, where the share depends on the keys.
    pub fn shares(&self) -> Option<Vec<(&str, f64)>> {
        let shares = match &self.layout {
            Layout::Hash => vec![1.0 / self.nodes.len() as f64; self.nodes.len()],
            Layout::NumericRange => range::numeric_bounds(self.nodes.len())
                .map(|range| (range.end - range.start) as f64 / range::KEYS as f64)
                .collect(),
            Layout::SplitRange(_) => return None,
            Layout::Ring { ring, .. } => {
                let mut shares = vec![0.0; self.nodes.len()];
                for arc in ring.arcs() {
                    shares[arc.owner] += arc.share();
                }
                shares
            }
        };
        Some(self.nodes.iter().map(|node| node.id.as_str()).zip(shares).collect())
    }

    /// Returns the number of virtual nodes on the ring; `None` for strategies without a ring.
    pub fn virtual_nodes(&self) -> Option<usize> {
        match &self.layout {
            Layout::Ring { ring, .. } => Some(ring.len()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
