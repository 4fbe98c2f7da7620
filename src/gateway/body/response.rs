//! A node's response body. It holds a place on the node only while the node is waited for.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Body as OwnBody;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use symbolon_balancer::{Lease, Outcome};
use tokio::time::Sleep;

use super::{BoxError, Upload};
use crate::gateway::upstream::Reusable;

/// A response's body on its way to the client.
pub enum ResponseBody {
    /// The gateway's own answer.
    Own(OwnBody),
    /// A node's.
    Forwarded(Forwarded),
}

impl From<OwnBody> for ResponseBody {
    fn from(body: OwnBody) -> Self {
        Self::Own(body)
    }
}

/// A node's response body. It holds the request's place on the node while the node is waited for, and keeps the connection
/// after its end.
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
    pub(in crate::gateway) fn new(
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
        if let Some(lease) = &mut self.lease {
            lease.resume(Instant::now());
        }
        let frame = self.poll_node(cx);
        // Until it is asked for more, the client is waited for.
        if let Some(lease) = self.lease.as_mut().filter(|_| frame.is_ready()) {
            lease.pause(Instant::now());
        }
        frame
    }

    fn poll_node(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
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
