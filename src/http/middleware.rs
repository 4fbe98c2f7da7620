//! The pipeline that every request passes before and after its handler.
//!
//! It is a single layer whose steps call each other. A layer per step would cost every request several more allocations, and
//! `axum::middleware::from_fn` would box the inner service once more.

mod admit;

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Instant,
};

use admit::{admit, record_outcome};
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

/// A route wrapped in the request pipeline.
#[derive(Clone)]
pub struct RequestPipeline<S> {
    app: App,
    route: S,
}

impl<S> RequestPipeline<S> {
    /// Wraps `route`.
    pub fn new(app: App, route: S) -> Self {
        Self { app, route }
    }
}

/// A service that the pipeline can wrap: one of axum's routes.
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

/// Assigns the request id, then measures, admits and times out the request, and runs changes to completion.
async fn process(app: App, request: Request, route: impl Route) -> Result<Response, Infallible> {
    let request_id = request_id::from_headers(request.headers());
    let span = span(&request, &request_id);
    let response = handle(&app, request, route).instrument(span).await;
    Ok(default_headers::add(response, request_id))
}

/// Measures a request on this instance's own node, from its arrival until the last frame of the response is produced.
///
/// The permit is held for the same time. The time that the client takes to receive the response is not counted, because it
/// says nothing about this instance.
async fn handle(app: &App, mut request: Request, route: impl Route) -> Response {
    let now = Instant::now();
    let mut lease = app.fleet().own().lease(now);
    let matched = request.extensions().get().map(MatchedPath::as_str);
    let mut observed = app.requests().observe(request.method(), matched, now);
    let is_head = request.method() == Method::HEAD;
    let is_http1 = request.version() <= Version::HTTP_11;
    let (mut response, permit) = match admit(app, &mut request).await {
        Ok(permit) => {
            let timer = request.extensions_mut().remove::<SpareTimer>().unwrap_or_default();
            // Pinned here because it is large: otherwise it would be moved into each enclosing future.
            let work = pin!(AssertUnwindSafe(run_to_completion(app, request, route)).catch_unwind());
            let response = time_out(app, &timer, work).await.unwrap_or_else(panic_response);
            if let Some(permit) = &permit {
                record_outcome(permit, &response);
            }
            (response, permit)
        }
        Err(problem) => (problem.into_response(), None),
    };
    if is_http1 && app.is_draining() {
        // Makes the client open its next connection to another instance, so that no request hits a closing connection.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    observed.set_status(response.status());
    tracing::debug!(status = response.status().as_u16(), took = ?now.elapsed(), "request completed");
    let outcome = if response.status().is_server_error() { Outcome::Failure } else { Outcome::Success };
    if is_head || http_body::Body::is_end_stream(response.body()) {
        // hyper does not poll such a body, so `MeasuredBody` would never see its end.
        lease.finish(outcome);
        return response;
    }
    let in_flight = Some(InFlight { lease, outcome, _observed: observed, _permit: permit });
    response.map(|body| Body::new(MeasuredBody { body, in_flight }))
}

/// Returns the log span of a request. It has the route, not the path or query, which may contain login names.
fn span(request: &Request, request_id: &HeaderValue) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let request_id = request_id.to_str().unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), route, request_id)
}

/// A response body that holds the request's lease and permit until its last frame is produced or it is dropped.
struct MeasuredBody {
    body: Body,
    in_flight: Option<InFlight>,
}

struct InFlight {
    lease: Lease,
    outcome: Outcome,
    _observed: Observed,
    _permit: Option<Permit>,
}

impl MeasuredBody {
    fn end(&mut self, failed: bool) {
        if let Some(InFlight { mut lease, outcome, .. }) = self.in_flight.take() {
            lease.finish(if failed { Outcome::Failure } else { outcome });
        }
    }
}

impl http_body::Body for MeasuredBody {
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

/// Runs a request, and one with an unsafe method to completion even if the client disconnects or the request times out.
///
/// An operation that spans two stores must not be cancelled half-way. The request keeps its permit until it has ended.
async fn run_to_completion(app: &App, request: Request, route: impl Route) -> Response {
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
            Ok(panic) => panic_response(panic),
            Err(_) => ProblemKind::Internal.into_response(),
        },
    }
}

async fn run(mut route: impl Route, request: Request) -> Response {
    let Ok(route) = route.ready().await;
    let Ok(response) = route.call(request).await;
    response
}

/// Returns 503 if `work` exceeds the request timeout.
async fn time_out<E>(
    app: &App,
    timer: &SpareTimer,
    work: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    // Unconstrained, so that the timer fires even if the work has used up the task's cooperative budget.
    let timeout = unconstrained(timer.until(Instant::now() + app.settings().request_timeout));
    tokio::select! {
        biased;
        result = work => result,
        () = timeout => Ok(ProblemKind::Timeout.into_response()),
    }
}

/// Logs the panic of a handler and returns a 500 response.
fn panic_response(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    static PANICS: Repeats = Repeats::new(|count| tracing::error!(count, "further request handlers panicked"));
    PANICS.record(|| tracing::error!(panic = message.unwrap_or("unknown"), "request handler panicked"));
    ProblemKind::Internal.into_response()
}
