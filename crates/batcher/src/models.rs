//! Batch slots in every interleaving of a few threads, by the model checker loom (`scripts/test`).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::*;

/// What happened to a waiter.
#[derive(Debug, Default)]
struct Fate {
    answered: AtomicUsize,
    dropped: AtomicUsize,
}

/// A waiter for the row of a key.
#[derive(Debug)]
struct Waiter {
    key: u8,
    is_answered: bool,
    fate: Arc<Fate>,
}

impl Waiter {
    fn answer(mut self, row: u8) {
        assert_eq!(row, self.key, "another key's row");
        self.is_answered = true;
        self.fate.answered.fetch_add(1, SeqCst);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.is_answered {
            self.fate.dropped.fetch_add(1, SeqCst);
        }
    }
}

/// Faults of a run.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// The task that sends this key panics.
    panics_on: Option<u8>,
    /// Waiters for this key expire while a batch is in flight.
    expires: Option<u8>,
}

/// Looks up `key` as [`Batcher::find`] does.
fn look_up(scheduler: &Arc<Scheduler<u8, Waiter>>, key: u8, Faults { panics_on, expires }: Faults) -> Arc<Fate> {
    let fate = Arc::new(Fate::default());
    let Some(mut slot) = scheduler.add(key, Waiter { key, is_answered: false, fate: Arc::clone(&fate) }) else {
        return fate;
    };
    let sending = move || {
        while let Some(mut batch) = slot.next_batch() {
            drop(slot.expire(|waiter| Some(waiter.key) == expires, |_| ()));
            for key in batch.keys() {
                if Some(key) == panics_on {
                    // A panic without its message.
                    resume_unwind(Box::new("the batch panics"));
                }
                batch.take(&key).into_iter().for_each(|waiter| waiter.answer(key));
            }
        }
    };
    if catch_unwind(AssertUnwindSafe(sending)).is_err() {
        assert!(panics_on.is_some());
    }
    fate
}

/// Checks that every waiter of three concurrent lookups is answered or dropped exactly once.
fn check(limits: BatchLimits, keys: [u8; 3], faults: Faults) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let scheduler = Arc::new(Scheduler::new(limits));
        let others: Vec<_> = keys[1..]
            .iter()
            .map(|&key| {
                let scheduler = Arc::clone(&scheduler);
                thread::spawn(move || look_up(&scheduler, key, faults))
            })
            .collect();
        let mut fates = vec![look_up(&scheduler, keys[0], faults)];
        fates.extend(others.into_iter().map(|other| other.join().expect("no panic")));
        assert_eq!(scheduler.counts(), (0, 0), "a key waits, or a slot is lost");
        for fate in fates {
            let (answered, dropped) = (fate.answered.load(SeqCst), fate.dropped.load(SeqCst));
            assert_eq!(answered + dropped, 1, "answered {answered} times, dropped {dropped} times");
            assert!(faults.panics_on.or(faults.expires).is_some() || answered == 1, "dropped without a fault");
        }
    });
}

#[test]
fn every_lookup_gets_its_own_row_once() {
    check(BatchLimits { max_in_flight: 1, max_keys: 2 }, [1, 2, 3], Faults::default());
}

#[test]
fn with_two_slots_every_lookup_gets_its_own_row_once() {
    check(BatchLimits { max_in_flight: 2, max_keys: 1 }, [1, 2, 3], Faults::default());
}

#[test]
fn lookups_of_one_key_are_all_answered() {
    check(BatchLimits { max_in_flight: 1, max_keys: 2 }, [1, 1, 2], Faults::default());
}

#[test]
fn no_lookup_waits_for_a_batch_that_panicked() {
    check(BatchLimits { max_in_flight: 1, max_keys: 2 }, [1, 2, 3], Faults { panics_on: Some(2), ..Faults::default() });
    check(BatchLimits { max_in_flight: 2, max_keys: 2 }, [1, 2, 3], Faults { panics_on: Some(2), ..Faults::default() });
}

#[test]
fn an_expired_lookup_is_answered_or_expired_and_never_both() {
    check(BatchLimits { max_in_flight: 1, max_keys: 1 }, [1, 2, 2], Faults { expires: Some(2), ..Faults::default() });
    check(BatchLimits { max_in_flight: 2, max_keys: 1 }, [1, 2, 3], Faults { expires: Some(2), ..Faults::default() });
}
