//! Requests that wait for room, the last one first.
//!
//! In a burst that the process can work off, everybody gets through before the time is up, whatever the order. In
//! an overload somebody is refused in any case: whoever got in last is served as fast as ever, and those before it are
//! refused when their time is up. Meanwhile they keep the queue full, so most of what comes is refused at once, which costs
//! less than to wait and be told. First come, first served, everyone would wait for as long as anyone is
//! allowed to, and clients that have given up would be served before those that still wait.

use std::collections::VecDeque;

/// The line. Its length is for whoever adds to it to mind.
#[derive(Debug)]
pub(super) struct Queue<W> {
    waiting: VecDeque<Entry<W>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<W> {
    ticket: Ticket,
    lane: usize,
    waiter: W,
}

/// Tells one who waits from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of a lane wait.
    pub(super) fn of_lane(&self, lane: usize) -> usize {
        self.waiting.iter().filter(|entry| entry.lane == lane).count()
    }

    pub(super) fn push(&mut self, lane: usize, waiter: W) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(Entry { ticket, lane, waiter });
        ticket
    }

    /// Takes out the last one whose lane `has_room`.
    pub(super) fn pop(&mut self, has_room: impl Fn(usize) -> bool) -> Option<(usize, W)> {
        let index = self.waiting.iter().rposition(|entry| has_room(entry.lane))?;
        self.waiting.remove(index).map(|entry| (entry.lane, entry.waiter))
    }

    /// Takes out one that waits no longer; whether it was there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let index = self.waiting.iter().position(|entry| entry.ticket == ticket);
        index.and_then(|index| self.waiting.remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_whose_lane_has_room_is_first() {
        let mut queue = Queue::new();
        let tickets = [(0, 'a'), (1, 'b'), (0, 'c'), (1, 'd')].map(|(lane, waiter)| queue.push(lane, waiter));
        assert_eq!(queue.pop(|lane| lane == 0), Some((0, 'c')));
        assert_eq!((queue.len(), queue.of_lane(1)), (3, 2));
        assert!(queue.remove(tickets[3]) && !queue.remove(tickets[3]) && !queue.remove(tickets[2]));
        assert_eq!(queue.pop(|_| true), Some((1, 'b')));
        assert_eq!(queue.pop(|lane| lane == 1), None);
        assert_eq!(queue.pop(|_| true), Some((0, 'a')));
    }
}
