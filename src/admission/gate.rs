//! What is under way, what waits, and what is let in next. It decides without I/O and without a clock: whoever asks says
//! what time it is.
//!
//! Invariants: a request that came is under way, has ended, was refused, went away, or waits; nobody waits who could be let
//! in; more are under way than the limit says only after it has fallen, and where requests go on that had paused.

use std::time::{Duration, Instant};

use super::{
    latency::{Latency, Slowdown, tolerance},
    limit::{Bounds, Limit, Window},
    queue::{Queue, Ticket},
    stats::Counts,
};

/// The limit moves at most this often,
const WINDOW: Duration = Duration::from_millis(100);
/// and not before so many requests have been answered.
const WINDOW_SAMPLES: usize = 20;
/// How many may wait even where the limit is lower.
const QUEUE_LEAST: usize = 64;
/// How often refusals are told of.
const TELL: Duration = Duration::from_secs(10);

/// What of a request is known beforehand to tell how long it should take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It may.
    Change,
}

/// Requests that should take the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub lane: usize,
    pub kind: Kind,
}

/// What becomes of a request that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is under way.
    Admitted,
    /// It waits.
    Waits(Ticket),
    /// It is refused.
    Shed,
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

/// Requests that need the same shard; the first lane is of those that need none.
#[derive(Debug, Default)]
struct Lane {
    name: String,
    in_flight: usize,
    /// Of reads and changes.
    latencies: [Latency; 2],
    /// Whether it is slower than the others by itself.
    slow: bool,
}

/// The gate of one class.
#[derive(Debug)]
pub(super) struct Gate<W> {
    limit: Limit,
    lanes: Vec<Lane>,
    in_flight: usize,
    queue: Queue<W>,
    counts: Counts,
    window_since: Instant,
    samples: usize,
    peak: usize,
    pressed: bool,
    refused: bool,
    delay: Duration,
    told: Option<Instant>,
}

impl<W> Gate<W> {
    pub(super) fn new(start: f64, bounds: Bounds, now: Instant) -> Self {
        Self {
            limit: Limit::new(start, bounds),
            lanes: vec![Lane::default()],
            in_flight: 0,
            queue: Queue::new(),
            counts: Counts::default(),
            window_since: now,
            samples: 0,
            peak: 0,
            pressed: false,
            refused: false,
            delay: Duration::ZERO,
            told: None,
        }
    }

    /// The lane of a shard, or of requests that need none.
    pub(super) fn lane(&mut self, shard: Option<&str>) -> usize {
        let Some(shard) = shard else { return 0 };
        let known = self.lanes.iter().skip(1).position(|lane| lane.name == shard);
        known.map_or_else(
            || {
                self.lanes.push(Lane { name: shard.to_owned(), ..Lane::default() });
                self.lanes.len() - 1
            },
            |index| index + 1,
        )
    }

    /// Decides on a request that comes now; `waiter` makes whom to tell if it has to wait.
    pub(super) fn offer(&mut self, lane: usize, waiter: impl FnOnce() -> W) -> Decision {
        self.counts.offered += 1;
        if self.has_room(lane) {
            self.counts.admitted += 1;
            self.enter(lane);
            return Decision::Admitted;
        }
        // A shard that is slow can't do more with more requests, and whoever is held up by it is no reason to take more.
        self.pressed |= self.in_flight >= self.limit.get() || !self.lanes[lane].slow;
        let length = self.limit.get().max(QUEUE_LEAST);
        if self.queue.len() >= length || self.queue.of_lane(lane) >= part(&self.lanes, lane, length) {
            self.counts.shed += 1;
            return Decision::Shed;
        }
        self.counts.queued += 1;
        Decision::Waits(self.queue.push(lane, waiter()))
    }

    /// Refuses one whose time to wait is up, unless it was let in meanwhile; whether it did.
    pub(super) fn expire(&mut self, ticket: Ticket) -> bool {
        let waits = self.queue.remove(ticket);
        self.counts.shed += u64::from(waits);
        waits
    }

    /// Forgets one that went away while it waited.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.counts.abandoned += u64::from(self.queue.remove(ticket));
    }

    /// Gives a place back for as long as a request waits for its client, and returns who gets in.
    pub(super) fn pause(&mut self, lane: usize) -> Vec<W> {
        self.exit(lane);
        self.let_in()
    }

    /// Takes a place for a request that goes on, whether or not there is one: it was let in before.
    pub(super) fn resume(&mut self, lane: usize) {
        self.enter(lane);
    }

    /// Ends a request, and returns who gets in.
    pub(super) fn finish(&mut self, group: Group, ending: Ending, now: Instant) -> Vec<W> {
        if !ending.paused {
            self.exit(group.lane);
        }
        if let Some(took) = ending.took {
            self.lanes[group.lane].latencies[group.kind as usize].record(took);
        }
        self.refused |= ending.refused;
        self.samples += usize::from(ending.took.is_some() || ending.refused);
        if self.samples >= WINDOW_SAMPLES && now.saturating_duration_since(self.window_since) >= WINDOW {
            self.close_window(now);
        }
        self.let_in()
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

    fn enter(&mut self, lane: usize) {
        self.in_flight += 1;
        self.lanes[lane].in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
    }

    fn exit(&mut self, lane: usize) {
        self.in_flight -= 1;
        self.lanes[lane].in_flight -= 1;
    }

    fn has_room(&self, lane: usize) -> bool {
        let limit = self.limit.get();
        self.in_flight < limit && self.lanes[lane].in_flight < part(&self.lanes, lane, limit)
    }

    fn let_in(&mut self) -> Vec<W> {
        let mut entered = Vec::new();
        let limit = self.limit.get();
        while self.in_flight < limit {
            let lanes = &self.lanes;
            let next = self.queue.pop(|lane| lanes[lane].in_flight < part(lanes, lane, limit));
            let Some((lane, waiter)) = next else { break };
            self.counts.admitted += 1;
            self.enter(lane);
            entered.push(waiter);
        }
        entered
    }

    fn close_window(&mut self, now: Instant) {
        let load = self.limit.load(self.peak);
        let slowdowns: Vec<Option<Slowdown>> = self
            .lanes
            .iter_mut()
            .map(|lane| {
                let [read, change] = &mut lane.latencies;
                least(read.close(load), change.close(load))
            })
            .collect();
        let slowdown = slowdowns.iter().copied().fold(None, least);
        self.delay = slowdown.map_or(self.delay, |slowdown| slowdown.delay);
        let most = part(&self.lanes, 1, self.limit.get());
        for (lane, own) in self.lanes.iter_mut().zip(slowdowns).skip(1) {
            lane.slow = match own {
                Some(own) => own.delay > self.delay + tolerance(own.baseline),
                // Its requests don't even end.
                None => lane.in_flight >= most,
            };
        }
        self.limit.follow(Window { slowdown, peak: self.peak, pressed: self.pressed, refused: self.refused });
        (self.window_since, self.samples, self.peak) = (now, 0, self.in_flight);
        (self.pressed, self.refused) = (false, false);
    }
}

/// How much of a whole one lane may have: a shard nearly twice its share, so that the others go on when it hangs.
fn part(lanes: &[Lane], lane: usize, whole: usize) -> usize {
    let shards = lanes.len() - 1;
    if lane == 0 || shards < 2 { whole } else { (2 * whole).div_ceil(shards + 1) }
}

/// The least of both: what slows everyone slows these too.
fn least(one: Option<Slowdown>, other: Option<Slowdown>) -> Option<Slowdown> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Slowdown { baseline: one.baseline.min(other.baseline), delay: one.delay.min(other.delay) })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
