//! The MD5 ring: virtual nodes at 128-bit positions. The first one at or after a key owns it; the end wraps around.
//!
//! Positions and owners are two arrays, so that a binary search touches positions only.

use super::position;

/// The number of virtual nodes for each unit of weight.
pub(super) const VIRTUAL_NODES: u32 = 100;

/// A consistent-hash ring over nodes that are known by index.
#[derive(Debug, Clone)]
pub struct Ring {
    positions: Box<[u128]>,
    owners: Box<[u32]>,
}

/// A contiguous run of positions with one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arc {
    /// First position of the arc.
    pub first: u128,
    /// Last position of the arc, inclusive.
    pub last: u128,
    /// Index of the owning node.
    pub owner: usize,
}

impl Arc {
    /// Returns the arc's share of all positions, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        share_of(self.first, self.last)
    }
}

/// Returns the share of all positions that lies in `first..=last`.
pub(super) fn share_of(first: u128, last: u128) -> f64 {
    const ALL: f64 = u128::MAX as f64;
    (last - first) as f64 / ALL
}

impl Ring {
    /// Builds a ring from pairs of node id and weight. Each node gets `100 × weight` positions, at `md5("{id}:{i}")`, and is
    /// known by its index in `nodes`. If two virtual nodes share a position, the later node owns it, as in the reference
    /// design.
    pub fn new<'a>(nodes: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut points = Vec::new();
        for (index, (id, weight)) in nodes.into_iter().enumerate() {
            let owner = u32::try_from(index).unwrap_or(u32::MAX);
            points.extend((0..weight * VIRTUAL_NODES).map(|i| (position(&format!("{id}:{i}")), owner)));
        }
        points.sort_unstable();
        points.reverse();
        points.dedup_by_key(|(position, _)| *position);
        points.reverse();
        let (positions, owners): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self { positions: positions.into(), owners: owners.into() }
    }

    /// Returns the index of the node that owns `position`.
    ///
    /// # Panics
    /// If the ring is empty.
    pub fn owner(&self, position: u128) -> usize {
        let at = self.positions.partition_point(|&point| point < position);
        self.owners[if at == self.positions.len() { 0 } else { at }] as usize
    }

    /// Iterates over the owners of all virtual nodes once around the ring, from `position` on. A node occurs once for each of
    /// its virtual nodes.
    pub fn owners_from(&self, position: u128) -> impl Iterator<Item = usize> + '_ {
        let at = self.positions.partition_point(|&point| point < position);
        let (before, after) = self.owners.split_at(at);
        after.iter().chain(before).map(|&owner| owner as usize)
    }

    /// Returns the number of virtual nodes on the ring.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns whether the ring has no nodes.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Iterates over the whole ring as arcs in ascending order, without gaps. The arc that wraps around is two arcs.
    pub(super) fn arcs(&self) -> impl Iterator<Item = Arc> + '_ {
        let mut first = Some(0);
        let points = self.positions.iter().copied().zip(self.owners.iter().copied());
        let wrap = self.owners.first().map(|&owner| (u128::MAX, owner));
        points.chain(wrap).filter_map(move |(last, owner)| {
            let arc = first.filter(|first| *first <= last).map(|first| Arc { first, last, owner: owner as usize });
            first = last.checked_add(1);
            arc
        })
    }
}
