//! The nodes that may be picked, prepared for fast picks. A snapshot is immutable; it is replaced when a node becomes
//! available or unavailable.

use std::sync::Arc;

use super::{
    Algorithm, Caller, Node,
    affinity::Affinity,
    candidate::Candidate,
    geography::Geography,
    moment::Moment,
    node::Shared,
    schedule::Schedule,
    select::{better_of_two, health_score, median, min_by_score, peak_score},
    sync::{AtomicU64, Ordering},
};

/// `peak_ewma` compares all candidates up to this number, and two random ones beyond it.
const MAX_COMPARED: usize = 16;

/// The candidates at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    algorithm: Algorithm,
    candidates: Box<[Candidate]>,
    /// The number of availability changes when the snapshot was made.
    changes: u64,
    /// The end of the first ejection to end, in nanoseconds since the epoch; `u64::MAX` if no node is ejected.
    next_change: u64,
    /// The end of the last slow start to end, in nanoseconds since the epoch; 0 if no node is in slow start.
    slow_start_until: u64,
    /// The median of the nodes' mean response times in seconds; assumed for nodes without recent samples.
    typical: f64,
    next_turn: Arc<AtomicU64>,
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
        // Read first, so that any later change makes this snapshot outdated.
        let changes = shared.changes();
        let available: Vec<&Arc<Node>> = members.iter().filter(|node| !node.measured().is_draining()).collect();
        let is_healthy = |node: &&Arc<Node>| node.measured().is_healthy() && !node.measured().is_ejected(now);
        let healthy: Vec<&Arc<Node>> = available.iter().copied().filter(is_healthy).collect();
        let panic = (healthy.len() as f64) < shared.policy.panic_threshold * available.len() as f64;
        let candidates: Box<[Candidate]> =
            if panic { available } else { healthy }.into_iter().map(Candidate::new).collect();
        let measured = || candidates.iter().map(|candidate| &candidate.measured);
        Self {
            next_change: members
                .iter()
                .map(|node| node.measured().ejected_until())
                .filter(|until| *until > now.nanos)
                .min()
                .unwrap_or(u64::MAX),
            slow_start_until: measured()
                .filter_map(|measured| measured.slow_start_until(&shared.rates))
                .max()
                .unwrap_or(0),
            typical: median(measured().filter_map(|measured| measured.mean()).collect()) / 1e9,
            next_turn: before.map_or_else(Arc::default, |before| Arc::clone(&before.next_turn)),
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

    /// Returns the algorithm.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the nodes that may be picked.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Returns whether the availability of a node has changed since the snapshot was made.
    pub(super) fn is_outdated(&self, shared: &Shared, now: Moment) -> bool {
        self.next_change <= now.nanos || shared.changes() != self.changes
    }

    /// Returns the index of the picked candidate; none if there are no candidates.
    pub(super) fn pick(&self, caller: &Caller<'_>, shared: &Shared, now: Moment) -> Option<usize> {
        let count = self.candidates.len();
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        let mut index = self.choose(caller, shared, now);
        // A node in slow start is skipped in proportion to its missing share, except by `hash`, where affinity matters more. The
        // node that failed this request is always skipped.
        let is_slow = self.slow_start_until > now.nanos && self.algorithm != Algorithm::Hash;
        if is_slow || caller.failed.is_some() {
            let has_failed = |index: usize| caller.failed == Some(self.candidates[index].node.spec().id.as_str());
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
        let turn = || self.next_turn.fetch_add(1, Ordering::Relaxed);
        match (self.algorithm, &self.schedule, &self.geography, &self.affinity) {
            (Algorithm::WeightedRoundRobin, Some(schedule), ..) => schedule.node(turn()),
            (Algorithm::Geographic, _, Some(geography), _) => {
                let near = geography.near(caller, candidates, &shared.policy);
                near[better_of_two(near.len(), |choice| relative_load(&candidates[near[choice]]))]
            }
            (Algorithm::Hash, .., Some(affinity)) => affinity.node(caller.key, candidates, &shared.policy),
            (Algorithm::LeastConnections, ..) => min_by_score(candidates, |other| other.in_flight() as f64),
            (Algorithm::LeastResponseTime, ..) => {
                min_by_score(candidates, |other| other.measured.mean_now(self.typical, now, rates))
            }
            (Algorithm::HealthBased, ..) => {
                min_by_score(candidates, |other| health_score(other, self.typical, now, rates))
            }
            (Algorithm::PeakEwma, ..) if candidates.len() <= MAX_COMPARED => {
                min_by_score(candidates, |other| peak_score(other, now, rates))
            }
            (Algorithm::PeakEwma, ..) => {
                better_of_two(candidates.len(), |index| peak_score(&candidates[index], now, rates))
            }
            _ => (turn() % candidates.len() as u64) as usize,
        }
    }
}

fn relative_load(candidate: &Candidate) -> f64 {
    (candidate.in_flight() + 1) as f64 / f64::from(candidate.weight)
}
