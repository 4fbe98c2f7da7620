//! A request's body: read ahead, so that a node is asked only once there is something to send, and then passed on as it comes.

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

/// So much of a body is read before a node is picked, and each further so much must come within `body_timeout`.
const READ_AHEAD: usize = 16 * 1024;

/// A request's body on its way to a node.
#[derive(Debug)]
pub(in crate::gateway) enum RequestBody {
    /// There is none: such a request can be made again.
    Empty,
    /// What was read ahead, and the rest as it comes from the client.
    Streamed(Box<Streamed>),
}

/// A body of which the beginning, or all, has been read.
#[derive(Debug)]
pub(in crate::gateway) struct Streamed {
    /// Copied together: a client may send it byte by byte, and each frame would take far more than its data.
    ahead: BytesMut,
    /// What came after the data.
    trailers: Option<HeaderMap>,
    /// None once it has come to its end.
    rest: Option<ClientBody>,
    pace: Pace,
    upload: Arc<Upload>,
}

/// How long a client has kept others waiting for a part of its body.
#[derive(Debug)]
struct Pace {
    timeout: Duration,
    waited: Duration,
    /// What is left of the part, in bytes.
    left: usize,
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum ReadError {
    /// The client took too long.
    TooSlow,
    /// It broke off.
    BrokenOff,
}

impl Pace {
    fn new(timeout: Duration) -> Self {
        Self { timeout, waited: Duration::ZERO, left: READ_AHEAD, waits: None }
    }

    /// The client sent so many bytes.
    fn advance(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waits.take() {
            self.waited += since.elapsed();
        }
        match self.left.checked_sub(bytes) {
            Some(left) if left > 0 => self.left = left,
            _ => (self.left, self.waited) = (READ_AHEAD, Duration::ZERO),
        }
    }

    /// Waits for the client; ready once it is too slow.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.timeout.saturating_sub(self.waited);
        let (_, timer) = self.waits.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        timer.as_mut().poll(cx)
    }
}

impl Streamed {
    /// The next frame from the client.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let Some(body) = &mut self.rest else { return Poll::Ready(None) };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                std::task::ready!(self.pace.poll_too_slow(cx));
                Poll::Ready(Some(Err(ReadError::TooSlow)))
            }
            Poll::Ready(frame) => {
                if frame.is_none() || body.is_end_stream() {
                    self.rest = None;
                }
                let frame = frame.map(|frame| frame.map_err(|_| ReadError::BrokenOff));
                let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                self.pace.advance(length);
                Poll::Ready(frame)
            }
        }
    }

    /// Whether nothing more comes.
    fn has_ended(&self) -> bool {
        self.ahead.is_empty() && self.trailers.is_none() && self.rest.is_none()
    }
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Upload {
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
    /// Whether the client took too long.
    too_slow: bool,
    waker: Option<Waker>,
}

impl Upload {
    /// Whether all of it has been passed on, or there was none.
    pub(in crate::gateway) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Whether the client has to send more before there is anything to pass on.
    pub(in crate::gateway) fn waits_for_client(&self) -> bool {
        let state = self.state();
        state.waits && !state.ended
    }

    /// Whether it was given up because the client took too long.
    pub(in crate::gateway) fn was_too_slow(&self) -> bool {
        self.state().too_slow
    }

    /// Gives up what has not come, as the response has: a client that stops would hold two connections for ever.
    pub(super) fn give_up_rest(&self) {
        let mut state = self.state();
        state.unwanted = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, UploadState> {
        self.state.locked()
    }
}

impl RequestBody {
    /// Reads the beginning of a body, all of it if it is small: a node is asked only once there is something to send. Each
    /// part of it may take `timeout`. What comes with it tells how far it has come.
    pub(in crate::gateway) async fn read_ahead(
        body: ClientBody,
        timeout: Duration,
    ) -> Result<(Self, Arc<Upload>), ReadError> {
        let upload = Arc::new(Upload::default());
        if body.is_end_stream() {
            upload.state().ended = true;
            return Ok((Self::Empty, upload));
        }
        let mut streamed = Streamed {
            ahead: BytesMut::new(),
            trailers: None,
            rest: Some(body),
            pace: Pace::new(timeout),
            upload: Arc::clone(&upload),
        };
        while streamed.ahead.len() < READ_AHEAD
            && let Some(frame) = poll_fn(|cx| streamed.poll_client(cx)).await
        {
            match frame?.into_data() {
                Ok(data) => streamed.ahead.extend_from_slice(&data),
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
        let frame = if !body.ahead.is_empty() {
            Poll::Ready(Some(Ok(Frame::data(body.ahead.split().freeze()))))
        } else if let Some(trailers) = body.trailers.take() {
            Poll::Ready(Some(Ok(Frame::trailers(trailers))))
        } else {
            body.poll_client(cx)
        };
        let mut state = body.upload.state();
        state.waits = frame.is_pending();
        state.ended = body.has_ended();
        state.too_slow = matches!(frame, Poll::Ready(Some(Err(ReadError::TooSlow))));
        if frame.is_pending() && state.unwanted {
            return Poll::Ready(Some(Err("nobody wants the rest of the body".into())));
        }
        state.waker = frame.is_pending().then(|| cx.waker().clone());
        frame.map_err(|error| format!("the body was not read: {error:?}").into())
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(body) => body.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Streamed(body) = self else { return SizeHint::with_exact(0) };
        let ahead = body.ahead.len();
        let mut hint = body.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + ahead as u64);
        }
        hint.set_lower(hint.lower() + ahead as u64);
        hint
    }
}
