//! Body wrappers that record whether an exchange waits for the process or for the client, and how many bytes are unsent.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Buf, Incoming};

use super::Exchange;

/// Maximum size of a piece of a response, in bytes. The client must receive each piece in time.
const MAX_PIECE: usize = 64 * 1024;

/// A request body. While it waits for the client, its connection is idle. When dropped, it leaves its unread rest to the
/// exchange.
#[derive(Debug)]
pub(crate) struct ClientBody {
    /// `None` only during drop.
    body: Option<Incoming>,
    exchange: Arc<Exchange>,
}

impl ClientBody {
    pub(in crate::web) fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        Self { body: Some(body), exchange }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.exchange.leave_unread(body);
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        self.exchange.set_awaiting_body(frame.is_pending());
        if frame.is_ready() {
            self.exchange.touch();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

/// A response body that is sent in pieces.
#[derive(Debug)]
pub(in crate::web) struct OutgoingBody<B> {
    body: B,
    /// The unsent rest of the body's last frame.
    rest: Bytes,
    exchange: Arc<Exchange>,
    is_shared: bool,
    /// Whether the rest is included in the unsent bytes of the process.
    is_counted: bool,
}

/// Marks a response whose body is shared by all such responses, so that it takes no memory of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedBody;

/// A piece of a response. hyper drops it when it has been sent or discarded.
pub(in crate::web) struct Piece {
    data: Bytes,
    length: u64,
    is_counted: bool,
    exchange: Arc<Exchange>,
}

impl<B> OutgoingBody<B> {
    /// Wraps a response. From now on its exchange waits only for the client.
    pub(in crate::web) fn response(response: Response<B>, exchange: Arc<Exchange>) -> Response<Self> {
        exchange.answer();
        let is_shared = response.extensions().get::<SharedBody>().is_some();
        response.map(|body| Self { body, rest: Bytes::new(), exchange, is_shared, is_counted: false })
    }

    fn next_piece(&mut self) -> Piece {
        let data = self.rest.split_to(self.rest.len().min(MAX_PIECE));
        self.exchange.begin_piece();
        Piece {
            length: if self.is_shared { 0 } else { data.len() as u64 },
            data,
            is_counted: self.is_counted,
            exchange: Arc::clone(&self.exchange),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for OutgoingBody<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            // While the next frame is pending, the client waits for the process.
            self.exchange.set_working(polled.is_pending());
            let frame = match ready!(polled) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(data) => {
                    if !self.is_shared {
                        self.is_counted = self.exchange.add_unsent(data.len() as u64);
                    }
                    self.rest = data;
                }
                // Trailers have no data.
                Err(frame) => {
                    return Poll::Ready(frame.into_trailers().ok().map(|trailers| Ok(Frame::trailers(trailers))));
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl<B> Drop for OutgoingBody<B> {
    fn drop(&mut self) {
        if !self.is_shared {
            self.exchange.remove_unsent(self.rest.len() as u64, self.is_counted);
        }
        self.exchange.touch();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.exchange.remove_unsent(self.length, self.is_counted);
        self.exchange.end_piece();
    }
}
