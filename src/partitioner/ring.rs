//! The MD5 ring: virtual nodes at 128-bit positions, the first at or after a key owns it, and the end wraps.
//!
//! Positions and owners lie in two arrays, so that a binary search touches positions only.

use super::position;

/// Virtual nodes for each unit of weight (`seed.md`).
pub(super) const VIRTUAL_NODES: u32 = 100;

/// A consistent-hash ring over nodes known by index.
#[derive(Debug, Clone)]
pub struct Ring {
    positions: Box<[u128]>,
    owners: Box<[u32]>,
}

/// A stretch of positions with one owner.
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
    /// The arc's part of all positions, in 0..=1.
    pub(super) fn share(&self) -> f64 {
        share_of(self.first, self.last)
    }
}

/// The part of all positions that lies in `first..=last`.
pub(super) fn share_of(first: u128, last: u128) -> f64 {
    const ALL: f64 = u128::MAX as f64;
    (last - first) as f64 / ALL
}

impl Ring {
    /// A ring of `VIRTUAL_NODES × weight` positions a node, at `md5("{id}:{i}")`. Nodes are known by their place in
    /// `nodes`. Where two virtual nodes meet on one position the later node has it, as in the seed's dictionary.
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

    /// The index of the node that owns `position`.
    ///
    /// # Panics
    /// On an empty ring: callers build rings of at least one node.
    pub fn owner(&self, position: u128) -> usize {
        let at = self.positions.partition_point(|&point| point < position);
        self.owners[if at == self.positions.len() { 0 } else { at }] as usize
    }

    /// The owners of the points from `position` on, once around; a node comes as often as it has points.
    pub fn owners_from(&self, position: u128) -> impl Iterator<Item = usize> + '_ {
        let at = self.positions.partition_point(|&point| point < position);
        let (before, after) = self.owners.split_at(at);
        after.iter().chain(before).map(|&owner| owner as usize)
    }

    /// How many virtual nodes are on the ring.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether the ring has no node at all.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The whole ring as arcs in ascending order, without gaps. The wrapping arc comes as two.
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
