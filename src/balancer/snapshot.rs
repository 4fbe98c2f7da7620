//! The nodes that may be picked, and what it takes to pick one of them fast. A snapshot never changes; when whether a node
//! may be picked does, a new one is made.

use std::sync::Arc;

use super::{
    Algorithm, Caller, Node,
    affinity::Affinity,
    geography::Geography,
    measured::Measured,
    moment::Moment,
    node::Shared,
    schedule::Schedule,
    select::{better_of_two, cost, health, least, median},
    sync::{AtomicU64, Ordering},
};

/// Up to how many nodes `peak_ewma` compares all of them.
const COMPARED: usize = 16;

/// A node that may be picked, with what picks read at hand.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) measured: Arc<Measured>,
    pub(super) node: Arc<Node>,
    pub(super) weight: f32,
}

impl Candidate {
    fn new(node: &Arc<Node>) -> Self {
        Self { measured: Arc::clone(node.measured()), node: Arc::clone(node), weight: node.weight() as f32 }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.measured.in_flight()
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.node.limit()
    }
}

/// Nodes at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    algorithm: Algorithm,
    candidates: Box<[Candidate]>,
    /// How often the members had changed when this was made.
    changes: u64,
    /// When the first ejected node is to be picked again, in nanoseconds of the balancer's time; the end of it if none is.
    next_change: u64,
    /// Until when a node is in slow start, likewise; 0 if none is.
    slow_until: u64,
    /// The median of the nodes' means in seconds: what one counts as that nothing, or nothing of late, is known of.
    usual: f64,
    turn: Arc<AtomicU64>,
    schedule: Option<Schedule>,
    affinity: Option<Affinity>,
    geography: Option<Geography>,
}

impl Snapshot {
    pub(super) fn new(
        shared: &Shared,
        algorithm: Algorithm,
        members: &[Arc<Node>],
        now: Moment,
        before: Option<&Self>,
    ) -> Self {
        // Read first: what changes from here on makes this one outdated.
        let changes = shared.changes();
        let usable: Vec<&Arc<Node>> = members.iter().filter(|node| !node.measured().is_draining()).collect();
        let is_well = |node: &&Arc<Node>| node.measured().is_healthy() && !node.measured().is_ejected(now);
        let well: Vec<&Arc<Node>> = usable.iter().copied().filter(is_well).collect();
        let panic = (well.len() as f64) < shared.policy.panic_below * usable.len() as f64;
        let candidates: Box<[Candidate]> = if panic { usable } else { well }.into_iter().map(Candidate::new).collect();
        let measured = || candidates.iter().map(|candidate| &candidate.measured);
        Self {
            next_change: members
                .iter()
                .map(|node| node.measured().ejected_until())
                .filter(|until| *until > now.nanos)
                .min()
                .unwrap_or(u64::MAX),
            slow_until: measured().filter_map(|measured| measured.slow_until(&shared.rates)).max().unwrap_or(0),
            usual: median(measured().filter_map(|measured| measured.mean()).collect()) / 1e9,
            turn: before.map_or_else(Arc::default, |before| Arc::clone(&before.turn)),
            schedule: (algorithm == Algorithm::WeightedRoundRobin)
                .then(|| Schedule::new(&candidates.iter().map(|other| other.node.weight()).collect::<Vec<_>>())),
            affinity: (algorithm == Algorithm::Hash)
                .then(|| Affinity::new(members, &candidates, before.and_then(|before| before.affinity.as_ref()))),
            geography: (algorithm == Algorithm::Geographic).then(|| Geography::new(members, &candidates)),
            algorithm,
            candidates,
            changes,
        }
    }

    /// By what they are picked.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The nodes that may be picked.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Whether a node may be picked that could not be, or the other way round.
    pub(super) fn is_outdated(&self, shared: &Shared, now: Moment) -> bool {
        self.next_change <= now.nanos || shared.changes() != self.changes
    }

    /// The place of the one to use among the candidates.
    pub(super) fn pick(&self, caller: &Caller<'_>, shared: &Shared, now: Moment) -> Option<usize> {
        let count = self.candidates.len();
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        let mut index = self.choose(caller, shared, now);
        // A node in slow start is passed over as often as it falls short of its share, and one that has just failed always;
        // affinity goes before a slow start.
        let is_slow = self.slow_until > now.nanos && self.algorithm != Algorithm::Hash;
        if is_slow || caller.not.is_some() {
            let has_failed = |index: usize| caller.not == Some(self.candidates[index].node.spec().id.as_str());
            let another = |index: usize| {
                let other = |choice: usize| if choice < index { choice } else { choice + 1 };
                other(better_of_two(count - 1, |choice| self.candidates[other(choice)].in_flight() as f64))
            };
            for _ in 0..count {
                let is_due = !is_slow || fastrand::f64() < self.candidates[index].measured.ramp(now, &shared.rates);
                if !has_failed(index) && is_due {
                    break;
                }
                index = another(index);
            }
            if has_failed(index) {
                index = another(index);
            }
        }
        Some(index)
    }

    fn choose(&self, caller: &Caller<'_>, shared: &Shared, now: Moment) -> usize {
        let (candidates, rates) = (&*self.candidates, &shared.rates);
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed);
        match (self.algorithm, &self.schedule, &self.geography, &self.affinity) {
            (Algorithm::WeightedRoundRobin, Some(schedule), ..) => schedule.node(turn()),
            (Algorithm::Geographic, _, Some(geography), _) => {
                let near = geography.near(caller, candidates, &shared.policy);
                near[better_of_two(near.len(), |choice| relative_load(&candidates[near[choice]]))]
            }
            (Algorithm::Hash, .., Some(affinity)) => affinity.node(caller.key, candidates, &shared.policy),
            (Algorithm::LeastConnections, ..) => least(candidates, |other| other.in_flight() as f64),
            (Algorithm::LeastResponseTime, ..) => {
                least(candidates, |other| other.measured.mean_now(self.usual, now, rates))
            }
            (Algorithm::HealthBased, ..) => least(candidates, |other| health(other, self.usual, now, rates)),
            (Algorithm::PeakEwma, ..) if candidates.len() <= COMPARED => {
                least(candidates, |other| cost(other, now, rates))
            }
            (Algorithm::PeakEwma, ..) => better_of_two(candidates.len(), |index| cost(&candidates[index], now, rates)),
            _ => (turn() % candidates.len() as u64) as usize,
        }
    }
}

fn relative_load(candidate: &Candidate) -> f64 {
    (candidate.in_flight() + 1) as f64 / f64::from(candidate.weight)
}
