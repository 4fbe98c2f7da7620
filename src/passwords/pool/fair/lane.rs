//! The flows of one kind of hash.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use super::QueueLimits;
use crate::{
    model::Network,
    passwords::pool::standing::{Queue, Standing},
};

/// The places of one client.
#[derive(Debug, Default)]
struct Flow {
    running: usize,
    /// Those that are not being computed, oldest first.
    idle: BTreeSet<u64>,
    /// Those of them that take their turn.
    ready: BTreeSet<u64>,
    /// Its place among those who take turns, if any of its places does.
    turn: Option<u64>,
    standing: Standing,
}

impl Flow {
    fn len(&self) -> usize {
        self.running + self.idle.len()
    }
}

/// Why a client is not given a place although there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its own flow stands.
    Enough,
    /// Too many clients stand.
    Crowded,
}

/// All flows of a kind.
#[derive(Debug, Default)]
pub(super) struct Lane {
    flows: HashMap<Network, Flow>,
    /// Flows that have idle places, by their size.
    by_size: BTreeSet<(usize, Network)>,
    /// Who takes turns, in this order.
    turns: BTreeMap<u64, Network>,
    next_turn: u64,
    /// Idle places of all flows, oldest first.
    idle: BTreeSet<u64>,
    running: usize,
    crowd: Standing,
}

impl Lane {
    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.running + self.idle.len()
    }

    /// Whether any place takes its turn.
    pub(super) fn has_ready(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Notes what a newcomer finds; returns the places that are to be given up because something begins to stand.
    pub(super) fn find_standing(&mut self, client: Network, limits: &QueueLimits, now: Instant) -> Vec<u64> {
        let clients = self.flows.len();
        let mut evicted = Vec::new();
        if let Some(flow) = self.flows.get_mut(&client) {
            let own = flow.len();
            if flow.standing.find(own, own >= limits.long, now, limits.patience) == Queue::BeginsToStand {
                evicted.extend(oldest(&flow.idle, limits.enough));
            }
        }
        if self.crowd.find(clients, clients > limits.crowd, now, limits.patience) == Queue::BeginsToStand {
            evicted.extend(oldest(&self.idle, limits.crowd));
        }
        evicted
    }

    /// Why `client` is refused, if it is.
    pub(super) fn refusal(&self, client: Network, limits: &QueueLimits) -> Option<Refusal> {
        let own = self.flows.get(&client);
        if own.is_some_and(|flow| flow.standing.stands() && flow.len() >= limits.enough) {
            Some(Refusal::Enough)
        } else if self.crowd.stands() && self.len() >= limits.crowd {
            Some(Refusal::Crowded)
        } else {
            None
        }
    }

    /// The oldest place of the largest flow; for another client of this kind, only of a flow that would still be the larger.
    pub(super) fn victim(&self, for_client: Option<Network>) -> Option<u64> {
        let &(size, largest) = self.by_size.last()?;
        let own = |client| self.flows.get(&client).map_or(0, Flow::len);
        if for_client.is_some_and(|client| size <= own(client) + 1) {
            return None;
        }
        self.flows.get(&largest)?.idle.first().copied()
    }

    /// Adds a place.
    pub(super) fn insert(&mut self, client: Network, number: u64) {
        self.idle.insert(number);
        self.change(client, |flow, _| {
            flow.idle.insert(number);
        });
    }

    /// Has a place take its turn.
    pub(super) fn ready(&mut self, client: Network, number: u64) {
        self.change(client, |flow, next_turn| {
            if flow.idle.contains(&number) {
                flow.ready.insert(number);
                flow.turn.get_or_insert_with(|| take(next_turn));
            }
        });
    }

    /// The oldest place of the flow whose turn it is. The flow's next one comes after all others'.
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

    /// Removes a place; returns whether its hash was being computed.
    pub(super) fn leave(&mut self, client: Network, number: u64) -> bool {
        let was_running = !self.idle.remove(&number);
        if was_running {
            self.running -= 1;
        }
        self.change(client, |flow, next_turn| {
            if was_running {
                flow.running -= 1;
                // After those who came while it was being served: whoever sends one at a time is as fast as the others.
                flow.turn = flow.turn.map(|_| take(next_turn));
            } else {
                flow.idle.remove(&number);
                flow.ready.remove(&number);
                flow.turn = flow.turn.filter(|_| !flow.ready.is_empty());
            }
        });
        was_running
    }

    /// Changes a flow, and what is known of it elsewhere.
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

    /// Whether all indices agree.
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

/// All but the newest `keep`.
fn oldest(places: &BTreeSet<u64>, keep: usize) -> impl Iterator<Item = u64> {
    places.iter().take(places.len().saturating_sub(keep)).copied()
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next
}
