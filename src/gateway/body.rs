//! Bodies on their way through.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
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
    Streamed(Incoming, Arc<AtomicBool>),
}

impl RequestBody {
    /// The body, and what tells whether it waits for the client to send more.
    pub(super) fn new(body: Incoming) -> (Self, Arc<AtomicBool>) {
        let waits = Arc::new(AtomicBool::new(false));
        let body = if body.is_end_stream() { Self::Empty } else { Self::Streamed(body, Arc::clone(&waits)) };
        (body, waits)
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(body, waits) => {
                let frame = Pin::new(body).poll_frame(cx);
                waits.store(frame.is_pending(), Ordering::Relaxed);
                frame
            }
        }
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
        stall: Duration,
    ) -> Self {
        let mut forwarded = Self { body, lease: Some(lease), outcome, connection, stall, stalled: None };
        if forwarded.body.is_end_stream() {
            forwarded.end(outcome);
        }
        forwarded
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(mut lease) = self.lease.take() {
            lease.finish(outcome);
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
