//! Reading, changing, exporting and deleting an account.

use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{
    auth::{Access, Caller, Origin, Target},
    body::MergePatch,
    conditional::{IfMatch, IfNoneMatch, Versioned},
    json::Json,
    path::{Segment, UserOrMe},
    sessions::ended,
    views::{SessionListItem, UserView},
};
use crate::{
    app::App,
    audit,
    clock::Timestamp,
    json::nullable,
    users::UserChange,
    web::problem::{Problem, ProblemKind},
};

/// Shows a user: oneself, or for an admin anyone.
#[utoipa::path(
    get, path = "/v1/users/{user_id}", tag = "users", operation_id = "read_user", security(("session" = [])),
    params(UserOrMe, IfNoneMatch),
    responses(
        (status = 200, description = "The user.", body = UserView, headers(("ETag" = String, description = "The version."))),
        (status = 304, description = "The reader has this version."),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Segment(user_id): Segment,
    target: Option<Extension<Target>>,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let user_id = caller.target(&user_id, Access::Read)?;
    let placed = target.filter(|target| target.user_id == user_id).map(|Extension(target)| target.placed);
    let (user, placed) = app.users().find_placed(user_id, placed).await?;
    caller.republish_newer(&app, &user).await;
    Ok(if_none_match.respond(Versioned { version: user.version, body: UserView::placed(user, placed.partition()) }))
}

/// A change of profile and login name; absent members stay.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// A new login name, under the rules for registration.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 254, pattern = "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$", example = "lovelace")]
    login_name: Option<Option<String>>,
    /// New parts of the profile.
    #[serde(default, deserialize_with = "nullable_profile")]
    #[schema(value_type = ProfilePatch, required = false)]
    profile: Option<Option<ProfilePatch>>,
}

/// A change of the profile; absent members stay.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// A new name.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$", example = "Ada King")]
    name: Option<Option<String>>,
    /// A new e-mail address.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = String, required = false, min_length = 3, max_length = 254, pattern = "^[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;()]+@[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?(\\.[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?)*$", example = "ada@example.org")]
    email: Option<Option<String>>,
}

fn nullable_profile<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<ProfilePatch>>, D::Error> {
    struct Profile(ProfilePatch);

    impl<'de> Deserialize<'de> for Profile {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            crate::json::object(deserializer).map(Self)
        }
    }

    Ok(nullable::<D, Profile>(deserializer)?.map(|profile| profile.map(|Profile(profile)| profile)))
}

impl UserPatch {
    /// A null means removal (RFC 7396), and nothing here can be removed.
    fn into_change(self) -> Result<UserChange, Problem> {
        let present = |field: &str| Problem::field(ProblemKind::Invalid, field, "must not be removed");
        let text = |field: &str, member: Option<Option<String>>| {
            member.map(|value| value.ok_or_else(|| present(field))).transpose()
        };
        let profile = self.profile.map(|profile| profile.ok_or_else(|| present("profile"))).transpose()?;
        let profile = profile.unwrap_or(ProfilePatch { name: None, email: None });
        Ok(UserChange {
            login_name: text("login_name", self.login_name)?,
            name: text("profile.name", profile.name)?,
            email: text("profile.email", profile.email)?,
        })
    }
}

/// Changes profile and login name by JSON Merge Patch (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/users/{user_id}", tag = "users", operation_id = "change_user", security(("session" = [])),
    params(UserOrMe, IfMatch),
    request_body(content((UserPatch = "application/merge-patch+json"), (UserPatch = "application/json"))),
    responses(
        (status = 200, description = "The user as changed.", body = UserView, headers(("ETag" = String, description = "The version."))),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
        (status = 409, description = "login-name-taken"),
        (status = 412, description = "precondition-failed"),
        (status = 422, description = "invalid-value"),
        (status = 503, description = "overloaded, login-name-pending"),
    )
)]
pub(super) async fn change(
    State(app): State<App>,
    origin: Origin,
    caller: Caller,
    Segment(user_id): Segment,
    IfMatch(precondition): IfMatch,
    MergePatch(patch): MergePatch<UserPatch>,
) -> Result<Versioned<UserView>, Problem> {
    let user_id = caller.target(&user_id, Access::Write)?;
    let change = patch.into_change()?;
    let renames = change.login_name.is_some();
    let user = app.users().change(user_id, &precondition, change).await?;
    if renames {
        audit::record(audit::Kind::LoginNameChanged, Some(user_id), caller.actor(), origin.address);
    }
    Ok(Versioned { version: user.version, body: UserView::new(app.shards(), user)? })
}

/// Deletes an account and ends its sessions. The login name is free again.
#[utoipa::path(
    delete, path = "/v1/users/{user_id}", tag = "users", operation_id = "delete_user", security(("session" = [])),
    params(UserOrMe, IfMatch),
    responses(
        (status = 204, description = "The account is gone."),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
        (status = 412, description = "precondition-failed"),
        (status = 503, description = "overloaded"),
    )
)]
pub(super) async fn delete(
    State(app): State<App>,
    origin: Origin,
    caller: Caller,
    Segment(user_id): Segment,
    IfMatch(precondition): IfMatch,
) -> Result<Response, Problem> {
    let user_id = caller.target(&user_id, Access::Write)?;
    app.users().delete(user_id, &precondition).await?;
    audit::record(audit::Kind::UserDeleted, Some(user_id), caller.actor(), origin.address);
    Ok(ended(&caller, user_id == caller.user_id()))
}

/// All data held about a user. The password is held as a hash only, and left out.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Export {
    /// The user.
    user: UserView,
    /// The user's live sessions.
    sessions: Vec<SessionListItem>,
    /// Until when a password reset is open, if one is.
    #[schema(value_type = Option<String>, format = DateTime)]
    password_reset_expires_at: Option<Timestamp>,
    /// When this was put together.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    exported_at: Timestamp,
}

/// Shows all data held about a user.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/export", tag = "users", operation_id = "export_user", security(("session" = [])),
    params(UserOrMe),
    responses(
        (status = 200, description = "The data.", body = Export),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    Segment(user_id): Segment,
) -> Result<Json<Export>, Problem> {
    let user_id = caller.target(&user_id, Access::Read)?;
    let (user, placed) = app.users().find_placed(user_id, None).await?;
    caller.republish_newer(&app, &user).await;
    let current = Some(caller.session_id());
    let sessions = app.sessions().list(user_id).await?;
    Ok(Json(Export {
        password_reset_expires_at: user.reset.as_ref().map(|reset| reset.expires_at),
        user: UserView::placed(user, placed.partition()),
        sessions: sessions.into_iter().map(|session| SessionListItem::new(session, current)).collect(),
        exported_at: Timestamp::now(),
    }))
}
