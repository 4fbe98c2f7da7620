//! The memory that hashes are computed in, kept from one hash to the next: the system takes long to hand it out anew. What
//! was used last is used first, so that no more is touched than hashes are computed at a time.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use argon2::Block;

/// The memory of one hash.
#[derive(Debug, Default)]
pub(in crate::passwords) struct Memory(Vec<Block>);

impl Memory {
    /// So many blocks, with whatever is in them.
    pub(in crate::passwords) fn blocks(&mut self, count: usize) -> &mut [Block] {
        self.0.resize(count, Block::new());
        &mut self.0
    }
}

/// The memory that nobody uses at the time.
#[derive(Debug)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Memory>>,
    most: AtomicUsize,
}

impl Buffers {
    /// Keeps at most so many pieces.
    pub(super) fn new(most: usize) -> Self {
        Self { idle: Mutex::default(), most: AtomicUsize::new(most) }
    }

    pub(super) fn take(&self) -> Memory {
        self.lock().pop().unwrap_or_default()
    }

    pub(super) fn put_back(&self, memory: Memory) {
        let mut idle = self.lock();
        if idle.len() < self.most.load(Ordering::Relaxed) {
            idle.push(memory);
        }
    }

    /// Keeps at most so many from now on.
    pub(super) fn keep(&self, most: usize) {
        let mut idle = self.lock();
        self.most.store(most, Ordering::Relaxed);
        idle.truncate(most);
    }

    /// How many are kept.
    pub(super) fn kept(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Memory>> {
        // Nothing panics while it holds the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
