//! The queue of a gate: requests that wait for a permit.
//!
//! Clients take turns, one request each, so the waiting time of a request depends on the number of other clients and not on
//! how many requests they send. In a full queue, the client with the most waiting requests loses its first one to a client
//! that would still have fewer.
//!
//! The requests of one client are served first in, first out while waiting times are short. Once the first one has waited for a
//! tenth of the deadline there is more work than can be done, and some requests will be rejected in any case. Then the last
//! one is served first: it is served fast, and those before it are rejected at their deadline. Until then they keep the queue
//! full, so that most new requests are rejected at once, which is cheaper than to wait and be rejected.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{QUEUE_DEADLINE, bulkheads::Group};
use crate::ClientKey;

/// The waiting time of a client's first request beyond which its last request is served first.
const LIFO_AFTER: Duration = Duration::from_millis(QUEUE_DEADLINE.as_millis() as u64 / 10);

/// Waiting requests. The caller bounds the length.
#[derive(Debug)]
pub(super) struct Queue<C, W> {
    clients: HashMap<C, ClientQueue<C, W>>,
    /// The clients with waiting requests, in the order of their turns.
    turns: BTreeMap<u64, C>,
    /// The clients with waiting requests, by the number of these.
    by_size: BTreeSet<(usize, C)>,
    /// The client of each ticket.
    owners: BTreeMap<Ticket, C>,
    /// The number of waiting requests of each bulkhead.
    waiting_by_bulkhead: Vec<usize>,
    next_ticket: u64,
    next_turn: u64,
}

/// The waiting requests of one client, in the order of tickets.
#[derive(Debug)]
struct ClientQueue<C, W> {
    entries: VecDeque<Entry<C, W>>,
    turn: u64,
}

#[derive(Debug)]
struct Entry<C, W> {
    ticket: Ticket,
    group: Group<C>,
    queued_at: Instant,
    waiter: W,
}

/// Identifies a waiting request; tickets ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl<C: ClientKey, W> Queue<C, W> {
    pub(super) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            turns: BTreeMap::new(),
            by_size: BTreeSet::new(),
            owners: BTreeMap::new(),
            waiting_by_bulkhead: Vec::new(),
            next_ticket: 0,
            next_turn: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Returns the number of waiting requests of a bulkhead.
    pub(super) fn waiting_for(&self, bulkhead: usize) -> usize {
        self.waiting_by_bulkhead.get(bulkhead).copied().unwrap_or_default()
    }

    pub(super) fn push(&mut self, group: Group<C>, waiter: W, now: Instant) -> Ticket {
        let Group { bulkhead, client, .. } = group;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if self.waiting_by_bulkhead.len() <= bulkhead {
            self.waiting_by_bulkhead.resize(bulkhead + 1, 0);
        }
        self.waiting_by_bulkhead[bulkhead] += 1;
        self.owners.insert(ticket, client);
        let (turns, next_turn) = (&mut self.turns, &mut self.next_turn);
        let queue = self.clients.entry(client).or_insert_with(|| {
            let turn = post_increment(next_turn);
            turns.insert(turn, client);
            ClientQueue { entries: VecDeque::new(), turn }
        });
        self.by_size.remove(&(queue.entries.len(), client));
        queue.entries.push_back(Entry { ticket, group, queued_at: now, waiter });
        self.by_size.insert((queue.entries.len(), client));
        ticket
    }

    /// Removes the next request whose bulkhead `has_room` for its client.
    pub(super) fn pop(&mut self, now: Instant, has_room: impl Fn(usize, C) -> bool) -> Option<(Group<C>, W)> {
        let (client, index) = self.turns.values().find_map(|client| {
            let fits = |entry: &Entry<C, W>| has_room(entry.group.bulkhead, *client);
            let entries = &self.clients.get(client)?.entries;
            let first = entries.iter().position(fits)?;
            let is_late = now.saturating_duration_since(entries[first].queued_at) > LIFO_AFTER;
            Some((*client, if is_late { entries.iter().rposition(fits)? } else { first }))
        })?;
        let entry = self.take(client, index)?;
        if let Some(queue) = self.clients.get_mut(&client) {
            self.turns.remove(&queue.turn);
            queue.turn = post_increment(&mut self.next_turn);
            self.turns.insert(queue.turn, client);
        }
        Some((entry.group, entry.waiter))
    }

    /// Removes the first request (of one bulkhead, if given) of the client with the most waiting requests, unless `client` would
    /// then have as many.
    pub(super) fn evict(&mut self, client: C, bulkhead: Option<usize>) -> Option<W> {
        let held = self.clients.get(&client).map_or(0, |queue| queue.entries.len());
        let is_eligible = |entry: &Entry<C, W>| bulkhead.is_none_or(|bulkhead| entry.group.bulkhead == bulkhead);
        let larger = self.by_size.iter().rev().take_while(|(size, _)| *size > held + 1);
        let (largest, index) = larger
            .filter_map(|(_, client)| Some((*client, self.clients.get(client)?.entries.iter().position(is_eligible)?)))
            .next()?;
        self.take(largest, index).map(|entry| entry.waiter)
    }

    /// Removes the requests that have waited until their deadline.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<W> {
        let mut late = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now)
            && let Some((_, &client)) = self.owners.first_key_value()
        {
            late.extend(self.take(client, 0).map(|entry| entry.waiter));
        }
        late
    }

    /// Returns the deadline of the request that has waited longest, if any waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (_, client) = self.owners.first_key_value()?;
        self.clients.get(client)?.entries.front().map(|entry| entry.queued_at + QUEUE_DEADLINE)
    }

    /// Removes a request; returns whether it was waiting.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(&client) = self.owners.get(&ticket) else { return false };
        let index =
            self.clients.get(&client).map(|queue| queue.entries.binary_search_by_key(&ticket, |entry| entry.ticket));
        index.is_some_and(|index| index.is_ok_and(|index| self.take(client, index).is_some()))
    }

    fn take(&mut self, client: C, index: usize) -> Option<Entry<C, W>> {
        let queue = self.clients.get_mut(&client)?;
        let size = queue.entries.len();
        let entry = queue.entries.remove(index)?;
        self.by_size.remove(&(size, client));
        if size > 1 {
            self.by_size.insert((size - 1, client));
        } else {
            self.turns.remove(&queue.turn);
            self.clients.remove(&client);
        }
        self.owners.remove(&entry.ticket);
        self.waiting_by_bulkhead[entry.group.bulkhead] -= 1;
        Some(entry)
    }
}

fn post_increment(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulkheads::Kind;

    const ONE: u8 = 1;
    const OTHER: u8 = 0;

    fn of(bulkhead: usize, client: u8) -> Group<u8> {
        Group { bulkhead, kind: Kind::Read, client }
    }

    fn pop(queue: &mut Queue<u8, char>, now: Instant, has_room: impl Fn(usize, u8) -> bool) -> Option<char> {
        queue.pop(now, has_room).map(|(_, waiter)| waiter)
    }

    #[test]
    fn requests_are_removed_at_their_deadline() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        assert_eq!(queue.deadline(), None);
        queue.push(of(0, ONE), 'a', now);
        queue.push(of(1, ONE), 'b', now);
        queue.push(of(0, ONE), 'c', now + LIFO_AFTER);
        assert_eq!(queue.deadline(), Some(now + QUEUE_DEADLINE));
        assert!(queue.take_expired(now + QUEUE_DEADLINE - LIFO_AFTER).is_empty());
        assert_eq!(queue.take_expired(now + QUEUE_DEADLINE), ['a', 'b']);
        assert_eq!((queue.len(), queue.waiting_for(0), queue.waiting_for(1)), (1, 1, 0));
        assert_eq!(queue.deadline(), Some(now + LIFO_AFTER + QUEUE_DEADLINE));
    }

    #[test]
    fn the_first_request_with_room_is_served_first_and_after_a_long_wait_the_last() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        let waiters = [(0, 'a'), (1, 'b'), (0, 'c'), (1, 'd'), (0, 'e')];
        let tickets = waiters.map(|(bulkhead, waiter)| queue.push(of(bulkhead, ONE), waiter, now));
        assert_eq!(pop(&mut queue, now + LIFO_AFTER, |bulkhead, _| bulkhead == 1), Some('b'));
        assert_eq!((queue.len(), queue.waiting_for(1)), (4, 1));
        assert!(queue.remove(tickets[3]) && !queue.remove(tickets[3]) && !queue.remove(tickets[1]));
        let late = now + LIFO_AFTER + Duration::from_millis(1);
        assert_eq!(pop(&mut queue, late, |_, _| true), Some('e'));
        assert_eq!(pop(&mut queue, late, |bulkhead, _| bulkhead == 1), None);
        assert_eq!(pop(&mut queue, now, |_, _| true), Some('a'));
        queue.push(of(1, ONE), 'f', late);
        queue.push(of(1, ONE), 'g', late);
        assert_eq!(
            pop(&mut queue, late, |bulkhead, _| bulkhead == 1),
            Some('f'),
            "the first request of this bulkhead has not waited long"
        );
    }

    #[test]
    fn clients_take_turns_regardless_of_how_many_requests_wait() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for waiter in ['a', 'b', 'c'] {
            queue.push(of(0, ONE), waiter, now);
        }
        queue.push(of(0, OTHER), 'x', now);
        queue.push(of(0, OTHER), 'y', now);
        let order: String = std::iter::from_fn(|| pop(&mut queue, now, |_, _| true)).collect();
        assert_eq!(order, "axbyc");
        assert!(queue.clients.is_empty() && queue.turns.is_empty() && queue.by_size.is_empty());
    }

    #[test]
    fn a_client_whose_bulkhead_is_full_does_not_block_others() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.push(of(0, ONE), 'a', now);
        queue.push(of(1, OTHER), 'x', now);
        assert_eq!(pop(&mut queue, now, |bulkhead, _| bulkhead == 1), Some('x'));
    }

    #[test]
    fn a_full_queue_evicts_from_the_client_with_the_most_requests() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (bulkhead, waiter) in [(0, 'a'), (1, 'b'), (0, 'c')] {
            queue.push(of(bulkhead, ONE), waiter, now);
        }
        assert_eq!(queue.evict(ONE, None), None);
        assert_eq!(queue.evict(OTHER, Some(1)), Some('b'));
        queue.push(of(1, OTHER), 'x', now);
        assert_eq!(queue.evict(OTHER, None), None, "both would have as many");
        assert_eq!((queue.len(), queue.waiting_for(0), queue.waiting_for(1)), (3, 2, 1));
    }
}
