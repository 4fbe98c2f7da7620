//! Reuse of the memory that hashes are computed in, because allocating it anew is slow.
//!
//! The most recently used buffer is reused first, so no more buffers are touched than hashes are computed at a time.

use std::sync::Mutex;

use crate::sync::MutexExt;
use argon2::Block;

/// The memory of one hash.
#[derive(Debug, Default)]
pub(in crate::passwords) struct HashMemory(Vec<Block>);

impl HashMemory {
    /// Returns `count` blocks. Their content is unspecified.
    pub(in crate::passwords) fn blocks(&mut self, count: usize) -> &mut [Block] {
        self.0.resize(count, Block::new());
        &mut self.0
    }
}

/// All memory for hashing. There are never more buffers than hashes being computed, or than the maximum to keep.
#[derive(Debug)]
pub(super) struct Buffers(Mutex<State>);

#[derive(Debug)]
struct State {
    idle: Vec<HashMemory>,
    borrowed: usize,
    max_buffers: usize,
}

/// The memory of a hash that is being computed. Dropping it returns the memory.
#[derive(Debug)]
pub(super) struct Borrowed<'a> {
    buffers: &'a Buffers,
    pub(super) memory: HashMemory,
}

impl Buffers {
    pub(super) fn new(max_buffers: usize) -> Self {
        Self(Mutex::new(State { idle: Vec::new(), borrowed: 0, max_buffers }))
    }

    /// Takes an idle buffer, or an empty one if there is none.
    pub(super) fn borrow(&self) -> Borrowed<'_> {
        let mut state = self.0.locked();
        state.borrowed += 1;
        Borrowed { buffers: self, memory: state.idle.pop().unwrap_or_default() }
    }

    pub(super) fn set_max_buffers(&self, max_buffers: usize) {
        let mut state = self.0.locked();
        state.max_buffers = max_buffers;
        state.idle.truncate(max_buffers);
    }

    /// Returns the number of buffers, idle and in use.
    pub(super) fn count(&self) -> usize {
        let state = self.0.locked();
        state.idle.len() + state.borrowed
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut state = self.buffers.0.locked();
        state.borrowed -= 1;
        if state.idle.len() + state.borrowed < state.max_buffers {
            state.idle.push(std::mem::take(&mut self.memory));
        }
    }
}
