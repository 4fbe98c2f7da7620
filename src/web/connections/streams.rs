//! Tasks of HTTP/2 streams, which can be cancelled when their client is too slow.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::rt::Executor;

use super::Connection;

/// Spawns the streams of one connection, and limits how many are processed concurrently.
#[derive(Debug, Clone)]
pub(in crate::web) struct StreamExecutor(pub(in crate::web) Arc<Connection>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        // hyper spawns a stream right after it has called the service for it, so the pending exchange is this stream's.
        let Some(exchange) = self.0.take_pending_stream() else {
            tokio::spawn(stream);
            return;
        };
        let (connection, ahead) = (Arc::clone(&self.0), self.0.streams_ahead());
        // Boxed, because the task would reserve space for it several times.
        let stream = Box::pin(stream);
        tokio::spawn(async move {
            {
                // Dropped at the end of the block, which resets the stream if it has not ended.
                let mut stream = stream;
                let mut in_turn = pin!(async {
                    let mut turn = connection.turn(ahead).await;
                    poll_fn(|cx: &mut Context<'_>| {
                        let polled = stream.as_mut().poll(cx);
                        if exchange.is_answered() {
                            turn = None;
                        }
                        polled
                    })
                    .await;
                });
                poll_fn(|cx: &mut Context<'_>| {
                    if exchange.poll_cancelled(cx.waker()) {
                        return Poll::Ready(());
                    }
                    in_turn.as_mut().poll(cx)
                })
                .await;
            }
            exchange.end_task();
        });
    }
}
