//! Reading and changing preferences.

use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    auth::{AccountAccess, Caller},
    body::MergePatch,
    conditional::{IfMatch, IfNoneMatch, Versioned},
    path::{PathParam, UserOrMe},
    views::PreferencesSchema,
};
use crate::web::problem::Problem;
use crate::{app::App, json::DocumentObject, model::Preferences};

/// Returns the preferences of a user.
///
/// The response body is the document itself, without an envelope.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/preferences", tag = "preferences", operation_id = "read_preferences", security(("session" = [])),
    params(UserOrMe, IfNoneMatch),
    responses(
        (status = 200, description = "The preferences document.", body = PreferencesSchema, headers(("ETag" = String, description = "Entity tag of the user's version."))),
        (status = 304, description = "The client already has this version."),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    PathParam(user_id): PathParam,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let user = app.users().find(caller.target(&user_id, AccountAccess::Read)?).await?;
    caller.republish_newer(&app, &user).await;
    Ok(if_none_match.respond(Versioned { version: user.version, body: user.preferences }))
}

/// Changes the preferences by JSON Merge Patch (RFC 7396).
///
/// A member replaces the member of that name, null removes it, and objects are merged. When the response is sent, the change is
/// durable on the user's shard and visible in every live session of the user.
#[utoipa::path(
    patch, path = "/v1/users/{user_id}/preferences", tag = "preferences", operation_id = "change_preferences", security(("session" = [])),
    params(UserOrMe, IfMatch),
    request_body(content(
        (PreferencesSchema = "application/merge-patch+json", example = json!({"theme": "dark", "beta": null})),
        (PreferencesSchema = "application/json", example = json!({"theme": "dark", "beta": null})),
    )),
    responses(
        (status = 200, description = "The merged document.", body = PreferencesSchema, headers(("ETag" = String, description = "Entity tag of the user's version."))),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
        (status = 412, description = "precondition-failed"),
        (status = 422, description = "invalid-value"),
        (status = 503, description = "overloaded"),
    )
)]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    PathParam(user_id): PathParam,
    IfMatch(precondition): IfMatch,
    MergePatch(patch): MergePatch<DocumentObject>,
) -> Result<Versioned<Preferences>, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Write)?;
    let user = app.users().change_preferences(user_id, &precondition, &Value::Object(patch.0)).await?;
    Ok(Versioned { version: user.version, body: user.preferences })
}
