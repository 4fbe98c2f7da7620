use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![3 => (0..6_u8).prop_map(Step::Add), 2 => Just(Step::End)], 0..200)
}

/// Everything that left, and what it left behind.
struct Run {
    gathering: Gathering<u8, usize>,
    policy: BatchPolicy,
    /// The key of each who came.
    came: Vec<u8>,
    /// Who left, with which key, in which batch.
    left: Vec<(usize, u8, usize)>,
    batches: usize,
}

impl Run {
    fn new(policy: BatchPolicy) -> Self {
        Self { gathering: Gathering::new(policy), policy, came: Vec::new(), left: Vec::new(), batches: 0 }
    }

    fn step(&mut self, step: &Step) {
        let batch = match step {
            Step::Add(key) => {
                self.came.push(*key);
                self.gathering.add(*key, self.came.len() - 1)
            }
            Step::End if self.gathering.in_flight() > 0 => self.gathering.next(),
            Step::End => None,
        };
        if let Some(batch) = batch {
            assert!((1..=self.policy.most).contains(&batch.len()));
            self.left.extend(
                batch
                    .0
                    .into_iter()
                    .flat_map(|(key, waiters)| waiters.into_iter().map(move |waiter| (waiter, key)))
                    .map(|(waiter, key)| (waiter, key, self.batches)),
            );
            self.batches += 1;
        }
        assert!(self.gathering.in_flight() <= self.policy.slots);
        assert!(self.gathering.waiting() == 0 || self.gathering.in_flight() == self.policy.slots, "a slot is free");
    }
}

proptest! {
    #[test]
    fn everyone_leaves_once_with_the_key_they_asked_for(steps in steps(), slots in 1..4_usize, most in 1..4_usize) {
        let mut run = Run::new(BatchPolicy { slots, most });
        steps.iter().for_each(|step| run.step(step));
        while run.gathering.in_flight() > 0 {
            run.step(&Step::End);
        }
        let who: HashSet<usize> = run.left.iter().map(|&(waiter, ..)| waiter).collect();
        prop_assert_eq!((who.len(), run.left.len()), (run.came.len(), run.came.len()));
        for (waiter, key, _) in run.left {
            prop_assert_eq!(run.came[waiter], key);
        }
    }

    #[test]
    fn keys_leave_in_the_order_in_which_they_were_first_asked_for(steps in steps(), slots in 1..4_usize, most in 1..4_usize) {
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
        run.step(&Step::Add(0));
        steps.iter().for_each(|step| run.step(step));
        let let_go = run.gathering.abandon();
        let who: HashSet<usize> = run.left.iter().map(|&(waiter, ..)| waiter).chain(let_go).collect();
        prop_assert_eq!(who.len(), run.came.len());
        prop_assert_eq!(run.gathering.waiting(), 0);
    }
}
