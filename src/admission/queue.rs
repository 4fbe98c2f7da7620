//! Requests that wait for room: the first one first, unless it has waited for long; then the last one.
//!
//! As long as everybody gets in after a short wait, first come is first served, and nobody is refused for having been
//! overtaken. Where even the first has waited for a tenth of what anyone is allowed to, there is more than can be done, and
//! somebody is refused in any case: then whoever came last is served as fast as ever, and those before it are refused when
//! their time is up. Meanwhile they keep the queue full, so most of what comes is refused at once, which costs
//! less than to wait and be told.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::QUEUE_DEADLINE;

/// Who has waited for longer gives way to the last one.
const LONG: Duration = Duration::from_millis(QUEUE_DEADLINE.as_millis() as u64 / 10);

/// The line. Its length is for whoever adds to it to mind.
#[derive(Debug)]
pub(super) struct Queue<W> {
    /// By ticket.
    waiting: VecDeque<Entry<W>>,
    /// How many of each lane wait.
    of_lanes: Vec<usize>,
    next: u64,
}

#[derive(Debug)]
struct Entry<W> {
    ticket: Ticket,
    lane: usize,
    since: Instant,
    waiter: W,
}

/// Tells one who waits from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), of_lanes: Vec::new(), next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of a lane wait.
    pub(super) fn of_lane(&self, lane: usize) -> usize {
        self.of_lanes.get(lane).copied().unwrap_or_default()
    }

    pub(super) fn push(&mut self, lane: usize, waiter: W, now: Instant) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if self.of_lanes.len() <= lane {
            self.of_lanes.resize(lane + 1, 0);
        }
        self.of_lanes[lane] += 1;
        self.waiting.push_back(Entry { ticket, lane, since: now, waiter });
        ticket
    }

    /// Takes out the next one whose lane `has_room`.
    pub(super) fn pop(&mut self, now: Instant, has_room: impl Fn(usize) -> bool) -> Option<(usize, W)> {
        let fits = |entry: &Entry<W>| has_room(entry.lane);
        let first = self.waiting.iter().position(fits)?;
        let is_late = now.saturating_duration_since(self.waiting[first].since) > LONG;
        let index = if is_late { self.waiting.iter().rposition(fits)? } else { first };
        self.take(index).map(|entry| (entry.lane, entry.waiter))
    }

    /// Takes out those whose time to wait is up.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<W> {
        let mut late = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            late.extend(self.take(0).map(|entry| entry.waiter));
        }
        late
    }

    /// When the time of the first one is up, if any waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|entry| entry.since + QUEUE_DEADLINE)
    }

    /// Takes out one that waits no longer; whether it was there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let index = self.waiting.binary_search_by_key(&ticket, |entry| entry.ticket);
        index.is_ok_and(|index| self.take(index).is_some())
    }

    fn take(&mut self, index: usize) -> Option<Entry<W>> {
        let entry = self.waiting.remove(index)?;
        self.of_lanes[entry.lane] -= 1;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_waited_until_the_deadline_is_swept_out() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        assert_eq!(queue.deadline(), None);
        queue.push(0, 'a', now);
        queue.push(1, 'b', now);
        queue.push(0, 'c', now + LONG);
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
        let tickets = waiters.map(|(lane, waiter)| queue.push(lane, waiter, now));
        assert_eq!(queue.pop(now + LONG, |lane| lane == 1), Some((1, 'b')));
        assert_eq!((queue.len(), queue.of_lane(1)), (4, 1));
        assert!(queue.remove(tickets[3]) && !queue.remove(tickets[3]) && !queue.remove(tickets[1]));
        let late = now + LONG + Duration::from_millis(1);
        assert_eq!(queue.pop(late, |_| true), Some((0, 'e')));
        assert_eq!(queue.pop(late, |lane| lane == 1), None);
        assert_eq!(queue.pop(now, |_| true), Some((0, 'a')));
        queue.push(1, 'f', late);
        queue.push(1, 'g', late);
        assert_eq!(
            queue.pop(late, |lane| lane == 1),
            Some((1, 'f')),
            "who of the lane comes first has not waited long"
        );
    }
}
