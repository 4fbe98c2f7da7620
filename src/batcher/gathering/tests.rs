use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Leave,
    Return,
    /// Those that came before so many of the last are late.
    Expire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![8 => step_in_time(), 1 => (0..8_usize).prop_map(Step::Expire)], 0..200)
}

/// A step at which nobody is late.
fn step_in_time() -> impl Strategy<Value = Step> {
    prop_oneof![4 => (0..6_u8).prop_map(Step::Add), 2 => Just(Step::Leave), 2 => Just(Step::Return)]
}

/// Everything that left, and what it left behind.
struct Run {
    gathering: Gathering<u8, usize>,
    policy: BatchPolicy,
    /// The key of each who came.
    came: Vec<u8>,
    /// Who left, with which key, in which batch.
    left: Vec<(usize, u8, usize)>,
    /// Who was late.
    expired: Vec<usize>,
    batches: usize,
    /// Slots whose batch is about to leave.
    boarding: usize,
    /// Slots whose batch has left.
    under_way: usize,
}

impl Run {
    fn new(policy: BatchPolicy) -> Self {
        let gathering = Gathering::new(policy);
        let (came, left, expired) = (Vec::new(), Vec::new(), Vec::new());
        Self { gathering, policy, came, left, expired, batches: 0, boarding: 0, under_way: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Add(key) => {
                self.came.push(*key);
                self.boarding += usize::from(self.gathering.add(*key, self.came.len() - 1));
            }
            Step::Leave if self.boarding > 0 => {
                self.boarding -= 1;
                if let Some(batch) = self.gathering.leave() {
                    self.under_way += 1;
                    self.note(batch);
                }
            }
            Step::Return if self.under_way > 0 => {
                self.under_way -= 1;
                self.boarding += 1;
                self.gathering.board();
            }
            Step::Expire(but) => {
                let due = self.came.len().saturating_sub(*but);
                self.expired.extend(self.gathering.expire(|&waiter| waiter < due));
                assert!(self.gathering.waiters().all(|&waiter| waiter >= due), "one is late and still waits");
            }
            Step::Leave | Step::Return => {}
        }
        let (taken, waiting) = (self.gathering.taken(), self.gathering.waiting());
        assert_eq!(taken, self.boarding + self.under_way);
        assert!(taken <= self.policy.slots);
        assert!(waiting <= self.boarding * self.policy.most || taken == self.policy.slots, "a slot is free");
    }

    fn note(&mut self, batch: Batch<u8, usize>) {
        assert!((1..=self.policy.most).contains(&batch.len()));
        let waiters =
            batch.0.into_iter().flat_map(|(key, waiters)| waiters.into_iter().map(move |waiter| (waiter, key)));
        self.left.extend(waiters.map(|(waiter, key)| (waiter, key, self.batches)));
        self.batches += 1;
    }

    /// Until nothing is left to do.
    fn end(&mut self) {
        while self.gathering.taken() > 0 {
            self.step(&Step::Return);
            self.step(&Step::Leave);
        }
    }
}

proptest! {
    #[test]
    fn everyone_leaves_once_with_the_key_they_asked_for_or_was_late(steps in steps(), slots in 1..4_usize, most in 1..4_usize) {
        let mut run = Run::new(BatchPolicy { slots, most });
        steps.iter().for_each(|step| run.step(step));
        run.end();
        let who: HashSet<usize> = run.left.iter().map(|&(waiter, ..)| waiter).chain(run.expired.iter().copied()).collect();
        prop_assert_eq!((who.len(), run.left.len() + run.expired.len()), (run.came.len(), run.came.len()));
        for (waiter, key, _) in run.left {
            prop_assert_eq!(run.came[waiter], key);
        }
    }

    #[test]
    fn keys_leave_in_the_order_in_which_they_were_first_asked_for(steps in vec(step_in_time(), 0..200), slots in 1..4_usize, most in 1..4_usize) {
        let mut run = Run::new(BatchPolicy { slots, most });
        steps.iter().for_each(|step| run.step(step));
        let mut last: Option<(usize, usize)> = None;
        let mut first_of_key: HashMap<(usize, u8), usize> = HashMap::new();
        for &(waiter, key, batch) in &run.left {
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
    fn a_slot_that_is_given_up_leaves_nobody_waiting(steps in steps(), slots in 1..4_usize, most in 1..4_usize) {
        let mut run = Run::new(BatchPolicy { slots, most });
        steps.iter().for_each(|step| run.step(step));
        run.step(&Step::Add(0));
        let let_go = run.gathering.abandon(run.boarding > 0);
        let who: HashSet<usize> = run.left.iter().map(|&(waiter, ..)| waiter).chain(run.expired).chain(let_go).collect();
        prop_assert_eq!(who.len(), run.came.len());
        prop_assert_eq!(run.gathering.waiting(), 0);
        prop_assert_eq!(run.gathering.taken(), run.boarding + run.under_way - 1);
    }
}
