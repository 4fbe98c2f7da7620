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
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};

use crate::{
    admission::{Class, Kind, Permit},
    app::App,
    http::{
        auth::{address_of, claimed_user},
        problem::{Problem, ProblemKind},
        traffic,
    },
    load,
    shards::Placement,
    users::UserId,
};

/// Takes a place for a request until all work on it has ended and its response is sent; 503 if there is none. The permit is to
/// be held until then.
pub(super) async fn admit(
    app: &App,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> (Response, Option<Permit>) {
    let route = request.extensions().get().map(MatchedPath::as_str);
    let Some(class) = route.and_then(|route| traffic::class(request.method(), route)) else {
        return (next(request).await, None);
    };
    app.load().offer(class);
    let (class, kind) = gate(class);
    let placement = app.shards().current().ok();
    let shard = placement.as_ref().and_then(|placement| shard(class, &request, placement));
    // Those of which it can't be told whose they are are one client's.
    let client = address_of(request.headers(), request.extensions(), app).unwrap_or_default().into();
    let Ok(permit) = app.admission().admit(class, shard, kind, client).await else {
        app.load().refuse();
        return (Problem::from(ProblemKind::Overloaded).unlogged().into_response(), None);
    };
    if !request.method().is_safe() {
        request.extensions_mut().insert(permit.clone());
    }
    let request = if http_body::Body::is_end_stream(request.body()) {
        request
    } else {
        request.map(|body| Body::new(Incoming { body, permit: permit.clone() }))
    };
    let response = next(request).await;
    if is_served(response.status()) {
        permit.served();
    } else if response.extensions().get() == Some(&ProblemKind::Overloaded) {
        permit.refused();
    }
    (response, Some(permit))
}

/// The gate of a class, and what kind of request it is there.
fn gate(class: load::Class) -> (Class, Kind) {
    match class {
        load::Class::Login => (Class::Login, Kind::Change),
        load::Class::Read => (Class::Request, Kind::Read),
        load::Class::Change => (Class::Request, Kind::Change),
    }
}

/// The shard that a request needs besides the session store, if any: that of the user in its path.
fn shard<'a>(class: Class, request: &Request, placement: &'a Placement) -> Option<&'a str> {
    let user = request.uri().path().strip_prefix("/v1/users/").filter(|_| class == Class::Request)?;
    let user_id = user_of(user.split('/').next()?, request.headers())?;
    let owner = placement.partitioner.owner_index(&user_id.to_string());
    placement.partitioner.nodes().get(owner).map(|node| node.id.as_str())
}

fn user_of(segment: &str, headers: &HeaderMap) -> Option<UserId> {
    if segment == "me" { claimed_user(headers) } else { segment.parse().ok() }
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
