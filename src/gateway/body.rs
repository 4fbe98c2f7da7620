//! Bodies on their way through.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Body as OwnBody;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tokio::time::Sleep;

use super::upstream::Reusable;
use crate::balancer::{Lease, Outcome};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to a node.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// There is none: such a request can be made again.
    Empty,
    /// As it comes from the client.
    Streamed(Incoming, Arc<Upload>),
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct Upload {
    state: Mutex<UploadState>,
}

#[derive(Debug, Default)]
struct UploadState {
    /// Whether all of it has been passed on, or there was none.
    ended: bool,
    /// Whether the client has to send more before there is anything to pass on.
    waits: bool,
    /// Whether nobody wants the rest.
    unwanted: bool,
    waker: Option<Waker>,
}

impl Upload {
    /// Whether all of it has been passed on, or there was none.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Whether the client has to send more before there is anything to pass on.
    pub(super) fn waits_for_client(&self) -> bool {
        let state = self.state();
        state.waits && !state.ended
    }

    /// Gives up what has not come, as the response has: a client that stops would hold two connections for ever.
    fn give_up_rest(&self) {
        let mut state = self.state();
        state.unwanted = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, UploadState> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestBody {
    /// The body, and what tells how far it has come.
    pub(super) fn new(body: Incoming) -> (Self, Arc<Upload>) {
        let upload = Arc::new(Upload::default());
        if body.is_end_stream() {
            upload.state().ended = true;
            return (Self::Empty, upload);
        }
        (Self::Streamed(body, Arc::clone(&upload)), upload)
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self::Streamed(body, upload) = self.get_mut() else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *body).poll_frame(cx);
        let mut state = upload.state();
        state.waits = frame.is_pending();
        state.ended = matches!(frame, Poll::Ready(None)) || body.is_end_stream();
        if frame.is_pending() && state.unwanted {
            return Poll::Ready(Some(Err("nobody wants the rest of the body".into())));
        }
        state.waker = frame.is_pending().then(|| cx.waker().clone());
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(body, _) => body.size_hint(),
        }
    }
}

/// A response's body on its way to the client.
pub enum ResponseBody {
    /// The gateway's own answer.
    Own(OwnBody),
    /// A node's.
    Forwarded(Forwarded),
}

/// A node's response body. It holds the request's place on the node until its end, and keeps the connection after it.
pub struct Forwarded {
    body: Incoming,
    lease: Option<Lease>,
    outcome: Outcome,
    connection: Option<Reusable>,
    upload: Arc<Upload>,
    /// How long the node may send nothing.
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Forwarded {
    /// `outcome` is how the request went if the body comes to its end.
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        outcome: Outcome,
        connection: Option<Reusable>,
        upload: Arc<Upload>,
        stall: Duration,
    ) -> Self {
        let mut forwarded = Self { body, lease: Some(lease), outcome, connection, upload, stall, stalled: None };
        if forwarded.body.is_end_stream() {
            forwarded.end(outcome);
        }
        forwarded
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(mut lease) = self.lease.take() {
            lease.finish(outcome);
        }
        if !self.upload.has_ended() {
            self.connection = None;
            self.upload.give_up_rest();
        }
        if let Some(connection) = self.connection.take().filter(|_| outcome == self.outcome) {
            connection.keep();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.stalled = None;
                match frame {
                    Some(Ok(frame)) => {
                        if self.body.is_end_stream() {
                            self.end(self.outcome);
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    Some(Err(error)) => {
                        self.connection = None;
                        self.end(Outcome::Failure);
                        Poll::Ready(Some(Err(error.into())))
                    }
                    None => {
                        self.end(self.outcome);
                        Poll::Ready(None)
                    }
                }
            }
            Poll::Pending => {
                let stall = self.stall;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
                std::task::ready!(stalled.as_mut().poll(cx));
                self.connection = None;
                self.end(Outcome::Failure);
                Poll::Ready(Some(Err("the node sends nothing more".into())))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Forwarded(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Forwarded(forwarded) => forwarded.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Forwarded(forwarded) => forwarded.body.size_hint(),
        }
    }
}
