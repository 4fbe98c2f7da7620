//! What a shard knows of a user.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LoginName, Preferences, UserId};
use crate::{clock::Timestamp, model::PasswordHash};

/// A user's row. `version` rises with every change that a client can see, and is the `ETag`.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Who it is.
    pub user_id: UserId,
    /// The name it logs in with; the name's claim must name this user back.
    pub login_name: LoginName,
    /// How the password is recognised.
    pub password_hash: PasswordHash,
    /// Name and e-mail address.
    pub profile: Profile,
    /// A JSON object of the client's own making.
    pub preferences: Preferences,
    /// What it may do.
    pub permissions: Permissions,
    /// Whether logging in is refused.
    pub suspended: bool,
    /// SHA-256 of the `Idempotency-Key` that it was registered with.
    pub idempotency_hash: Option<[u8; 32]>,
    /// A pending password reset.
    pub reset: Option<PasswordReset>,
    /// See [`super::version`].
    pub version: i64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What others would call the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// 1 to 200 characters.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "Ada Lovelace"
    )]
    pub name: String,
    /// An e-mail address; not verified.
    #[schema(
        min_length = 3,
        max_length = 254,
        pattern = "^[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;()]+@[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?(\\.[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?)*$",
        example = "ada@example.com"
    )]
    pub email: String,
}

/// What a user may do. `read` and `write` are everyone's at first; `admin` lifts the limit to one's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// May read accounts.
    pub read: bool,
    /// May change accounts.
    pub write: bool,
    /// May act on every account and use the operator endpoints.
    pub admin: bool,
}

/// One permission by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See [`Permissions::read`].
    Read,
    /// See [`Permissions::write`].
    Write,
    /// See [`Permissions::admin`].
    Admin,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { read: true, write: true, admin: false }
    }
}

impl Permissions {
    /// Those in `list`; repeats don't matter.
    pub fn from_list(list: &[Permission]) -> Self {
        let has = |permission| list.contains(&permission);
        Self { read: has(Permission::Read), write: has(Permission::Write), admin: has(Permission::Admin) }
    }

    /// As the API lists them.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        [(self.read, Permission::Read), (self.write, Permission::Write), (self.admin, Permission::Admin)]
            .into_iter()
            .filter_map(|(held, permission)| held.then_some(permission))
    }
}

impl Serialize for Permissions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Permission>::deserialize(deserializer).map(|list| Self::from_list(&list))
    }
}

/// A one-time token by which the password can be set without the old one.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordReset {
    /// SHA-256 of the token's secret.
    pub digest: [u8; 32],
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl fmt::Debug for PasswordReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordReset").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
