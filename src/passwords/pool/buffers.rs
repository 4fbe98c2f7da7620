//! The memory that hashes are computed in, kept from one hash to the next: the system takes long to hand it out anew. What
//! was used last is used first, so that no more is touched than hashes are computed at a time.

use std::sync::{Mutex, MutexGuard};

use crate::sync::MutexExt;
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

/// All memory for hashing: there is never more of it than hashes are computed at a time, or than is to be kept.
#[derive(Debug)]
pub(super) struct Buffers(Mutex<State>);

#[derive(Debug)]
struct State {
    idle: Vec<Memory>,
    borrowed: usize,
    most: usize,
}

/// The memory of a hash that is being computed; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Borrowed<'a> {
    buffers: &'a Buffers,
    pub(super) memory: Memory,
}

impl Buffers {
    /// Keeps at most so many pieces.
    pub(super) fn new(most: usize) -> Self {
        Self(Mutex::new(State { idle: Vec::new(), borrowed: 0, most }))
    }

    /// A piece that was kept, or a new one.
    pub(super) fn borrow(&self) -> Borrowed<'_> {
        let mut state = self.lock();
        state.borrowed += 1;
        Borrowed { buffers: self, memory: state.idle.pop().unwrap_or_default() }
    }

    /// Keeps at most so many from now on.
    pub(super) fn keep(&self, most: usize) {
        let mut state = self.lock();
        state.most = most;
        state.idle.truncate(most);
    }

    /// How many there are, those in use included.
    pub(super) fn count(&self) -> usize {
        let state = self.lock();
        state.idle.len() + state.borrowed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.locked()
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut state = self.buffers.lock();
        state.borrowed -= 1;
        if state.idle.len() + state.borrowed < state.most {
            state.idle.push(std::mem::take(&mut self.memory));
        }
    }
}
