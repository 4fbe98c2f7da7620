//! Requests that wait for room. Clients take turns, one request each, so how long one waits depends on how many others there
//! are and not on how many requests they send; where the queue is full, the client that has most in it gives up its first
//! one for a client that would still have fewer.
//!
//! Of one client's requests the first one is first, unless it has waited for long; then the last one. As long as everybody
//! gets in after a short wait, first come is first served, and nobody is refused for having been
//! overtaken. Where even the first has waited for a tenth of what anyone is allowed to, there is more than can be done, and
//! somebody is refused in any case: then whoever came last is served as fast as ever, and those before it are refused when
//! their time is up. Meanwhile they keep the queue full, so most of what comes is refused at once, which costs
//! less than to wait and be told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{QUEUE_DEADLINE, lanes::Group};
use crate::model::Network;

/// Who has waited for longer gives way to the last one.
const LONG: Duration = Duration::from_millis(QUEUE_DEADLINE.as_millis() as u64 / 10);

/// The line. Its length is for whoever adds to it to mind.
#[derive(Debug)]
pub(super) struct Queue<W> {
    flows: HashMap<Network, Flow<W>>,
    /// The clients that have any waiting, in the order in which they take turns.
    turns: BTreeMap<u64, Network>,
    /// And by how many they have.
    by_size: BTreeSet<(usize, Network)>,
    /// Whose each ticket is.
    owners: BTreeMap<Ticket, Network>,
    /// How many of each lane wait.
    of_lanes: Vec<usize>,
    next_ticket: u64,
    next_turn: u64,
}

/// What waits of one client, by ticket.
#[derive(Debug)]
struct Flow<W> {
    entries: VecDeque<Entry<W>>,
    turn: u64,
}

#[derive(Debug)]
struct Entry<W> {
    ticket: Ticket,
    group: Group,
    since: Instant,
    waiter: W,
}

/// Tells one who waits from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self {
            flows: HashMap::new(),
            turns: BTreeMap::new(),
            by_size: BTreeSet::new(),
            owners: BTreeMap::new(),
            of_lanes: Vec::new(),
            next_ticket: 0,
            next_turn: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// How many of a lane wait.
    pub(super) fn of_lane(&self, lane: usize) -> usize {
        self.of_lanes.get(lane).copied().unwrap_or_default()
    }

    pub(super) fn push(&mut self, group: Group, waiter: W, now: Instant) -> Ticket {
        let Group { lane, client, .. } = group;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if self.of_lanes.len() <= lane {
            self.of_lanes.resize(lane + 1, 0);
        }
        self.of_lanes[lane] += 1;
        self.owners.insert(ticket, client);
        let (turns, next_turn) = (&mut self.turns, &mut self.next_turn);
        let flow = self.flows.entry(client).or_insert_with(|| {
            let turn = take(next_turn);
            turns.insert(turn, client);
            Flow { entries: VecDeque::new(), turn }
        });
        self.by_size.remove(&(flow.entries.len(), client));
        flow.entries.push_back(Entry { ticket, group, since: now, waiter });
        self.by_size.insert((flow.entries.len(), client));
        ticket
    }

    /// Takes out the next one whose lane `has_room` for its client.
    pub(super) fn pop(&mut self, now: Instant, has_room: impl Fn(usize, Network) -> bool) -> Option<(Group, W)> {
        let (client, index) = self.turns.values().find_map(|client| {
            let fits = |entry: &Entry<W>| has_room(entry.group.lane, *client);
            let entries = &self.flows.get(client)?.entries;
            let first = entries.iter().position(fits)?;
            let is_late = now.saturating_duration_since(entries[first].since) > LONG;
            Some((*client, if is_late { entries.iter().rposition(fits)? } else { first }))
        })?;
        let entry = self.take(client, index)?;
        if let Some(flow) = self.flows.get_mut(&client) {
            self.turns.remove(&flow.turn);
            flow.turn = take(&mut self.next_turn);
            self.turns.insert(flow.turn, client);
        }
        Some((entry.group, entry.waiter))
    }

    /// Takes out the first one, of this lane if one is named, of the client that has most waiting; not, if `client` would
    /// then have as many.
    pub(super) fn displace(&mut self, client: Network, lane: Option<usize>) -> Option<W> {
        let own = self.flows.get(&client).map_or(0, |flow| flow.entries.len());
        let is_meant = |entry: &Entry<W>| lane.is_none_or(|lane| entry.group.lane == lane);
        let larger = self.by_size.iter().rev().take_while(|(size, _)| *size > own + 1);
        let (largest, index) = larger
            .filter_map(|(_, client)| Some((*client, self.flows.get(client)?.entries.iter().position(is_meant)?)))
            .next()?;
        self.take(largest, index).map(|entry| entry.waiter)
    }

    /// Takes out those whose time to wait is up.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<W> {
        let mut late = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now)
            && let Some((_, &client)) = self.owners.first_key_value()
        {
            late.extend(self.take(client, 0).map(|entry| entry.waiter));
        }
        late
    }

    /// When the time of the first one is up, if any waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (_, client) = self.owners.first_key_value()?;
        self.flows.get(client)?.entries.front().map(|entry| entry.since + QUEUE_DEADLINE)
    }

    /// Takes out one that waits no longer; whether it was there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(&client) = self.owners.get(&ticket) else { return false };
        let index =
            self.flows.get(&client).map(|flow| flow.entries.binary_search_by_key(&ticket, |entry| entry.ticket));
        index.is_some_and(|index| index.is_ok_and(|index| self.take(client, index).is_some()))
    }

    fn take(&mut self, client: Network, index: usize) -> Option<Entry<W>> {
        let flow = self.flows.get_mut(&client)?;
        let size = flow.entries.len();
        let entry = flow.entries.remove(index)?;
        self.by_size.remove(&(size, client));
        if size > 1 {
            self.by_size.insert((size - 1, client));
        } else {
            self.turns.remove(&flow.turn);
            self.flows.remove(&client);
        }
        self.owners.remove(&entry.ticket);
        self.of_lanes[entry.group.lane] -= 1;
        Some(entry)
    }
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::admission::lanes::Kind;

    const ONE: Network = Network::V4(Ipv4Addr::LOCALHOST);
    const OTHER: Network = Network::Unknown;

    fn of(lane: usize, client: Network) -> Group {
        Group { lane, kind: Kind::Read, client }
    }

    fn pop(queue: &mut Queue<char>, now: Instant, has_room: impl Fn(usize, Network) -> bool) -> Option<char> {
        queue.pop(now, has_room).map(|(_, waiter)| waiter)
    }

    #[test]
    fn whoever_has_waited_until_the_deadline_is_swept_out() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        assert_eq!(queue.deadline(), None);
        queue.push(of(0, ONE), 'a', now);
        queue.push(of(1, ONE), 'b', now);
        queue.push(of(0, ONE), 'c', now + LONG);
        assert_eq!(queue.deadline(), Some(now + QUEUE_DEADLINE));
        assert!(queue.sweep(now + QUEUE_DEADLINE - LONG).is_empty());
        assert_eq!(queue.sweep(now + QUEUE_DEADLINE), ['a', 'b']);
        assert_eq!((queue.len(), queue.of_lane(0), queue.of_lane(1)), (1, 1, 0));
        assert_eq!(queue.deadline(), Some(now + LONG + QUEUE_DEADLINE));
    }

    #[test]
    fn the_first_one_whose_lane_has_room_is_first_and_once_it_has_waited_long_the_last() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        let waiters = [(0, 'a'), (1, 'b'), (0, 'c'), (1, 'd'), (0, 'e')];
        let tickets = waiters.map(|(lane, waiter)| queue.push(of(lane, ONE), waiter, now));
        assert_eq!(pop(&mut queue, now + LONG, |lane, _| lane == 1), Some('b'));
        assert_eq!((queue.len(), queue.of_lane(1)), (4, 1));
        assert!(queue.remove(tickets[3]) && !queue.remove(tickets[3]) && !queue.remove(tickets[1]));
        let late = now + LONG + Duration::from_millis(1);
        assert_eq!(pop(&mut queue, late, |_, _| true), Some('e'));
        assert_eq!(pop(&mut queue, late, |lane, _| lane == 1), None);
        assert_eq!(pop(&mut queue, now, |_, _| true), Some('a'));
        queue.push(of(1, ONE), 'f', late);
        queue.push(of(1, ONE), 'g', late);
        assert_eq!(
            pop(&mut queue, late, |lane, _| lane == 1),
            Some('f'),
            "who of the lane comes first has not waited long"
        );
    }

    #[test]
    fn clients_take_turns_however_many_each_has_waiting() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for waiter in ['a', 'b', 'c'] {
            queue.push(of(0, ONE), waiter, now);
        }
        queue.push(of(0, OTHER), 'x', now);
        queue.push(of(0, OTHER), 'y', now);
        let order: String = std::iter::from_fn(|| pop(&mut queue, now, |_, _| true)).collect();
        assert_eq!(order, "axbyc");
        assert!(queue.flows.is_empty() && queue.turns.is_empty() && queue.by_size.is_empty());
    }

    #[test]
    fn a_client_whose_lane_has_no_room_holds_up_no_other() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.push(of(0, ONE), 'a', now);
        queue.push(of(1, OTHER), 'x', now);
        assert_eq!(pop(&mut queue, now, |lane, _| lane == 1), Some('x'));
    }

    #[test]
    fn who_has_most_waiting_gives_way_to_who_would_still_have_fewer() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (lane, waiter) in [(0, 'a'), (1, 'b'), (0, 'c')] {
            queue.push(of(lane, ONE), waiter, now);
        }
        assert_eq!(queue.displace(ONE, None), None);
        assert_eq!(queue.displace(OTHER, Some(1)), Some('b'));
        queue.push(of(1, OTHER), 'x', now);
        assert_eq!(queue.displace(OTHER, None), None, "it would have as many");
        assert_eq!((queue.len(), queue.of_lane(0), queue.of_lane(1)), (3, 2, 1));
    }
}
