//! Reading, changing, exporting and deleting accounts.

use axum::{Extension, extract::State, response::Response};
use serde::{Deserialize, Serialize};

use super::{
    auth::{AccountAccess, Caller, Origin, TargetUser},
    body::MergePatch,
    conditional::{IfMatch, IfNoneMatch, Versioned},
    json::Json,
    path::{PathParam, UserOrMe},
    sessions::sessions_ended,
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

/// Returns a user.
///
/// Callers can read themselves; an admin can read everyone.
#[utoipa::path(
    get, path = "/v1/users/{user_id}", tag = "users", operation_id = "read_user", security(("session" = [])),
    params(UserOrMe, IfNoneMatch),
    responses(
        (status = 200, description = "The user.", body = UserView, headers(("ETag" = String, description = "Entity tag of the version."))),
        (status = 304, description = "The client already has this version."),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    PathParam(user_id): PathParam,
    target: Option<Extension<TargetUser>>,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Read)?;
    let placed = target.filter(|target| target.user_id == user_id).map(|Extension(target)| target.placed);
    let (user, placed) = app.users().find_placed(user_id, placed).await?;
    caller.republish_newer(&app, &user).await;
    Ok(if_none_match.respond(Versioned { version: user.version, body: UserView::placed(user, placed.partition()) }))
}

/// Changes to login name and profile. Absent members stay unchanged.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// New login name; the same rules as for registration.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 254, pattern = "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$", example = "lovelace")]
    login_name: Option<Option<String>>,
    /// Changes to the profile.
    #[serde(default, deserialize_with = "nullable_profile")]
    #[schema(value_type = ProfilePatch, required = false)]
    profile: Option<Option<ProfilePatch>>,
}

/// Changes to the profile. Absent members stay unchanged.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// New display name.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$", example = "Ada King")]
    name: Option<Option<String>>,
    /// New e-mail address.
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
    /// Converts the patch.
    ///
    /// # Errors
    /// 422 for a null member: it means removal (RFC 7396), and no member can be removed.
    fn into_change(self) -> Result<UserChange, Problem> {
        let not_removable = |field: &str| Problem::field(ProblemKind::Invalid, field, "must not be removed");
        let text = |field: &str, member: Option<Option<String>>| {
            member.map(|value| value.ok_or_else(|| not_removable(field))).transpose()
        };
        let profile = self.profile.map(|profile| profile.ok_or_else(|| not_removable("profile"))).transpose()?;
        let profile = profile.unwrap_or(ProfilePatch { name: None, email: None });
        Ok(UserChange {
            login_name: text("login_name", self.login_name)?,
            name: text("profile.name", profile.name)?,
            email: text("profile.email", profile.email)?,
        })
    }
}

/// Changes login name and profile by JSON Merge Patch (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/users/{user_id}", tag = "users", operation_id = "change_user", security(("session" = [])),
    params(UserOrMe, IfMatch),
    request_body(content((UserPatch = "application/merge-patch+json"), (UserPatch = "application/json"))),
    responses(
        (status = 200, description = "The changed user.", body = UserView, headers(("ETag" = String, description = "Entity tag of the version."))),
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
    PathParam(user_id): PathParam,
    IfMatch(precondition): IfMatch,
    MergePatch(patch): MergePatch<UserPatch>,
) -> Result<Versioned<UserView>, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Write)?;
    let change = patch.into_change()?;
    let renames = change.login_name.is_some();
    let user = app.users().change(user_id, &precondition, change).await?;
    if renames {
        audit::record(audit::Kind::LoginNameChanged, Some(user_id), caller.actor(), origin.address);
    }
    Ok(Versioned { version: user.version, body: UserView::new(app.shards(), user)? })
}

/// Deletes an account and ends its sessions.
///
/// The login name can be registered again.
#[utoipa::path(
    delete, path = "/v1/users/{user_id}", tag = "users", operation_id = "delete_user", security(("session" = [])),
    params(UserOrMe, IfMatch),
    responses(
        (status = 204, description = "The account is deleted."),
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
    PathParam(user_id): PathParam,
    IfMatch(precondition): IfMatch,
) -> Result<Response, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Write)?;
    app.users().delete(user_id, &precondition).await?;
    audit::record(audit::Kind::UserDeleted, Some(user_id), caller.actor(), origin.address);
    Ok(sessions_ended(&caller, user_id == caller.user_id()))
}

/// All data stored about a user, except the password hash.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Export {
    /// The account.
    user: UserView,
    /// Live sessions of the user.
    sessions: Vec<SessionListItem>,
    /// Expiry of the current password reset token; null if there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    password_reset_expires_at: Option<Timestamp>,
    /// Time of the export.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    exported_at: Timestamp,
}

/// Exports all data stored about a user.
#[utoipa::path(
    get, path = "/v1/users/{user_id}/export", tag = "users", operation_id = "export_user", security(("session" = [])),
    params(UserOrMe),
    responses(
        (status = 200, description = "All data of the user.", body = Export),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    PathParam(user_id): PathParam,
) -> Result<Json<Export>, Problem> {
    let user_id = caller.target(&user_id, AccountAccess::Read)?;
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
