//! What happens to every request around its handler.
//!
//! It is one layer to the routes, and its parts call each other: each layer of its own would cost every request several
//! allocations more. `axum::middleware::from_fn` would keep what comes next in one more box.

mod admit;

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Instant,
};

use admit::{admit, note_outcome};
use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, Version, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, future::BoxFuture};
use http_body::{Frame, SizeHint};
use symbolon_balancer::{Lease, Outcome};
use tokio::task::unconstrained;
use tower::{Service, ServiceExt};
use tracing::{Instrument, Span};

use crate::{
    admission::Permit,
    app::App,
    log::repeats::Repeats,
    metrics::Observed,
    web::{default_headers, problem::ProblemKind, request_id, timers::SpareTimer},
};

/// A route, and what happens to every request around it.
#[derive(Clone)]
pub struct RequestPipeline<S> {
    app: App,
    route: S,
}

impl<S> RequestPipeline<S> {
    /// Puts it around a route.
    pub fn new(app: App, route: S) -> Self {
        Self { app, route }
    }
}

/// A route of axum's.
pub trait Route:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Route for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S: Route> Service<Request> for RequestPipeline<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { app, route } = self.clone();
        Box::pin(process(app, request, route))
    }
}

/// Names a request, measures it, admits it, bounds its time, and runs changes to their end.
async fn process(app: App, request: Request, route: impl Route) -> Result<Response, Infallible> {
    let request_id = request_id::from_headers(request.headers());
    let span = span(&request, &request_id);
    let response = answer(&app, request, route).instrument(span).await;
    Ok(default_headers::add(response, request_id))
}

/// Measures a request from its arrival until the last frame of its response is made, on this instance's node. Its permit is
/// held until then: how long the client takes to receive the response says nothing of this instance.
async fn answer(app: &App, mut request: Request, route: impl Route) -> Response {
    let now = Instant::now();
    let mut lease = app.fleet().own().lease(now);
    let matched = request.extensions().get().map(MatchedPath::as_str);
    let mut observed = app.requests().observe(request.method(), matched, now);
    let is_head = request.method() == Method::HEAD;
    let is_http1 = request.version() <= Version::HTTP_11;
    let (mut response, permit) = match admit(app, &mut request).await {
        Ok(permit) => {
            let timer = request.extensions_mut().remove::<SpareTimer>().unwrap_or_default();
            // Pinned here: it is large, and would be moved into each future around it.
            let work = pin!(AssertUnwindSafe(finish_changes(app, request, route)).catch_unwind());
            let response = time_out(app, &timer, work).await.unwrap_or_else(panicked);
            permit.iter().for_each(|permit| note_outcome(permit, &response));
            (response, permit)
        }
        Err(problem) => (problem.into_response(), None),
    };
    if is_http1 && app.is_draining() {
        // The client opens its next connection elsewhere, and no request meets one that is being closed.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    observed.answered(response.status());
    tracing::debug!(status = response.status().as_u16(), took = ?now.elapsed(), "answered");
    let outcome = if response.status().is_server_error() { Outcome::Failure } else { Outcome::Success };
    if is_head || http_body::Body::is_end_stream(response.body()) {
        // Such a body is never read to its end, because there is none.
        lease.finish(outcome);
        return response;
    }
    let measured = Some(UnderWay { lease, outcome, _observed: observed, _permit: permit });
    response.map(|body| Body::new(Measured { body, measured }))
}

/// The span of a request. Paths and queries may hold login names: it shows the route.
fn span(request: &Request, request_id: &HeaderValue) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let request_id = request_id.to_str().unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), route, request_id)
}

/// A body that holds its request's lease until its last frame is made or it is dropped.
struct Measured {
    body: Body,
    measured: Option<UnderWay>,
}

struct UnderWay {
    lease: Lease,
    outcome: Outcome,
    _observed: Observed,
    _permit: Option<Permit>,
}

impl Measured {
    fn end(&mut self, failed: bool) {
        if let Some(UnderWay { mut lease, outcome, .. }) = self.measured.take() {
            lease.finish(if failed { Outcome::Failure } else { outcome });
        }
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Err(_))) => self.end(true),
            Poll::Ready(None) => self.end(false),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.end(false),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs a request that may change something to its end even if the client goes away or the time is up: an operation
/// that spans two stores must not stop in the middle because somebody closed a laptop. It has its place until then.
async fn finish_changes(app: &App, request: Request, route: impl Route) -> Response {
    if request.method().is_safe() {
        return run(route, request).await;
    }
    let permit = request.extensions().get::<Permit>().cloned();
    let work = async {
        let response = run(route, request).await;
        drop(permit);
        response
    };
    match app.tasks().spawn(work.in_current_span()).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panicked(panic),
            Err(_) => ProblemKind::Internal.into_response(),
        },
    }
}

async fn run(mut route: impl Route, request: Request) -> Response {
    let Ok(route) = route.ready().await;
    let Ok(response) = route.call(request).await;
    response
}

/// Answers 503 once the time is up.
async fn time_out<E>(
    app: &App,
    timer: &SpareTimer,
    work: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    // It ends also when the work has used up what a task may do at a time.
    let late = unconstrained(timer.until(Instant::now() + app.settings().request_timeout));
    tokio::select! {
        biased;
        served = work => served,
        () = late => Ok(ProblemKind::Timeout.into_response()),
    }
}

/// What a client gets when a handler panics.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    static PANICS: Repeats = Repeats::new(|count| tracing::error!(count, "more requests panicked"));
    PANICS.record(|| tracing::error!(panic = message.unwrap_or("unknown"), "a request panicked"));
    ProblemKind::Internal.into_response()
}
