//! The flows of one kind of hash.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use super::QueueLimits;
use crate::{
    model::Network,
    passwords::pool::standing::{QueueState, StandingDetector},
};

/// The slots of one client.
#[derive(Debug, Default)]
struct Flow {
    running: usize,
    /// Slots whose hash has not begun, oldest first.
    idle: BTreeSet<u64>,
    /// Idle slots that wait for their turn.
    ready: BTreeSet<u64>,
    /// Key of this flow in [`Flows::turns`] while it has ready slots.
    turn: Option<u64>,
    standing: StandingDetector,
}

impl Flow {
    fn len(&self) -> usize {
        self.running + self.idle.len()
    }
}

/// Why a client gets no slot even if some are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its flow stands and has reached its limit.
    FlowLimit,
    /// Too many clients wait for this kind of hash.
    KindLimit,
}

/// All flows of one kind.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<Network, Flow>,
    /// Flows with idle slots, by size.
    by_size: BTreeSet<(usize, Network)>,
    /// Clients with ready slots, in the order of their turns.
    turns: BTreeMap<u64, Network>,
    next_turn: u64,
    /// Idle slots of all flows, oldest first.
    idle: BTreeSet<u64>,
    running: usize,
    standing: StandingDetector,
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.running + self.idle.len()
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Records what an arriving client finds. Returns the slots to evict because its flow, or the whole kind, begins to
    /// stand.
    pub(super) fn detect_standing(&mut self, client: Network, limits: &QueueLimits, now: Instant) -> Vec<u64> {
        let clients = self.flows.len();
        let mut evicted = Vec::new();
        if let Some(flow) = self.flows.get_mut(&client) {
            let own = flow.len();
            if flow.standing.observe(own, own >= limits.flow_threshold, now, limits.interval)
                == QueueState::BecameStanding
            {
                evicted.extend(oldest(&flow.idle, limits.standing_flow_limit));
            }
        }
        if self.standing.observe(clients, clients > limits.standing_kind_limit, now, limits.interval)
            == QueueState::BecameStanding
        {
            evicted.extend(oldest(&self.idle, limits.standing_kind_limit));
        }
        evicted
    }

    /// Returns why `client` is refused a slot, or `None` if it is not.
    pub(super) fn refusal(&self, client: Network, limits: &QueueLimits) -> Option<Refusal> {
        let own = self.flows.get(&client);
        if own.is_some_and(|flow| flow.standing.is_standing() && flow.len() >= limits.standing_flow_limit) {
            Some(Refusal::FlowLimit)
        } else if self.standing.is_standing() && self.len() >= limits.standing_kind_limit {
            Some(Refusal::KindLimit)
        } else {
            None
        }
    }

    /// Returns the oldest idle slot of the largest flow. With `for_client`, only if that flow has at least two slots more
    /// than the client.
    pub(super) fn victim(&self, for_client: Option<Network>) -> Option<u64> {
        let &(size, largest) = self.by_size.last()?;
        let own = |client| self.flows.get(&client).map_or(0, Flow::len);
        if for_client.is_some_and(|client| size <= own(client) + 1) {
            return None;
        }
        self.flows.get(&largest)?.idle.first().copied()
    }

    pub(super) fn insert(&mut self, client: Network, number: u64) {
        self.idle.insert(number);
        self.change(client, |flow, _| {
            flow.idle.insert(number);
        });
    }

    /// Lets a slot take its turn.
    pub(super) fn ready(&mut self, client: Network, number: u64) {
        self.change(client, |flow, next_turn| {
            if flow.idle.contains(&number) {
                flow.ready.insert(number);
                flow.turn.get_or_insert_with(|| take(next_turn));
            }
        });
    }

    /// Begins the oldest ready slot of the flow whose turn it is. That flow's next turn comes after those of all others.
    pub(super) fn begin_next(&mut self) -> Option<u64> {
        let (_, &client) = self.turns.first_key_value()?;
        let mut begun = None;
        self.change(client, |flow, next_turn| {
            begun = flow.ready.pop_first();
            if let Some(number) = begun {
                flow.idle.remove(&number);
                flow.running += 1;
            }
            flow.turn = (!flow.ready.is_empty()).then(|| take(next_turn));
        });
        let number = begun?;
        self.idle.remove(&number);
        self.running += 1;
        Some(number)
    }

    /// Removes a slot. Returns whether its hash was being computed.
    pub(super) fn leave(&mut self, client: Network, number: u64) -> bool {
        let was_running = !self.idle.remove(&number);
        if was_running {
            self.running -= 1;
        }
        self.change(client, |flow, next_turn| {
            if was_running {
                flow.running -= 1;
                // Its next turn comes after flows that arrived meanwhile, so a client with one request at a time is not slower.
                flow.turn = flow.turn.map(|_| take(next_turn));
            } else {
                flow.idle.remove(&number);
                flow.ready.remove(&number);
                flow.turn = flow.turn.filter(|_| !flow.ready.is_empty());
            }
        });
        was_running
    }

    /// Applies `change` to a flow and updates all indices.
    fn change(&mut self, client: Network, change: impl FnOnce(&mut Flow, &mut u64)) {
        let flow = self.flows.entry(client).or_default();
        let (size_before, turn_before) = (flow.len(), flow.turn);
        change(flow, &mut self.next_turn);
        let (size, turn, has_idle) = (flow.len(), flow.turn, !flow.idle.is_empty());
        self.by_size.remove(&(size_before, client));
        if has_idle {
            self.by_size.insert((size, client));
        }
        if turn != turn_before {
            turn_before.map(|turn| self.turns.remove(&turn));
            turn.map(|turn| self.turns.insert(turn, client));
        }
        if size == 0 {
            self.flows.remove(&client);
        }
    }

    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let sum = |of: fn(&Flow) -> usize| self.flows.values().map(of).sum::<usize>();
        sum(|flow| flow.running) == self.running
            && sum(|flow| flow.idle.len()) == self.idle.len()
            && self.by_size.len() == self.flows.values().filter(|flow| !flow.idle.is_empty()).count()
            && self.turns.len() == self.flows.values().filter(|flow| !flow.ready.is_empty()).count()
            && self.by_size.iter().all(|(size, client)| self.flows[client].len() == *size)
            && self.turns.iter().all(|(turn, client)| self.flows[client].turn == Some(*turn))
            && self.flows.values().all(|flow| flow.len() > 0 && flow.ready.is_subset(&flow.idle))
    }
}

/// Returns all but the newest `keep` slots.
fn oldest(slots: &BTreeSet<u64>, keep: usize) -> impl Iterator<Item = u64> {
    slots.iter().take(slots.len().saturating_sub(keep)).copied()
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next
}
