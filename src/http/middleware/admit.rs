//! Lets requests in, or refuses them at once.
//!
//! Which class a request is in follows from its route, and which shard it needs from its path and token, without asking
//! anybody: what is refused must cost next to nothing.

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
        auth::{Target, address_of},
        traffic,
    },
    model::LoadClass,
    web::{
        auth::claimed_token,
        problem::{Problem, ProblemKind},
    },
};

/// Takes a place for a request, where its route needs one. The permit is to be held until all work on the request has ended and
/// its response is sent.
///
/// # Errors
/// 503 if there is no place.
pub(super) async fn admit(app: &App, request: &mut Request) -> Result<Option<Permit>, Problem> {
    let route = request.extensions().get().map(MatchedPath::as_str);
    let Some(class) = route.and_then(|route| traffic::class(request.method(), route)) else { return Ok(None) };
    app.load().offer(class);
    let (class, kind) = gate(class);
    let target = target(class, request, app);
    let shard = target.as_ref().map(|target| target.placed.partition().node_id);
    // Those of which it can't be told whose they are are one client's.
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
        *request.body_mut() = Body::new(Incoming { body, permit: permit.clone() });
    }
    Ok(Some(permit))
}

/// Notes on a permit what its request took, if it was served, or that it met another limit.
pub(super) fn note_outcome(permit: &Permit, response: &Response) {
    if is_served(response.status()) {
        permit.mark_served();
    } else if response.extensions().get() == Some(&ProblemKind::Overloaded) {
        permit.mark_rejected_downstream();
    }
}

/// The gate of a class, and what kind of request it is there.
fn gate(class: LoadClass) -> (Class, Kind) {
    match class {
        LoadClass::Login => (Class::Login, Kind::Change),
        LoadClass::Read => (Class::Request, Kind::Read),
        LoadClass::Change => (Class::Request, Kind::Change),
    }
}

/// The user in a request's path, whose shard it needs besides the session store.
fn target(class: Class, request: &Request, app: &App) -> Option<Target> {
    let user = request.uri().path().strip_prefix("/v1/users/").filter(|_| class == Class::Request)?;
    let (user_id, token) = match user.split('/').next()? {
        "me" => {
            let token = claimed_token(request.headers())?;
            (token.user_id(), Some(token))
        }
        segment => (segment.parse().ok()?, None),
    };
    Some(Target { user_id, token, placed: app.shards().locate_user(user_id).ok()? })
}

/// Whether a response took what serving such a request takes.
fn is_served(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// The body of a request, which has no place while it is waited for.
struct Incoming {
    body: Body,
    permit: Permit,
}

impl http_body::Body for Incoming {
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
