//! Admission of requests.
//!
//! The class of a request follows from its route, and its shard from its path and token. Neither needs a store, because
//! rejecting a request must cost next to nothing.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request},
    http::StatusCode,
    response::Response,
};
use http_body::{Frame, SizeHint};
use symbolon_admission::Kind;

use crate::{
    admission::{Class, Permit},
    app::App,
    http::{
        auth::{TargetUser, address_of},
        traffic,
    },
    model::LoadClass,
    web::{
        auth::claimed_token,
        problem::{Problem, ProblemKind},
    },
};

/// Acquires a permit for a request; `None` if its route needs none.
///
/// Hold the permit until all work on the request has ended and its response is produced.
///
/// # Errors
/// 503 if the request is rejected.
pub(super) async fn admit(app: &App, request: &mut Request) -> Result<Option<Permit>, Problem> {
    let route = request.extensions().get().map(MatchedPath::as_str);
    let Some(class) = route.and_then(|route| traffic::class(request.method(), route)) else { return Ok(None) };
    app.load().offer(class);
    let (class, kind) = admission_class(class);
    let target = target(class, request, app);
    let shard = target.as_ref().map(|target| target.placed.partition().node_id);
    // Requests whose client can't be identified share the quota of one client.
    let client = address_of(request.headers(), request.extensions(), app).unwrap_or_default().into();
    let Ok(permit) = app.admission().admit(class, shard, kind, client).await else {
        app.load().refuse();
        return Err(Problem::from(ProblemKind::Overloaded).unlogged());
    };
    if let Some(target) = target {
        request.extensions_mut().insert(target);
    }
    if !request.method().is_safe() {
        request.extensions_mut().insert(permit.clone());
    }
    if !http_body::Body::is_end_stream(request.body()) {
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(PausingBody { body, permit: permit.clone() });
    }
    Ok(Some(permit))
}

/// Records on a permit whether its request was served, or rejected by a limit further down.
pub(super) fn record_outcome(permit: &Permit, response: &Response) {
    if is_served(response.status()) {
        permit.mark_served();
    } else if response.extensions().get() == Some(&ProblemKind::Overloaded) {
        permit.mark_rejected_downstream();
    }
}

/// Returns the admission class of a load class, and the kind of request within it.
fn admission_class(class: LoadClass) -> (Class, Kind) {
    match class {
        LoadClass::Login => (Class::Login, Kind::Change),
        LoadClass::Read => (Class::Request, Kind::Read),
        LoadClass::Change => (Class::Request, Kind::Change),
    }
}

/// Returns the user in a request's path. The request needs that user's shard besides the session store.
fn target(class: Class, request: &Request, app: &App) -> Option<TargetUser> {
    let user = request.uri().path().strip_prefix("/v1/users/").filter(|_| class == Class::Request)?;
    let (user_id, token) = match user.split('/').next()? {
        "me" => {
            let token = claimed_token(request.headers())?;
            (token.user_id(), Some(token))
        }
        segment => (segment.parse().ok()?, None),
    };
    Some(TargetUser { user_id, token, placed: app.shards().locate_user(user_id).ok()? })
}

/// Returns whether the response's time is representative of serving such a request.
fn is_served(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// A request body that pauses the permit while it waits for the client.
struct PausingBody {
    body: Body,
    permit: Permit,
}

impl http_body::Body for PausingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending() {
            self.permit.pause()
        } else {
            self.permit.resume()
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
