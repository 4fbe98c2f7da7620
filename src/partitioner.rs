//! Which shard holds a key: a pure function from key to partition.
//!
//! For equal input the answers equal those of the seed's `DataPartitioner` (`seed.md`) on partition id and node id,
//! so placements computed by other tools agree with ours. Four strategies share one type, because a topology change
//! compares an old partitioner with a new one whatever their strategies are ([`plan()`]).
//!
//! Invariants: a [`Partitioner`] is immutable and has at least one node; [`Partitioner::partition`] is total,
//! deterministic across processes and machines, and does not allocate.

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

/// The place of a key on the ring: its MD5 as a big-endian 128-bit number (`seed.md`: `int(md5(key).hexdigest(), 16)`).
pub fn position(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// Where one key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition<'a> {
    /// The shard that owns the key.
    pub node_id: &'a str,
    /// The seed's label of the part of the key space that the key falls into.
    pub partition_id: PartitionId<'a>,
}

/// Where one key lives, by its partitioner's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The index into [`Partitioner::nodes`] of the owner.
    pub owner: usize,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Hash,
    Range,
    Pin,
    /// Of the ring.
    Arc {
        position: u128,
    },
}

/// The seed's partition labels; [`fmt::Display`] writes them as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionId<'a> {
    /// `hash_{index}`
    Hash(usize),
    /// `range_{index}`
    Range(usize),
    /// `pin_{node}`
    Pin(&'a str),
    /// `consistent_{node}_{hash % 100}`: a label of the seed's, not a bucket.
    Consistent {
        /// The owner.
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

/// How many labels a ring gives each node: the seed's `hash % 100`.
const LABELS: u128 = 100;

/// A validated topology's key → partition function. Built from a [`PartitionerSpec`].
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
    /// [`SpecError`] names the part of the spec that contradicts itself.
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

    /// The strategy that it was built with.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The nodes, in the order that `hash` and `range` count them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The partition and node of `key`.
    pub fn partition(&self, key: &str) -> Partition<'_> {
        self.describe(self.locate(key))
    }

    /// The index into [`Self::nodes`] of the owner of `key`.
    pub fn owner_index(&self, key: &str) -> usize {
        self.locate(key).owner
    }

    /// Where `key` lives, for [`Self::describe`].
    pub fn locate(&self, key: &str) -> Located {
        let (owner, part) = match &self.layout {
            Layout::Hash => ((position(key) % self.nodes.len() as u128) as usize, Part::Hash),
            Layout::NumericRange => (range::numeric_index(key, self.nodes.len()), Part::Range),
            Layout::SplitRange(splits) => (splits.partition_point(|split| split.as_str() <= key), Part::Range),
            Layout::Ring { ring, pins } => match pins.get(key) {
                Some(&owner) => (owner, Part::Pin),
                None => {
                    let position = position(key);
                    (ring.owner(position), Part::Arc { position })
                }
            },
        };
        Located { owner, part }
    }

    /// What was located by this partitioner, in words.
    pub fn describe(&self, Located { owner, part }: Located) -> Partition<'_> {
        let node = self.nodes[owner].id.as_str();
        let partition_id = match part {
            Part::Hash => PartitionId::Hash(owner),
            Part::Range => PartitionId::Range(owner),
            Part::Pin => PartitionId::Pin(node),
            Part::Arc { position } => PartitionId::Consistent { node, position },
        };
        Partition { node_id: node, partition_id }
    }

    /// How many distinct partition ids each node has, in node order (the seed's `partitions_per_node`).
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

    /// The share of the key space that each node owns, in node order, adding up to 1; `None` for split points, where
    /// it depends on the keys.
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

    /// Virtual nodes on the ring; `None` for strategies without one.
    pub fn virtual_nodes(&self) -> Option<usize> {
        match &self.layout {
            Layout::Ring { ring, .. } => Some(ring.len()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
