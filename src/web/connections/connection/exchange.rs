//! A request and its response, from the request's head to the response's last byte: who is waited for, and since when.

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

use super::{Connection, Shutdown};
use crate::{sync::MutexExt, web::connections::ExchangeTimeouts};

/// Frames up to this size in bytes are not included in the unsent bytes of the process.
const MAX_UNCOUNTED: u64 = 4096;

/// A request and its response. Everything that works on it or holds a piece of it has a clone of its `Arc`.
#[derive(Debug)]
pub(in crate::web) struct Exchange {
    connection: Arc<Connection>,
    is_stream: bool,
    is_working: AtomicBool,
    /// Whether the response has begun. From then on the response determines who is waited for, no longer the request.
    is_answered: AtomicBool,
    waits: Mutex<ClientWaits>,
    /// The rest of the request body that the handler has not read.
    unread: Mutex<Option<Incoming>>,
    /// Whether the task of an HTTP/2 stream is running. Then the stream can be cancelled without closing the connection.
    has_task: AtomicBool,
    is_cancelled: AtomicBool,
    waker: AtomicWaker,
}

/// Why the exchange waits for the client.
#[derive(Debug, Default)]
struct ClientWaits {
    /// Pieces of the response that the client has not received.
    pieces: usize,
    /// Since when the oldest of them waits, in milliseconds since [`Shared::started`](super::Shared::started).
    unsent_since: u64,
    /// Since when the rest of the request body is awaited; `None` if it is not.
    body_awaited_since: Option<u64>,
}

impl Exchange {
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

    /// Resets it for the next request. No piece of the previous response may exist any more.
    pub(super) fn renew(&self) {
        *self.waits.locked() = ClientWaits::default();
        self.is_working.store(true, Ordering::Relaxed);
        self.is_answered.store(false, Ordering::Relaxed);
    }

    /// Records whether the rest of the request body is awaited.
    pub(in crate::web::connections) fn set_awaiting_body(&self, is_awaiting: bool) {
        let mut waits = self.waits.locked();
        if !is_awaiting {
            waits.body_awaited_since = None;
        } else if waits.body_awaited_since.is_none() {
            waits.body_awaited_since = Some(self.connection.shared.now());
        }
        drop(waits);
        if !self.is_answered.load(Ordering::Relaxed) {
            self.set_working(!is_awaiting);
        }
    }

    /// Records that the response has begun, and drops the unread rest of the request body: the connection discards it.
    pub(in crate::web::connections) fn answer(&self) {
        self.is_answered.store(true, Ordering::Release);
        drop(self.take_unread());
        self.set_working(false);
    }

    /// Returns whether the response has begun, or is held back by a delay.
    pub(in crate::web::connections) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// Records whether the process works on it or waits for its client.
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

    /// Records that the response is held back by a delay until the guard is dropped. Returns how many responses of the
    /// connection are, including this one.
    pub(in crate::web) fn begin_delay(&self) -> (usize, impl Drop + use<'_>) {
        self.answer();
        (self.connection.delayed.fetch_add(1, Ordering::Relaxed) + 1, DelayGuard(&self.connection))
    }

    /// Keeps the unread rest of the request body until the response begins. HTTP/2 resets the stream instead.
    pub(in crate::web::connections) fn leave_unread(&self, body: Incoming) {
        let mut unread = self.unread.locked();
        if !self.is_stream && !self.is_answered.load(Ordering::Acquire) {
            *unread = Some(body);
        }
    }

    /// Takes the unread rest of the request body.
    pub(in crate::web) fn take_unread(&self) -> Option<Incoming> {
        self.unread.locked().take()
    }

    /// Records that the client has sent something.
    pub(in crate::web::connections) fn touch(&self) {
        self.connection.touch();
    }

    /// Adds unsent `bytes`. Returns whether they are included in the count of the process; pass that to [`Self::remove_unsent`].
    pub(in crate::web::connections) fn add_unsent(&self, bytes: u64) -> bool {
        self.connection.unsent.fetch_add(bytes, Ordering::Relaxed);
        // Small frames are bounded by the number of requests, and skipping them avoids contention on the shared counter.
        let is_counted = bytes > MAX_UNCOUNTED;
        if is_counted {
            self.connection.shared.unsent.fetch_add(bytes, Ordering::Relaxed);
        }
        is_counted
    }

    /// Subtracts bytes that were sent or discarded.
    pub(in crate::web::connections) fn remove_unsent(&self, bytes: u64, is_counted: bool) {
        self.connection.unsent.fetch_sub(bytes, Ordering::Relaxed);
        if is_counted {
            self.connection.shared.unsent.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    pub(in crate::web::connections) fn begin_piece(&self) {
        let mut waits = self.waits.locked();
        if waits.pieces == 0 {
            waits.unsent_since = self.connection.shared.exact_now();
        }
        waits.pieces += 1;
    }

    pub(in crate::web::connections) fn end_piece(&self) {
        let mut waits = self.waits.locked();
        waits.pieces -= 1;
        if waits.pieces > 0 {
            waits.unsent_since = self.connection.shared.exact_now();
        }
        drop(waits);
        self.connection.touch();
    }

    pub(super) fn is_stalled(&self, now: u64, timeouts: ExchangeTimeouts) -> bool {
        let waits = self.waits.locked();
        let is_late = |since: u64, max: Duration| Duration::from_millis(now.saturating_sub(since)) > max;
        let is_body_late =
            || waits.body_awaited_since.zip(timeouts.body).is_some_and(|(since, max)| is_late(since, max));
        (waits.pieces > 0 && is_late(waits.unsent_since, timeouts.response)) || (self.is_stream && is_body_late())
    }

    /// Cancels the stream, or closes the connection if the stream has no task; false if that was already done.
    pub(super) fn cancel(&self) -> bool {
        if self.has_task.load(Ordering::Acquire) {
            let is_first = !self.is_cancelled.swap(true, Ordering::AcqRel);
            self.waker.wake();
            return is_first;
        }
        // A trusted proxy cancels streams of its clients itself, and its connection carries other clients too.
        if self.is_stream && self.connection.kind.is_trusted {
            return false;
        }
        let is_first = self.connection.shutdown() != Shutdown::Immediate;
        self.connection.shut_down(Shutdown::Immediate);
        is_first
    }

    /// Returns whether its task was cancelled, and registers `waker` for that.
    pub(in crate::web::connections) fn poll_cancelled(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.is_cancelled.load(Ordering::Acquire)
    }

    pub(in crate::web::connections) fn end_task(&self) {
        self.has_task.store(false, Ordering::Release);
    }
}

/// Counts a delayed response of a connection until it is dropped.
struct DelayGuard<'a>(&'a Connection);

impl Drop for DelayGuard<'_> {
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
