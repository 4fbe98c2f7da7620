//! How many hashes are computed at a time: a semaphore whose size can be changed while slots are taken. Where it is made
//! smaller, slots that are taken vanish as they are given back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Slots {
    semaphore: Arc<Semaphore>,
    sizes: Mutex<Sizes>,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// How many there are to be.
    wanted: usize,
    /// How many there are, those included that vanish when they are given back.
    there: usize,
}

/// A slot that is taken; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(count)), sizes: Mutex::new(Sizes { wanted: count, there: count }) }
    }

    /// Takes one if it is free at once, or becomes free in time.
    pub(super) async fn take_within(self: &Arc<Self>, time: Duration) -> Option<Slot> {
        let semaphore = Arc::clone(&self.semaphore);
        let permit = match Arc::clone(&semaphore).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(time, semaphore.acquire_owned()).await.ok()?.ok()?,
        };
        Some(Slot { permit: Some(permit), slots: Arc::clone(self) })
    }

    /// Makes it so many, one at least.
    pub(super) fn resize(&self, count: usize) {
        let mut sizes = self.lock();
        sizes.wanted = count.max(1);
        if sizes.wanted > sizes.there {
            self.semaphore.add_permits(sizes.wanted - sizes.there);
            sizes.there = sizes.wanted;
        } else {
            sizes.there -= self.semaphore.forget_permits(sizes.there - sizes.wanted);
        }
    }

    /// How many there are to be.
    pub(super) fn count(&self) -> usize {
        self.lock().wanted
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().there.saturating_sub(self.semaphore.available_permits())
    }

    fn lock(&self) -> MutexGuard<'_, Sizes> {
        // Nothing panics while it holds the lock.
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut sizes = self.slots.lock();
        if sizes.there > sizes.wanted {
            sizes.there -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        } else {
            // Before the lock is: nobody counts it twice.
            self.permit = None;
        }
    }
}
