//! Bulkheads: requests by the backend that they need. So a slow backend neither looks like a slow process nor uses up the
//! whole limit.

use std::time::{Duration, Instant};

use super::{
    QUEUE_DEADLINE,
    latency::{Latency, Load, Slowdown, tolerance},
};

/// Kinds of requests that differ in latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request changes nothing.
    Read,
    /// The request may change data.
    Change,
}

/// The client of a request, and the group of requests that should have the same latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group<C> {
    pub bulkhead: usize,
    pub kind: Kind,
    pub client: C,
}

/// One in this many permits is reserved for clients that hold fewer than are reserved.
const RESERVED_SHARE: usize = 16;

/// All bulkheads. The first is for requests that need no particular backend; the others are added on first use and stay.
#[derive(Debug)]
pub(super) struct Bulkheads {
    bulkheads: Vec<Bulkhead>,
    /// The number of requests in flight in bulkheads that are not stalled.
    competing: usize,
}

#[derive(Debug, Default)]
struct Bulkhead {
    name: String,
    in_flight: usize,
    /// Of reads and of changes.
    latencies: [Latency; 2],
    /// When a request first found the bulkhead full since the last one that was served.
    full_since: Option<Instant>,
    /// Whether it has been full for longer than [`QUEUE_DEADLINE`] without serving a request.
    stalled: bool,
    /// Whether it had no permit for a request in this window.
    saturated: bool,
    /// The number of windows in a row in which it was saturated and not slower than the others.
    saturated_windows: u32,
}

impl Bulkheads {
    pub(super) fn new() -> Self {
        Self { bulkheads: vec![Bulkhead::default()], competing: 0 }
    }

    pub(super) fn index_of(&mut self, name: Option<&str>) -> usize {
        let Some(name) = name else { return 0 };
        let known = self.bulkheads.iter().skip(1).position(|bulkhead| bulkhead.name == name);
        known.map_or_else(
            || {
                self.bulkheads.push(Bulkhead { name: name.to_owned(), ..Bulkhead::default() });
                self.bulkheads.len() - 1
            },
            |index| index + 1,
        )
    }

    pub(super) fn enter(&mut self, bulkhead: usize) {
        let bulkhead = &mut self.bulkheads[bulkhead];
        bulkhead.in_flight += 1;
        self.competing += usize::from(!bulkhead.stalled);
    }

    pub(super) fn exit(&mut self, bulkhead: usize) {
        let bulkhead = &mut self.bulkheads[bulkhead];
        bulkhead.in_flight -= 1;
        self.competing -= usize::from(!bulkhead.stalled);
    }

    /// Returns the number of requests that compete for the process. Requests of stalled bulkheads do not.
    pub(super) fn competing(&self) -> usize {
        self.competing
    }

    /// Returns whether a bulkhead is stalled.
    pub(super) fn is_stalled(&self, bulkhead: usize) -> bool {
        self.bulkheads[bulkhead].stalled
    }

    /// Returns how much of `total` one bulkhead may use. A backend gets nearly twice its even share, so that the others continue
    /// when it stalls.
    pub(super) fn share(&self, bulkhead: usize, total: usize) -> usize {
        let backends = self.bulkheads.len() - 1;
        if bulkhead == 0 || backends < 2 { total } else { (2 * total).div_ceil(backends + 1) }
    }

    /// Returns whether a bulkhead has a permit for a client that holds `held` permits, under a limit for all bulkheads. A stalled
    /// bulkhead uses its own share and no permits of the others.
    pub(super) fn has_room(&self, bulkhead: usize, limit: usize, held: usize) -> bool {
        let Bulkhead { in_flight, stalled, .. } = self.bulkheads[bulkhead];
        in_flight < available_to(self.share(bulkhead, limit), held)
            && (stalled || self.competing < available_to(limit, held))
    }

    /// Records that a bulkhead had no permit for a request. Returns whether the bulkhead is stalled, so that waiting is useless.
    pub(super) fn record_rejection(&mut self, bulkhead: usize, limit: usize, held: usize, now: Instant) -> bool {
        let (is_backend, max) = (bulkhead > 0, available_to(self.share(bulkhead, limit), held));
        let bulkhead = &mut self.bulkheads[bulkhead];
        bulkhead.saturated = true;
        if is_backend && bulkhead.in_flight >= max {
            let is_overdue = now.saturating_duration_since(*bulkhead.full_since.get_or_insert(now)) > QUEUE_DEADLINE;
            if is_overdue && !std::mem::replace(&mut bulkhead.stalled, true) {
                self.competing -= bulkhead.in_flight;
            }
        }
        bulkhead.stalled
    }

    /// Returns whether a bulkhead needs more than its share, as of the last window. A slow backend does not serve more if it gets
    /// more requests, and a backend that pauses shows that only in its second window. Neither is a reason to raise the limit:
    /// the additional requests would all continue at once when the backend recovers.
    pub(super) fn any_saturated(&self) -> bool {
        self.bulkheads.iter().any(|bulkhead| bulkhead.saturated_windows > 1)
    }

    pub(super) fn record<C>(&mut self, group: &Group<C>, latency: Duration) {
        let bulkhead = &mut self.bulkheads[group.bulkhead];
        bulkhead.full_since = None;
        bulkhead.latencies[group.kind as usize].record(latency);
        if std::mem::take(&mut bulkhead.stalled) {
            self.competing += bulkhead.in_flight;
        }
    }

    /// Ends a window, and determines which bulkheads need more than their share. Returns the slowdown that all groups have in
    /// common, which is the smallest one.
    pub(super) fn end_window(&mut self, load: Load) -> Option<Slowdown> {
        let own: Vec<Option<Slowdown>> = self
            .bulkheads
            .iter_mut()
            .map(|bulkhead| {
                let [read, change] = &mut bulkhead.latencies;
                min_slowdown(read.end_window(load), change.end_window(load))
            })
            .collect();
        let all = own.iter().copied().fold(None, min_slowdown);
        let delay = all.map(|all| all.delay).unwrap_or_default();
        for (bulkhead, own) in self.bulkheads.iter_mut().zip(own).skip(1) {
            let is_as_fast = own.is_some_and(|own| own.delay <= delay + tolerance(own.baseline));
            let needs_more = std::mem::take(&mut bulkhead.saturated) && is_as_fast;
            bulkhead.saturated_windows = if needs_more { bulkhead.saturated_windows + 1 } else { 0 };
        }
        all
    }
}

/// Returns how many of `total` permits are reserved for clients that hold fewer.
pub(super) fn reserved_of(total: usize) -> usize {
    total / RESERVED_SHARE
}

/// Returns how many of `total` permits are available to a client that holds `held`.
pub(super) fn available_to(total: usize, held: usize) -> usize {
    let reserved = reserved_of(total);
    if held < reserved { total } else { total - reserved }
}

fn min_slowdown(one: Option<Slowdown>, other: Option<Slowdown>) -> Option<Slowdown> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Slowdown { baseline: one.baseline.min(other.baseline), delay: one.delay.min(other.delay) })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Ends a window with the given latency of reads in each bulkhead.
    fn window(bulkheads: &mut Bulkheads, latencies: &[Duration]) -> Slowdown {
        for (bulkhead, latency) in latencies.iter().enumerate() {
            (0..10).for_each(|_| bulkheads.record(&Group { bulkhead, kind: Kind::Read, client: () }, *latency));
        }
        bulkheads.end_window(Load::Heavy).expect("enough samples")
    }

    #[test]
    fn a_delay_of_one_bulkhead_is_not_common_to_all() {
        let mut bulkheads = Bulkheads::new();
        assert_eq!(["a", "b", "a"].map(|name| bulkheads.index_of(Some(name))), [1, 2, 1]);
        window(&mut bulkheads, &[MS, 5 * MS, 9 * MS]);
        let all = window(&mut bulkheads, &[3 * MS, 7 * MS, 90 * MS]);
        assert_eq!(all, Slowdown { baseline: MS, delay: 2 * MS });
    }

    #[test]
    fn a_full_bulkhead_that_serves_nothing_stalls_and_uses_no_permits_of_the_others() {
        let (mut bulkheads, start) = (Bulkheads::new(), Instant::now());
        let [first, second] = ["a", "b"].map(|name| bulkheads.index_of(Some(name)));
        while bulkheads.has_room(second, 8, 0) {
            bulkheads.enter(second);
        }
        let late = start + QUEUE_DEADLINE + MS;
        assert!(
            !bulkheads.record_rejection(second, 8, 0, start)
                && !bulkheads.record_rejection(second, 8, 0, start + QUEUE_DEADLINE),
            "not for long enough"
        );
        assert!(
            !bulkheads.record_rejection(first, 8, 0, late) && !bulkheads.record_rejection(second, 12, 0, late),
            "not full"
        );
        assert!(bulkheads.record_rejection(second, 8, 0, late));
        (0..8).for_each(|_| bulkheads.enter(0));
        assert_eq!(bulkheads.competing(), 8, "requests of the stalled bulkhead do not compete");
        assert!(!bulkheads.has_room(first, 8, 0) && bulkheads.has_room(first, 9, 0));
        bulkheads.exit(second);
        assert!(bulkheads.has_room(second, 8, 0), "it has its own share");
        let left = bulkheads.bulkheads[second].in_flight;
        bulkheads.record(&Group { bulkhead: second, kind: Kind::Read, client: () }, MS);
        assert_eq!(bulkheads.competing(), 8 + left, "it recovers with the first request that is served");
    }

    #[test]
    fn a_full_bulkhead_does_not_stall_while_it_serves_requests() {
        let (mut bulkheads, start) = (Bulkheads::new(), Instant::now());
        let only = bulkheads.index_of(Some("a"));
        bulkheads.enter(only);
        for at in (0..10).map(|number| start + number * QUEUE_DEADLINE) {
            assert!(!bulkheads.record_rejection(only, 1, 0, at));
            bulkheads.record(&Group { bulkhead: only, kind: Kind::Read, client: () }, MS);
        }
    }

    #[test]
    fn a_bulkhead_is_saturated_only_after_several_windows_in_which_it_was_not_slow() {
        let mut bulkheads = Bulkheads::new();
        let paused = ["a", "b"].map(|name| bulkheads.index_of(Some(name)))[1];
        let mut saturated = |latency| {
            bulkheads.record_rejection(paused, 8, 0, Instant::now());
            window(&mut bulkheads, &[MS, MS, latency]);
            bulkheads.any_saturated()
        };
        assert_eq!([MS, 90 * MS, MS, MS].map(&mut saturated), [false, false, false, true]);
        window(&mut bulkheads, &[MS, MS, MS]);
        assert!(!bulkheads.any_saturated());
    }

    #[test]
    fn the_last_permits_are_reserved_for_clients_that_hold_few() {
        let mut bulkheads = Bulkheads::new();
        let [first, _, _] = ["a", "b", "c"].map(|name| bulkheads.index_of(Some(name)));
        (0..60).for_each(|_| bulkheads.enter(first));
        assert!(
            !bulkheads.has_room(first, 128, 60) && bulkheads.has_room(first, 128, 3),
            "64 are the bulkhead's share, 4 are reserved"
        );
        (0..60).for_each(|_| bulkheads.enter(0));
        assert!(!bulkheads.has_room(0, 128, 60) && bulkheads.has_room(0, 128, 7), "8 of all are reserved");
        assert_eq!([available_to(1, 1), available_to(15, 15), available_to(16, 15)], [1, 15, 15]);
    }
}
