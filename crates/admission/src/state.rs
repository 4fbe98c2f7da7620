//! The state of a gate: which requests are in flight, which wait, and which one is admitted next. It has no I/O and no clock;
//! the caller passes the time in.
//!
//! Invariants:
//! - Every offered request is in flight, completed, rejected, abandoned, or waiting.
//! - After a completion, no request waits that could be admitted.
//! - More requests compete for the process than the limit allows only after the limit has fallen, a stalled bulkhead has
//!   recovered, or paused requests have resumed.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    QUEUE_DEADLINE,
    bulkheads::{Bulkheads, Group, available_to, reserved_of},
    clients::PermitCounts,
    limit::{Bounds, Limit, Window},
    queue::{Queue, Ticket},
    stats::GateStats,
};
use crate::ClientKey;

/// The minimum time between two changes of the limit.
const WINDOW: Duration = Duration::from_millis(100);
/// The minimum number of completed requests between two changes of the limit.
const WINDOW_SAMPLES: usize = 20;
/// The queue may have at least this length, even if the limit is lower.
const MIN_QUEUE_LEN: usize = 64;
/// The queue may have the length that is served in this time, which is half of the deadline.
const QUEUE_DRAIN_TIME: Duration = Duration::from_millis(QUEUE_DEADLINE.as_millis() as u64 / 2);
/// The minimum time between two reports of rejections.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The decision on an offered request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The request is in flight.
    Admitted,
    /// The request waits.
    Queued(Ticket),
    /// Too many requests wait already.
    Rejected,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Completion {
    /// The latency, if the request was served. A failed request says nothing about the latency of served ones.
    pub latency: Option<Duration>,
    /// Whether another limit behind the gate rejected the request.
    pub rejected_downstream: bool,
    /// Whether the request was paused, so that it no longer counts as in flight.
    pub paused: bool,
}

/// The state of one gate. `W` is notified by being returned (admitted) or dropped (rejected).
#[derive(Debug)]
pub(super) struct State<C, W> {
    limit: Limit,
    bulkheads: Bulkheads,
    in_flight: usize,
    permits: PermitCounts,
    /// Clients without permits that were admitted above the limit, until they have no permits again.
    over_limit_clients: HashSet<C>,
    queue: Queue<C, W>,
    /// Whether a task sweeps the queue.
    sweeper_runs: bool,
    counts: GateStats,
    window_start: Instant,
    samples: usize,
    served: usize,
    /// Requests served per second in the last window.
    rate: f64,
    /// The maximum number of requests in flight in this window.
    peak: usize,
    /// The maximum number of requests that competed for the process in this window.
    competing: usize,
    saturated: bool,
    rejected_downstream: bool,
    delay: Duration,
    last_report_at: Option<Instant>,
}

impl<C: ClientKey, W> State<C, W> {
    pub(super) fn new(initial: f64, bounds: Bounds, now: Instant) -> Self {
        Self {
            limit: Limit::new(initial, bounds),
            bulkheads: Bulkheads::new(),
            in_flight: 0,
            permits: PermitCounts::new(),
            over_limit_clients: HashSet::new(),
            queue: Queue::new(),
            sweeper_runs: false,
            counts: GateStats::default(),
            window_start: now,
            samples: 0,
            served: 0,
            rate: 0.0,
            peak: 0,
            competing: 0,
            saturated: false,
            rejected_downstream: false,
            delay: Duration::ZERO,
            last_report_at: None,
        }
    }

    /// Returns the index of the bulkhead of this name; without a name, that of requests that need no particular backend.
    pub(super) fn bulkhead(&mut self, name: Option<&str>) -> usize {
        self.bulkheads.index_of(name)
    }

    /// Decides on a request that arrives at `now`; `waiter` is called if it has to wait. A waiter that is evicted for it is
    /// dropped.
    pub(super) fn offer(&mut self, group: Group<C>, now: Instant, waiter: impl FnOnce() -> W) -> Decision {
        self.counts.offered += 1;
        let Group { bulkhead, client, .. } = group;
        let (limit, held) = (self.limit.get(), self.permits.held_by(client));
        let has_room = self.bulkheads.has_room(bulkhead, limit, held);
        // After the limit has fallen, the reserved permits may be in use. As many clients without permits are admitted above it.
        let is_first_over_limit = !has_room
            && held == 0
            && !self.bulkheads.is_stalled(bulkhead)
            && self.over_limit_clients.len() < reserved_of(limit).max(1);
        if is_first_over_limit {
            self.over_limit_clients.insert(client);
        }
        if has_room || is_first_over_limit {
            self.counts.admitted += 1;
            self.enter(group);
            return Decision::Admitted;
        }
        let is_stalled = self.bulkheads.record_rejection(bulkhead, limit, held, now);
        self.saturated |= self.bulkheads.competing() >= available_to(limit, held);
        let length = limit.max(MIN_QUEUE_LEN).max((self.rate * QUEUE_DRAIN_TIME.as_secs_f64()) as usize);
        if is_stalled {
            self.counts.rejected += 1;
            return Decision::Rejected;
        }
        let is_bulkhead_full = self.queue.waiting_for(bulkhead) >= self.bulkheads.share(bulkhead, length);
        if is_bulkhead_full || self.queue.len() >= length {
            self.counts.rejected += 1;
            if self.queue.evict(client, is_bulkhead_full.then_some(bulkhead)).is_none() {
                return Decision::Rejected;
            }
        }
        self.counts.queued += 1;
        Decision::Queued(self.queue.push(group, waiter(), now))
    }

    /// Returns whether the caller must start a task that sweeps the queue: requests wait and no such task runs.
    pub(super) fn start_sweeper(&mut self) -> bool {
        self.queue.len() > 0 && !std::mem::replace(&mut self.sweeper_runs, true)
    }

    /// Rejects the requests that have waited until their deadline. Returns their waiters, and the next deadline if any wait.
    pub(super) fn take_expired(&mut self, now: Instant) -> (Vec<W>, Option<Instant>) {
        let late = self.queue.take_expired(now);
        self.counts.rejected += late.len() as u64;
        let next = self.queue.deadline();
        self.sweeper_runs = next.is_some();
        (late, next)
    }

    /// Removes a request whose client has gone away while it waited.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.counts.abandoned += u64::from(self.queue.remove(ticket));
    }

    /// Stops counting a request as in flight while it waits for its client; returns the waiters that are admitted instead.
    pub(super) fn pause(&mut self, group: Group<C>, now: Instant) -> Vec<W> {
        self.exit(group);
        self.admit_waiting(now)
    }

    /// Counts a paused request as in flight again, regardless of the limit.
    pub(super) fn resume(&mut self, group: Group<C>) {
        self.enter(group);
    }

    /// Completes a request; returns the waiters that are admitted instead.
    pub(super) fn finish(&mut self, group: Group<C>, completion: Completion, now: Instant) -> Vec<W> {
        if !completion.paused {
            self.exit(group);
        }
        if let Some(latency) = completion.latency {
            self.bulkheads.record(&group, latency);
        }
        self.rejected_downstream |= completion.rejected_downstream;
        self.samples += usize::from(completion.latency.is_some() || completion.rejected_downstream);
        self.served += usize::from(completion.latency.is_some());
        if self.samples >= WINDOW_SAMPLES && now.saturating_duration_since(self.window_start) >= WINDOW {
            self.end_window(now);
        }
        self.admit_waiting(now)
    }

    /// Returns the statistics to log after a rejection; none if that was done within [`REPORT_INTERVAL`].
    pub(super) fn rejection_report(&mut self, now: Instant) -> Option<GateStats> {
        if self.last_report_at.is_some_and(|at| now.saturating_duration_since(at) < REPORT_INTERVAL) {
            return None;
        }
        self.last_report_at = Some(now);
        Some(self.stats())
    }

    pub(super) fn stats(&self) -> GateStats {
        GateStats {
            limit: self.limit.get(),
            in_flight: self.in_flight,
            waiting: self.queue.len(),
            delay: self.delay,
            ..self.counts
        }
    }

    fn enter(&mut self, group: Group<C>) {
        self.in_flight += 1;
        self.permits.add(group.client);
        self.bulkheads.enter(group.bulkhead);
        self.peak = self.peak.max(self.in_flight);
        self.competing = self.competing.max(self.bulkheads.competing());
    }

    fn exit(&mut self, group: Group<C>) {
        self.in_flight -= 1;
        if self.permits.remove(group.client) && !self.over_limit_clients.is_empty() {
            self.over_limit_clients.remove(&group.client);
        }
        self.bulkheads.exit(group.bulkhead);
    }

    fn admit_waiting(&mut self, now: Instant) -> Vec<W> {
        let mut admitted = Vec::new();
        let limit = self.limit.get();
        while let Some((group, waiter)) = self
            .queue
            .pop(now, |bulkhead, client| self.bulkheads.has_room(bulkhead, limit, self.permits.held_by(client)))
        {
            self.counts.admitted += 1;
            self.enter(group);
            admitted.push(waiter);
        }
        admitted
    }

    fn end_window(&mut self, now: Instant) {
        let slowdown = self.bulkheads.end_window(self.limit.load(self.peak));
        self.delay = slowdown.map_or(self.delay, |slowdown| slowdown.delay);
        self.rate = self.served as f64 / now.saturating_duration_since(self.window_start).as_secs_f64().max(1e-3);
        let (peak, saturated, rejected_downstream) =
            (self.competing, self.saturated || self.bulkheads.any_saturated(), self.rejected_downstream);
        self.limit.update(Window { slowdown, peak, rate: self.rate, saturated, rejected_downstream });
        (self.window_start, self.samples, self.served) = (now, 0, 0);
        (self.peak, self.competing) = (self.in_flight, self.bulkheads.competing());
        (self.saturated, self.rejected_downstream) = (false, false);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
