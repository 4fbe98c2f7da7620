//! Request bodies. The gateway reads the beginning before it picks a node, so that a slow client does not occupy a node, and
//! streams the rest.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::time::Sleep;
use tokio_util::bytes::BytesMut;

use super::BoxError;
use crate::{sync::MutexExt, web::ClientBody};

/// Bytes of a body that are read before a node is picked. Each further part of this size must arrive within `body_timeout`.
const READ_AHEAD: usize = 16 * 1024;

/// Body of a request to a node.
#[derive(Debug)]
pub(in crate::gateway) enum RequestBody {
    /// No body: the request can be repeated.
    Empty,
    Streamed(Box<Streamed>),
}

/// A body whose beginning, or all of it, was read ahead.
#[derive(Debug)]
pub(in crate::gateway) struct Streamed {
    /// The part read ahead. It is copied into one buffer, because a client may send single bytes, and a frame takes far
    /// more memory than that.
    buffered: BytesMut,
    trailers: Option<HeaderMap>,
    /// `None` after its end.
    rest: Option<ClientBody>,
    timer: PartTimer,
    upload: Arc<UploadProgress>,
}

/// Limits the time that the gateway waits for each part of a body.
#[derive(Debug)]
struct PartTimer {
    timeout: Duration,
    /// Time waited for the current part.
    waited: Duration,
    /// Bytes missing of the current part.
    remaining: usize,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum ReadError {
    TimedOut,
    Aborted,
}

impl PartTimer {
    fn new(timeout: Duration) -> Self {
        Self { timeout, waited: Duration::ZERO, remaining: READ_AHEAD, waiting: None }
    }

    /// Records bytes received from the client.
    fn advance(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        match self.remaining.checked_sub(bytes) {
            Some(remaining) if remaining > 0 => self.remaining = remaining,
            _ => (self.remaining, self.waited) = (READ_AHEAD, Duration::ZERO),
        }
    }

    /// Becomes ready when the client has taken too long for the current part.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.timeout.saturating_sub(self.waited);
        let (_, timer) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        timer.as_mut().poll(cx)
    }
}

impl Streamed {
    /// Polls the next frame from the client.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let Some(body) = &mut self.rest else { return Poll::Ready(None) };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                std::task::ready!(self.timer.poll_timeout(cx));
                Poll::Ready(Some(Err(ReadError::TimedOut)))
            }
            Poll::Ready(frame) => {
                if frame.is_none() || body.is_end_stream() {
                    self.rest = None;
                }
                let frame = frame.map(|frame| frame.map_err(|_| ReadError::Aborted));
                let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                self.timer.advance(length);
                Poll::Ready(frame)
            }
        }
    }

    /// Returns whether all of it was passed on.
    fn has_ended(&self) -> bool {
        self.buffered.is_empty() && self.trailers.is_none() && self.rest.is_none()
    }
}

/// Progress of a request body, shared with the handler of the response.
#[derive(Debug, Default)]
pub(in crate::gateway) struct UploadProgress {
    state: Mutex<UploadState>,
}

#[derive(Debug, Default)]
struct UploadState {
    /// Whether all of it was passed on, or there was none.
    ended: bool,
    /// Whether it waits for data from the client.
    waiting: bool,
    /// Whether the rest is not needed.
    cancelled: bool,
    /// Whether the client took too long.
    timed_out: bool,
    waker: Option<Waker>,
}

impl UploadProgress {
    /// Returns whether all of it was passed on, or there was none.
    pub(in crate::gateway) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Returns whether it waits for data from the client.
    pub(in crate::gateway) fn waits_for_client(&self) -> bool {
        let state = self.state();
        state.waiting && !state.ended
    }

    /// Returns whether it failed because the client took too long.
    pub(in crate::gateway) fn has_timed_out(&self) -> bool {
        self.state().timed_out
    }

    /// Cancels the rest after the end of the response. Otherwise a client that stops sending would hold two connections.
    pub(super) fn cancel_rest(&self) {
        let mut state = self.state();
        state.cancelled = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, UploadState> {
        self.state.locked()
    }
}

impl RequestBody {
    /// Reads the beginning of a body, or all of a small one. Each part must arrive within `timeout`.
    pub(in crate::gateway) async fn read_ahead(
        body: ClientBody,
        timeout: Duration,
    ) -> Result<(Self, Arc<UploadProgress>), ReadError> {
        let upload = Arc::new(UploadProgress::default());
        if body.is_end_stream() {
            upload.state().ended = true;
            return Ok((Self::Empty, upload));
        }
        let mut streamed = Streamed {
            buffered: BytesMut::new(),
            trailers: None,
            rest: Some(body),
            timer: PartTimer::new(timeout),
            upload: Arc::clone(&upload),
        };
        while streamed.buffered.len() < READ_AHEAD
            && let Some(frame) = poll_fn(|cx| streamed.poll_client(cx)).await
        {
            match frame?.into_data() {
                Ok(data) => streamed.buffered.extend_from_slice(&data),
                Err(frame) => streamed.trailers = frame.into_trailers().ok(),
            }
        }
        upload.state().ended = streamed.has_ended();
        Ok((Self::Streamed(Box::new(streamed)), upload))
    }

    pub(in crate::gateway) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self::Streamed(body) = self.get_mut() else { return Poll::Ready(None) };
        let frame = if !body.buffered.is_empty() {
            Poll::Ready(Some(Ok(Frame::data(body.buffered.split().freeze()))))
        } else if let Some(trailers) = body.trailers.take() {
            Poll::Ready(Some(Ok(Frame::trailers(trailers))))
        } else {
            body.poll_client(cx)
        };
        let mut state = body.upload.state();
        state.waiting = frame.is_pending();
        state.ended = body.has_ended();
        state.timed_out = matches!(frame, Poll::Ready(Some(Err(ReadError::TimedOut))));
        if frame.is_pending() && state.cancelled {
            return Poll::Ready(Some(Err("the response ended before the request body".into())));
        }
        state.waker = frame.is_pending().then(|| cx.waker().clone());
        frame.map_err(|error| format!("the request body could not be read: {error:?}").into())
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body) => body.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Streamed(body) = self else { return SizeHint::with_exact(0) };
        let buffered = body.buffered.len();
        let mut hint = body.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + buffered as u64);
        }
        hint.set_lower(hint.lower() + buffered as u64);
        hint
    }
}
