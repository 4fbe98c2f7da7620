//! A request and its response, from its head to the last byte: who is waited for, and since when.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hyper::body::Incoming;

use super::{Connection, Ending, lock};
use crate::web::connections::ClientPatience;

/// Response bytes that are not counted for the process.
const UNCOUNTED: u64 = 4096;

/// A request and its response; whatever works on it or holds a piece of it has a clone.
#[derive(Debug)]
pub(in crate::web) struct Exchange {
    connection: Arc<Connection>,
    is_stream: bool,
    is_working: AtomicBool,
    /// Whether its response has begun: from then on that decides who is waited for.
    is_answered: AtomicBool,
    waits: Mutex<Waits>,
    /// What the client still sends, and nobody reads.
    unread: Mutex<Option<Incoming>>,
    /// Whether an HTTP/2 stream's task goes on: it can be ended without its connection.
    has_task: AtomicBool,
    is_cancelled: AtomicBool,
    waker: AtomicWaker,
}

/// What the client is waited for.
#[derive(Debug, Default)]
struct Waits {
    /// Pieces of the response that it has not received.
    pieces: usize,
    /// Since when the oldest of them waits, in milliseconds of the process' clock.
    unsent_since: u64,
    /// Since when the rest of the request's body is waited for.
    owed_since: Option<u64>,
}

impl Exchange {
    /// A request whose head has come.
    pub(super) fn new(connection: Arc<Connection>, is_stream: bool) -> Self {
        Self {
            connection,
            is_stream,
            is_working: AtomicBool::new(true),
            is_answered: AtomicBool::new(false),
            waits: Mutex::default(),
            unread: Mutex::default(),
            has_task: AtomicBool::new(is_stream),
            is_cancelled: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Makes it the next request's, whose head has come. Nothing may hold a piece of the one before.
    pub(super) fn renew(&self) {
        *lock(&self.waits) = Waits::default();
        self.is_working.store(true, Ordering::Relaxed);
        self.is_answered.store(false, Ordering::Relaxed);
    }

    /// The rest of the request's body is waited for, or has come.
    pub(in crate::web::connections) fn set_owed(&self, is_owed: bool) {
        let mut waits = lock(&self.waits);
        if !is_owed {
            waits.owed_since = None;
        } else if waits.owed_since.is_none() {
            waits.owed_since = Some(self.connection.shared.now());
        }
        drop(waits);
        if !self.is_answered.load(Ordering::Relaxed) {
            self.set_working(!is_owed);
        }
    }

    /// The response has begun. What is still unread of the body is nobody's then, and dropped: the connection waits for it.
    pub(in crate::web::connections) fn answer(&self) {
        self.is_answered.store(true, Ordering::Release);
        drop(self.take_unread());
        self.set_working(false);
    }

    /// Whether the response has begun, or waits for its time.
    pub(in crate::web::connections) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// Whether the process works on it, or waits for its client.
    pub(in crate::web) fn set_working(&self, is_working: bool) {
        if self.is_working.swap(is_working, Ordering::Relaxed) != is_working {
            let working = &self.connection.working;
            if is_working {
                working.fetch_add(1, Ordering::Relaxed)
            } else {
                working.fetch_sub(1, Ordering::Relaxed)
            };
        }
    }

    /// Notes that the response waits for its time until the result is dropped. Says how many do, this one included.
    pub(in crate::web) fn delay(&self) -> (usize, impl Drop + use<'_>) {
        self.answer();
        (self.connection.delayed.fetch_add(1, Ordering::Relaxed) + 1, Delayed(&self.connection))
    }

    /// Keeps what was not read of the request's body until the response begins. HTTP/2 resets the stream instead.
    pub(in crate::web::connections) fn leave_unread(&self, body: Incoming) {
        let mut unread = lock(&self.unread);
        if !self.is_stream && !self.is_answered.load(Ordering::Acquire) {
            *unread = Some(body);
        }
    }

    /// What was not read of the request's body, once the request is answered.
    pub(in crate::web) fn take_unread(&self) -> Option<Incoming> {
        lock(&self.unread).take()
    }

    /// The client has sent something.
    pub(in crate::web::connections) fn touch(&self) {
        self.connection.touch();
    }

    /// `bytes` of the response wait for the client; the result goes to [`Self::release`].
    pub(in crate::web::connections) fn hold(&self, bytes: u64) -> bool {
        self.connection.unsent.fetch_add(bytes, Ordering::Relaxed);
        // Small ones are bounded by how many requests there are, and all threads would share the count.
        let is_counted = bytes > UNCOUNTED;
        if is_counted {
            self.connection.shared.unsent.fetch_add(bytes, Ordering::Relaxed);
        }
        is_counted
    }

    /// They wait no more.
    pub(in crate::web::connections) fn release(&self, bytes: u64, is_counted: bool) {
        self.connection.unsent.fetch_sub(bytes, Ordering::Relaxed);
        if is_counted {
            self.connection.shared.unsent.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    pub(in crate::web::connections) fn begin_piece(&self) {
        let mut waits = lock(&self.waits);
        if waits.pieces == 0 {
            waits.unsent_since = self.connection.shared.now();
        }
        waits.pieces += 1;
    }

    pub(in crate::web::connections) fn end_piece(&self) {
        let mut waits = lock(&self.waits);
        waits.pieces -= 1;
        waits.unsent_since = self.connection.shared.now();
        drop(waits);
        self.connection.touch();
    }

    pub(super) fn is_stalled(&self, now: u64, patience: ClientPatience) -> bool {
        let waits = lock(&self.waits);
        let is_late = |since: u64, most: Duration| Duration::from_millis(now.saturating_sub(since)) > most;
        let owes = || waits.owed_since.zip(patience.body).is_some_and(|(since, most)| is_late(since, most));
        (waits.pieces > 0 && is_late(waits.unsent_since, patience.response)) || (self.is_stream && owes())
    }

    /// Ends the stream, or the connection where there is no task to end; false if that was done before.
    pub(super) fn cancel(&self) -> bool {
        if self.has_task.load(Ordering::Acquire) {
            let is_first = !self.is_cancelled.swap(true, Ordering::AcqRel);
            self.waker.wake();
            return is_first;
        }
        // A proxy ends its own client's stream, and others are on its connection too.
        if self.is_stream && self.connection.kind.is_trusted {
            return false;
        }
        let is_first = self.connection.ending() != Ending::AtOnce;
        self.connection.end(Ending::AtOnce);
        is_first
    }

    /// Whether its task is to end; if not yet, `waker` is woken then.
    pub(in crate::web::connections) fn poll_cancelled(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.is_cancelled.load(Ordering::Acquire)
    }

    pub(in crate::web::connections) fn end_task(&self) {
        self.has_task.store(false, Ordering::Release);
    }
}

/// A response that waits for its time.
struct Delayed<'a>(&'a Connection);

impl Drop for Delayed<'_> {
    fn drop(&mut self) {
        self.0.delayed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.set_working(false);
        if self.is_stream {
            self.connection.shared.streams.fetch_sub(1, Ordering::Relaxed);
            self.connection.streams.fetch_sub(1, Ordering::Relaxed);
        }
        self.connection.touch();
    }
}
