//! Users as the shards store them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LoginName, Preferences, UserId};
use crate::{clock::Timestamp, model::PasswordHash};

/// A user's row.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub user_id: UserId,
    /// Valid only together with a claim of the name for this user.
    pub login_name: LoginName,
    pub password_hash: PasswordHash,
    pub profile: Profile,
    pub preferences: Preferences,
    pub permissions: Permissions,
    /// Whether logins are refused.
    pub suspended: bool,
    /// SHA-256 of the registration's `Idempotency-Key`.
    pub idempotency_hash: Option<[u8; 32]>,
    /// A pending password reset.
    pub reset: Option<PasswordReset>,
    /// Grows with every change that a client can see, and is part of the `ETag`. See [`super::version`].
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Display name and e-mail address of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Display name of 1 to 200 characters, at least one of them not blank.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "Ada Lovelace"
    )]
    pub name: String,
    /// E-mail address. It is not verified.
    #[schema(
        min_length = 3,
        max_length = 254,
        pattern = "^[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;()]+@[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?(\\.[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-]([^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().]*[^@\\s\\x00-\\x1f\\x7f-\\x9f<>,;().\\-])?)*$",
        example = "ada@example.com"
    )]
    pub email: String,
}

/// Permissions of a user. New users have `read` and `write`, for their own account only. `admin` extends them to all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// Allows reading accounts.
    pub read: bool,
    /// Allows changing accounts.
    pub write: bool,
    /// Allows access to every account and to the operator endpoints.
    pub admin: bool,
}

/// A permission: `read` and `write` apply to the user's own account, `admin` to every account and the operator endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    Read,
    Write,
    Admin,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { read: true, write: true, admin: false }
    }
}

impl Permissions {
    /// Creates permissions from a list, which may contain duplicates.
    pub fn from_list(list: &[Permission]) -> Self {
        let has = |permission| list.contains(&permission);
        Self { read: has(Permission::Read), write: has(Permission::Write), admin: has(Permission::Admin) }
    }

    /// Returns the granted permissions in the order of the API.
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

/// A pending password reset with a one-time token.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordReset {
    /// SHA-256 of the token's secret.
    pub digest: [u8; 32],
    pub expires_at: Timestamp,
}

impl fmt::Debug for PasswordReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordReset").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
