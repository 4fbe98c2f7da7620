//! Response bodies.

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

use super::{BoxError, UploadProgress};
use crate::gateway::upstream::Reusable;

/// Body of a response to a client.
pub enum ResponseBody {
    /// From the gateway itself.
    Own(OwnBody),
    /// From a node.
    Forwarded(ForwardedBody),
}

impl From<OwnBody> for ResponseBody {
    fn from(body: OwnBody) -> Self {
        Self::Own(body)
    }
}

/// Body of a node's response. The request counts as in flight only while the gateway waits for the node, not for the client.
/// At the end of the body, the connection becomes idle.
pub struct ForwardedBody {
    body: Incoming,
    lease: Option<Lease>,
    outcome: Outcome,
    connection: Option<Reusable>,
    upload: Arc<UploadProgress>,
    /// Longest pause of the node.
    idle_timeout: Duration,
    idle_timer: Option<Pin<Box<Sleep>>>,
}

impl ForwardedBody {
    /// `outcome` is the outcome of the request if the body ends without an error.
    pub(in crate::gateway) fn new(
        body: Incoming,
        lease: Lease,
        outcome: Outcome,
        connection: Option<Reusable>,
        upload: Arc<UploadProgress>,
        idle_timeout: Duration,
    ) -> Self {
        let mut forwarded =
            Self { body, lease: Some(lease), outcome, connection, upload, idle_timeout, idle_timer: None };
        if forwarded.body.is_end_stream() {
            forwarded.finish(outcome);
        }
        forwarded
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(mut lease) = self.lease.take() {
            lease.finish(outcome);
        }
        if !self.upload.has_ended() {
            self.connection = None;
            self.upload.cancel_rest();
        }
        if let Some(connection) = self.connection.take().filter(|_| outcome == self.outcome) {
            connection.release();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(lease) = &mut self.lease {
            lease.resume(Instant::now());
        }
        let frame = self.poll_node(cx);
        // Until the next poll, the gateway waits for the client.
        if let Some(lease) = self.lease.as_mut().filter(|_| frame.is_ready()) {
            lease.pause(Instant::now());
        }
        frame
    }

    fn poll_node(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.idle_timer = None;
                match frame {
                    Some(Ok(frame)) => {
                        if self.body.is_end_stream() {
                            self.finish(self.outcome);
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    Some(Err(error)) => {
                        self.connection = None;
                        self.finish(Outcome::Failure);
                        Poll::Ready(Some(Err(error.into())))
                    }
                    None => {
                        self.finish(self.outcome);
                        Poll::Ready(None)
                    }
                }
            }
            Poll::Pending => {
                let timeout = self.idle_timeout;
                let timer = self.idle_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                std::task::ready!(timer.as_mut().poll(cx));
                self.connection = None;
                self.finish(Outcome::Failure);
                Poll::Ready(Some(Err("timeout while reading the response body from the node".into())))
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
