use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Send,
    Answer,
    /// All waiters but the last ones, of this number, expire.
    Expire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![8 => step_without_expiry(), 1 => (0..8_usize).prop_map(Step::Expire)], 0..200)
}

/// A step without an expiry.
fn step_without_expiry() -> impl Strategy<Value = Step> {
    prop_oneof![4 => (0..6_u8).prop_map(Step::Add), 2 => Just(Step::Send), 2 => Just(Step::Answer)]
}

/// A run of steps, and what beadded of each waiter.
struct Run {
    queue: KeyQueue<u8, usize>,
    limits: BatchLimits,
    /// The key of each waiter.
    added: Vec<u8>,
    /// Waiter, key and batch of everything sent.
    sent: Vec<(usize, u8, usize)>,
    /// Waiters that have expired.
    expired: Vec<usize>,
    batches: usize,
    /// Slots whose batch is about to be sent.
    ready: usize,
    /// Slots whose batch is in flight.
    sending: usize,
}

impl Run {
    fn new(limits: BatchLimits) -> Self {
        let queue = KeyQueue::new(limits);
        let (added, sent, expired) = (Vec::new(), Vec::new(), Vec::new());
        Self { queue, limits, added, sent, expired, batches: 0, ready: 0, sending: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Add(key) => {
                self.added.push(*key);
                self.ready += usize::from(self.queue.add(*key, self.added.len() - 1));
            }
            Step::Send if self.ready > 0 => {
                self.ready -= 1;
                if let Some(batch) = self.queue.next_batch() {
                    self.sending += 1;
                    self.record(batch);
                }
            }
            Step::Answer if self.sending > 0 => {
                self.sending -= 1;
                self.ready += 1;
                self.queue.mark_ready();
            }
            Step::Expire(but) => {
                let due = self.added.len().saturating_sub(*but);
                self.expired.extend(self.queue.expire(|&waiter| waiter < due));
                assert!(self.queue.waiters().all(|&waiter| waiter >= due), "an expired waiter still waits");
            }
            Step::Send | Step::Answer => {}
        }
        let (in_flight, waiting) = (self.queue.in_flight(), self.queue.waiting());
        assert_eq!(in_flight, self.ready + self.sending);
        assert!(in_flight <= self.limits.max_in_flight);
        assert!(
            waiting <= self.ready * self.limits.max_keys || in_flight == self.limits.max_in_flight,
            "a slot is free"
        );
    }

    fn record(&mut self, batch: Batch<u8, usize>) {
        assert!((1..=self.limits.max_keys).contains(&batch.len()));
        let waiters =
            batch.0.into_iter().flat_map(|(key, waiters)| waiters.into_iter().map(move |waiter| (waiter, key)));
        self.sent.extend(waiters.map(|(waiter, key)| (waiter, key, self.batches)));
        self.batches += 1;
    }

    /// Steps until no slot is in use.
    fn end(&mut self) {
        while self.queue.in_flight() > 0 {
            self.step(&Step::Answer);
            self.step(&Step::Send);
        }
    }
}

proptest! {
    #[test]
    fn every_waiter_is_sent_once_with_its_key_or_expires(steps in steps(), max_in_flight in 1..4_usize, max_keys in 1..4_usize) {
        let mut run = Run::new(BatchLimits { max_in_flight, max_keys });
        steps.iter().for_each(|step| run.step(step));
        run.end();
        let waiters: HashSet<usize> = run.sent.iter().map(|&(waiter, ..)| waiter).chain(run.expired.iter().copied()).collect();
        prop_assert_eq!((waiters.len(), run.sent.len() + run.expired.len()), (run.added.len(), run.added.len()));
        for (waiter, key, _) in run.sent {
            prop_assert_eq!(run.added[waiter], key);
        }
    }

    #[test]
    fn keys_are_sent_in_the_order_of_their_first_waiter(steps in vec(step_without_expiry(), 0..200), max_in_flight in 1..4_usize, max_keys in 1..4_usize) {
        let mut run = Run::new(BatchLimits { max_in_flight, max_keys });
        steps.iter().for_each(|step| run.step(step));
        let mut last: Option<(usize, usize)> = None;
        let mut first_of_key: HashMap<(usize, u8), usize> = HashMap::new();
        for &(waiter, key, batch) in &run.sent {
            let first = first_of_key.entry((batch, key)).or_insert(waiter);
            *first = waiter.min(*first);
        }
        let mut firsts: Vec<(usize, usize)> = first_of_key.iter().map(|(&(batch, _), &first)| (batch, first)).collect();
        firsts.sort_unstable();
        for (batch, first) in firsts {
            prop_assert!(last.is_none_or(|(before, latest)| before == batch || latest < first));
            last = Some((batch, last.map_or(first, |(_, latest)| latest.max(first))));
        }
    }

    #[test]
    fn an_abandoned_slot_leaves_no_waiter(steps in steps(), max_in_flight in 1..4_usize, max_keys in 1..4_usize) {
        let mut run = Run::new(BatchLimits { max_in_flight, max_keys });
        steps.iter().for_each(|step| run.step(step));
        run.step(&Step::Add(0));
        let released = run.queue.abandon(run.ready > 0);
        let waiters: HashSet<usize> = run.sent.iter().map(|&(waiter, ..)| waiter).chain(run.expired).chain(released).collect();
        prop_assert_eq!(waiters.len(), run.added.len());
        prop_assert_eq!(run.queue.waiting(), 0);
        prop_assert_eq!(run.queue.in_flight(), run.ready + run.sending - 1);
    }
}
