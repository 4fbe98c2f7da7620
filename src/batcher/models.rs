//! Slots in every interleaving of a few threads, by the model checker `loom` (`scripts/test`).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::*;

/// What became of one who waits.
#[derive(Debug, Default)]
struct Fate {
    told: AtomicUsize,
    let_go: AtomicUsize,
}

/// One who waits for the row of a key; dropping it untold lets it go.
#[derive(Debug)]
struct Asker {
    key: u8,
    told: bool,
    fate: Arc<Fate>,
}

impl Asker {
    fn tell(mut self, row: u8) {
        assert_eq!(row, self.key, "another key's row");
        self.told = true;
        self.fate.told.fetch_add(1, SeqCst);
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if !self.told {
            self.fate.let_go.fetch_add(1, SeqCst);
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Mishaps {
    /// Whoever sends this key dies.
    dies: Option<u8>,
    /// Who waits for this key when a batch is under way is late.
    late: Option<u8>,
}

/// Looks `key` up as [`Batcher::find`] does.
fn look_up(slots: &Arc<Slots<u8, Asker>>, key: u8, Mishaps { dies, late }: Mishaps) -> Arc<Fate> {
    let fate = Arc::new(Fate::default());
    let Some(mut slot) = slots.add(key, Asker { key, told: false, fate: Arc::clone(&fate) }) else { return fate };
    let sending = move || {
        while let Some(mut batch) = slot.leave() {
            drop(slot.expire(|asker| Some(asker.key) == late, |_| ()));
            for key in batch.keys() {
                if Some(key) == dies {
                    // A panic, but for the message.
                    resume_unwind(Box::new("the batch dies"));
                }
                batch.take(&key).into_iter().for_each(|asker| asker.tell(key));
            }
        }
    };
    if catch_unwind(AssertUnwindSafe(sending)).is_err() {
        assert!(dies.is_some());
    }
    fate
}

/// Threads that look up these keys at once, in `slots` slots. All of them have an end.
fn check(policy: BatchPolicy, keys: [u8; 3], mishaps: Mishaps) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let slots = Arc::new(Slots::new(policy));
        let others: Vec<_> = keys[1..]
            .iter()
            .map(|&key| {
                let slots = Arc::clone(&slots);
                thread::spawn(move || look_up(&slots, key, mishaps))
            })
            .collect();
        let mut fates = vec![look_up(&slots, keys[0], mishaps)];
        fates.extend(others.into_iter().map(|other| other.join().expect("no panic")));
        assert_eq!(slots.taken(), (0, 0), "someone waits, or a slot is lost");
        for fate in fates {
            let (told, let_go) = (fate.told.load(SeqCst), fate.let_go.load(SeqCst));
            assert_eq!(told + let_go, 1, "told {told} times, let go {let_go} times");
            assert!(mishaps.dies.or(mishaps.late).is_some() || told == 1, "let go without need");
        }
    });
}

#[test]
fn everyone_gets_their_own_row_once() {
    check(BatchPolicy { slots: 1, most: 2 }, [1, 2, 3], Mishaps::default());
}

#[test]
fn with_two_slots_everyone_gets_their_own_row_once() {
    check(BatchPolicy { slots: 2, most: 1 }, [1, 2, 3], Mishaps::default());
}

#[test]
fn those_who_ask_for_the_same_are_all_told() {
    check(BatchPolicy { slots: 1, most: 2 }, [1, 1, 2], Mishaps::default());
}

#[test]
fn nobody_waits_for_a_batch_that_died() {
    check(BatchPolicy { slots: 1, most: 2 }, [1, 2, 3], Mishaps { dies: Some(2), ..Mishaps::default() });
    check(BatchPolicy { slots: 2, most: 2 }, [1, 2, 3], Mishaps { dies: Some(2), ..Mishaps::default() });
}

#[test]
fn those_who_are_late_are_told_so_or_served_and_never_both() {
    check(BatchPolicy { slots: 1, most: 1 }, [1, 2, 2], Mishaps { late: Some(2), ..Mishaps::default() });
    check(BatchPolicy { slots: 2, most: 1 }, [1, 2, 3], Mishaps { late: Some(2), ..Mishaps::default() });
}
