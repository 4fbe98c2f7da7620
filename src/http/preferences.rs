//! The preferences document.

use axum::{extract::State, response::Response};
use serde_json::Value;

use super::{
    auth::{Access, Caller},
    body::MergePatch,
    conditional::{IfMatch, IfNoneMatch, Versioned},
    path::{Segment, UserOrMe},
    views::PreferencesSchema,
};
use crate::web::problem::Problem;
use crate::{app::App, json::DocumentObject, model::Preferences};

/// Shows the preferences: the bare document.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/preferences", tag = "preferences", operation_id = "read_preferences", security(("session" = [])),
    params(UserOrMe, IfNoneMatch),
    responses(
        (status = 200, description = "The document.", body = PreferencesSchema, headers(("ETag" = String, description = "The version of the user."))),
        (status = 304, description = "The reader has this version."),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Segment(user_id): Segment,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let user = app.users().find(caller.target(&user_id, Access::Read)?).await?;
    caller.republish_newer(&app, &user).await;
    Ok(if_none_match.respond(Versioned { version: user.version, body: user.preferences }))
}

/// Changes the preferences by JSON Merge Patch (RFC 7396): members replace members, null removes, objects merge.
///
/// The change is durable on the user's shard and visible in every live session of the user when this answers.
#[utoipa::path(
    patch, path = "/v1/users/{user_id}/preferences", tag = "preferences", operation_id = "change_preferences", security(("session" = [])),
    params(UserOrMe, IfMatch),
    request_body(content(
        (PreferencesSchema = "application/merge-patch+json", example = json!({"theme": "dark", "beta": null})),
        (PreferencesSchema = "application/json", example = json!({"theme": "dark", "beta": null})),
    )),
    responses(
        (status = 200, description = "The merged document.", body = PreferencesSchema, headers(("ETag" = String, description = "The version of the user."))),
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
    Segment(user_id): Segment,
    IfMatch(precondition): IfMatch,
    MergePatch(patch): MergePatch<DocumentObject>,
) -> Result<Versioned<Preferences>, Problem> {
    let user_id = caller.target(&user_id, Access::Write)?;
    let user = app.users().change_preferences(user_id, &precondition, &Value::Object(patch.0)).await?;
    Ok(Versioned { version: user.version, body: user.preferences })
}
