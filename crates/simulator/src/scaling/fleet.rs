//! The simulated instances.

use std::collections::VecDeque;

/// Ready and starting instances.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    ready: u32,
    /// Time of readiness and number of instances, in the order of time.
    starting: VecDeque<(usize, u32)>,
}

impl Fleet {
    pub fn new(ready: u32) -> Self {
        Self { ready, starting: VecDeque::new() }
    }

    /// Makes instances ready whose start-up delay has ended.
    pub fn advance(&mut self, now: usize) {
        while let Some((_, count)) = self.starting.pop_front_if(|(at, _)| *at <= now) {
            self.ready += count;
        }
    }

    /// Changes the number of instances. Additional ones are started; surplus ones end at once, the last started first.
    pub fn set(&mut self, wanted: u32, now: usize, delay: usize) {
        let count = self.count();
        if wanted > count {
            self.starting.push_back((now + delay, wanted - count));
        }
        let mut surplus = count.saturating_sub(wanted);
        while surplus > 0 {
            let Some((at, starting)) = self.starting.pop_back() else { break };
            if starting > surplus {
                self.starting.push_back((at, starting - surplus));
            }
            surplus = surplus.saturating_sub(starting);
        }
        self.ready -= surplus;
    }

    pub fn ready(&self) -> u32 {
        self.ready
    }

    pub fn starting(&self) -> u32 {
        self.starting.iter().map(|(_, count)| count).sum()
    }

    pub fn count(&self) -> u32 {
        self.ready + self.starting()
    }
}
