//! What is under way, what waits, and what is let in next. It decides without I/O and without a clock: whoever asks says
//! what time it is.
//!
//! Invariants: a request that came is under way, has ended, was refused, went away, or waits; once one ends, nobody waits who
//! could be let in; more compete for the process than the limit says only after it has fallen or a shard hangs no more, and
//! where requests go on that had paused.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    QUEUE_DEADLINE,
    held::Held,
    lanes::{Group, Lanes, kept_of, open_to},
    limit::{Bounds, Limit, Window},
    queue::{Queue, Ticket},
    stats::Counts,
};
use crate::model::Network;

/// The limit moves at most this often,
const WINDOW: Duration = Duration::from_millis(100);
/// and not before so many requests have been answered.
const WINDOW_SAMPLES: usize = 20;
/// How many may wait even where the limit is lower,
const QUEUE_LEAST: usize = 64;
/// as may those that are served in this time: half of what the first of them may wait.
const QUEUE_TIME: Duration = Duration::from_millis(QUEUE_DEADLINE.as_millis() as u64 / 2);
/// How often refusals are told of.
const TELL: Duration = Duration::from_secs(10);

/// What becomes of a request that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is under way.
    Admitted,
    /// It waits.
    Waits(Ticket),
    /// Too many wait already.
    Refused,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ending {
    /// How long it took, if it was served: what fails says nothing about what serving takes.
    pub took: Option<Duration>,
    /// Whether something behind refused it for want of room.
    pub refused: bool,
    /// Whether its place had been given back already.
    pub paused: bool,
}

/// The gate of one class.
#[derive(Debug)]
pub(super) struct Gate<W> {
    limit: Limit,
    lanes: Lanes,
    in_flight: usize,
    held: Held,
    /// Clients that held nothing and were let in though there was no place; until they hold nothing again.
    guests: HashSet<Network>,
    queue: Queue<W>,
    /// Whether somebody sweeps the queue.
    swept: bool,
    counts: Counts,
    window_since: Instant,
    samples: usize,
    served: usize,
    /// How many were served a second, as of the last window.
    rate: f64,
    /// The most that were under way,
    peak: usize,
    /// and the most that competed for the process.
    competing: usize,
    pressed: bool,
    refused: bool,
    delay: Duration,
    told: Option<Instant>,
}

impl<W> Gate<W> {
    pub(super) fn new(start: f64, bounds: Bounds, now: Instant) -> Self {
        Self {
            limit: Limit::new(start, bounds),
            lanes: Lanes::new(),
            in_flight: 0,
            held: Held::new(),
            guests: HashSet::new(),
            queue: Queue::new(),
            swept: false,
            counts: Counts::default(),
            window_since: now,
            samples: 0,
            served: 0,
            rate: 0.0,
            peak: 0,
            competing: 0,
            pressed: false,
            refused: false,
            delay: Duration::ZERO,
            told: None,
        }
    }

    /// The lane of a shard, or of requests that need none.
    pub(super) fn lane(&mut self, shard: Option<&str>) -> usize {
        self.lanes.of(shard)
    }

    /// Decides on a request that comes now; `waiter` makes whom to tell if it has to wait. One that gives way to it is
    /// dropped, which tells it.
    pub(super) fn offer(&mut self, group: Group, now: Instant, waiter: impl FnOnce() -> W) -> Decision {
        self.counts.offered += 1;
        let Group { lane, client, .. } = group;
        let (limit, own) = (self.limit.get(), self.held.of(client));
        let has_room = self.lanes.has_room(lane, limit, own);
        // When the limit falls, the places that are kept may be taken already: as many clients get in above it.
        let is_guest = !has_room && own == 0 && !self.lanes.hangs(lane) && self.guests.len() < kept_of(limit).max(1);
        if is_guest {
            self.guests.insert(client);
        }
        if has_room || is_guest {
            self.counts.admitted += 1;
            self.enter(group);
            return Decision::Admitted;
        }
        let is_in_vain = self.lanes.press(lane, limit, own, now);
        self.pressed |= self.lanes.competing() >= open_to(limit, own);
        let length = limit.max(QUEUE_LEAST).max((self.rate * QUEUE_TIME.as_secs_f64()) as usize);
        if is_in_vain {
            self.counts.shed += 1;
            return Decision::Refused;
        }
        let is_lane_full = self.queue.of_lane(lane) >= self.lanes.part(lane, length);
        if is_lane_full || self.queue.len() >= length {
            self.counts.shed += 1;
            if self.queue.displace(client, is_lane_full.then_some(lane)).is_none() {
                return Decision::Refused;
            }
        }
        self.counts.queued += 1;
        Decision::Waits(self.queue.push(group, waiter(), now))
    }

    /// Whether the caller is to sweep from now on, as somebody waits and nobody does.
    pub(super) fn begin_to_sweep(&mut self) -> bool {
        self.queue.len() > 0 && !std::mem::replace(&mut self.swept, true)
    }

    /// Refuses those whose time to wait is up, and returns them and when to sweep again; not, if nobody waits.
    pub(super) fn sweep(&mut self, now: Instant) -> (Vec<W>, Option<Instant>) {
        let late = self.queue.sweep(now);
        self.counts.shed += late.len() as u64;
        let next = self.queue.deadline();
        self.swept = next.is_some();
        (late, next)
    }

    /// Forgets one that went away while it waited.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.counts.abandoned += u64::from(self.queue.remove(ticket));
    }

    /// Gives a place back for as long as a request waits for its client, and returns who gets in.
    pub(super) fn pause(&mut self, group: Group, now: Instant) -> Vec<W> {
        self.exit(group);
        self.let_in(now)
    }

    /// Takes a place for a request that goes on, whether or not there is one: it was let in before.
    pub(super) fn resume(&mut self, group: Group) {
        self.enter(group);
    }

    /// Ends a request, and returns who gets in.
    pub(super) fn finish(&mut self, group: Group, ending: Ending, now: Instant) -> Vec<W> {
        if !ending.paused {
            self.exit(group);
        }
        if let Some(took) = ending.took {
            self.lanes.record(group, took);
        }
        self.refused |= ending.refused;
        self.samples += usize::from(ending.took.is_some() || ending.refused);
        self.served += usize::from(ending.took.is_some());
        if self.samples >= WINDOW_SAMPLES && now.saturating_duration_since(self.window_since) >= WINDOW {
            self.close_window(now);
        }
        self.let_in(now)
    }

    /// What is to be told of a refusal, unless that was done not long ago.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Counts> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL) {
            return None;
        }
        self.told = Some(now);
        Some(self.counts())
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            limit: self.limit.get(),
            in_flight: self.in_flight,
            waiting: self.queue.len(),
            delay: self.delay,
            ..self.counts
        }
    }

    fn enter(&mut self, group: Group) {
        self.in_flight += 1;
        self.held.enter(group.client);
        self.lanes.enter(group.lane);
        self.peak = self.peak.max(self.in_flight);
        self.competing = self.competing.max(self.lanes.competing());
    }

    fn exit(&mut self, group: Group) {
        self.in_flight -= 1;
        if self.held.exit(group.client) && !self.guests.is_empty() {
            self.guests.remove(&group.client);
        }
        self.lanes.exit(group.lane);
    }

    fn let_in(&mut self, now: Instant) -> Vec<W> {
        let mut entered = Vec::new();
        let limit = self.limit.get();
        while let Some((group, waiter)) =
            self.queue.pop(now, |lane, client| self.lanes.has_room(lane, limit, self.held.of(client)))
        {
            self.counts.admitted += 1;
            self.enter(group);
            entered.push(waiter);
        }
        entered
    }

    fn close_window(&mut self, now: Instant) {
        let slowdown = self.lanes.close(self.limit.load(self.peak));
        self.delay = slowdown.map_or(self.delay, |slowdown| slowdown.delay);
        self.rate = self.served as f64 / now.saturating_duration_since(self.window_since).as_secs_f64().max(1e-3);
        let (peak, pressed, refused) = (self.competing, self.pressed || self.lanes.are_pressed(), self.refused);
        self.limit.follow(Window { slowdown, peak, rate: self.rate, pressed, refused });
        (self.window_since, self.samples, self.served) = (now, 0, 0);
        (self.peak, self.competing) = (self.in_flight, self.lanes.competing());
        (self.pressed, self.refused) = (false, false);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
