//! Users and sessions as responses show them.

use std::borrow::Cow;

use serde::Serialize;
use symbolon_partitioner::Partition;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema, Type, schema::AnyOfBuilder},
};

use crate::{
    clock::Timestamp,
    model::{LoginName, Permission, Permissions, Preferences, Profile, SessionId, StoredSession, User, UserId},
    sessions::LiveSession,
    shards::Shards,
    store_error::StoreError,
};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    /// The user's id, a UUIDv7.
    #[schema(value_type = String, format = Uuid, example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub user_id: UserId,
    /// The login name in canonical form.
    #[schema(value_type = String, example = "ada")]
    pub login_name: LoginName,
    /// Name and e-mail address.
    pub profile: Profile,
    /// The preferences document.
    #[schema(value_type = PreferencesSchema)]
    pub preferences: Preferences,
    /// What the user may do.
    #[schema(value_type = Vec<Permission>, example = json!(["read", "write"]))]
    pub permissions: Permissions,
    /// Whether the user is kept from logging in.
    pub suspended: bool,
    /// Where the user's data lives.
    pub partition: PartitionView,
    /// Rises with every change, to the milliseconds since 1970 or beyond; the `ETag`.
    #[schema(example = 1763812800000_i64)]
    pub version: i64,
    /// When the user was registered.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub created_at: Timestamp,
    /// When the user last changed.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub updated_at: Timestamp,
}

/// The schema of a preferences document.
pub enum PreferencesSchema {}

/// The schema of what is in a preferences document.
enum PreferenceSchema {}

/// What the names of members, and texts, look like.
const TEXT_PATTERN: &str = "^[^\\x00]*$";

/// Members with values of [`PreferenceSchema`].
fn members() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(text()))
        .additional_properties(Some(PreferenceSchema::reference()))
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(TEXT_PATTERN))
}

impl PreferenceSchema {
    fn reference() -> RefOr<Schema> {
        Ref::from_schema_name(Self::name()).into()
    }
}

impl PartialSchema for PreferencesSchema {
    fn schema() -> RefOr<Schema> {
        members()
            .description(Some("A JSON object of the client's own making: up to 64 KiB and 32 levels."))
            .examples([serde_json::json!({"theme": "dark", "editor": {"tabs": 4}})])
            .into()
    }
}

impl ToSchema for PreferencesSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Preferences")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PreferenceSchema::name().into_owned(), PreferenceSchema::schema()));
    }
}

impl PartialSchema for PreferenceSchema {
    fn schema() -> RefOr<Schema> {
        const FRACTIONS_END: i64 = 1 << 53;
        let number = |type_| ObjectBuilder::new().schema_type(type_);
        AnyOfBuilder::new()
            .description(Some("Any JSON value without null characters, and numbers that lose no digit."))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(text())
            .item(number(Type::Integer).minimum(Some(i64::MIN)).maximum(Some(u64::MAX)))
            .item(number(Type::Number).exclusive_minimum(Some(-FRACTIONS_END)).exclusive_maximum(Some(FRACTIONS_END)))
            .item(ArrayBuilder::new().items(Self::reference()))
            .item(members())
            .into()
    }
}

impl ToSchema for PreferenceSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("PreferenceValue")
    }
}

/// Where a key lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Partition)]
pub struct PartitionView {
    /// The part of the key space.
    #[schema(example = "consistent_db-node-1_42")]
    pub partition_id: String,
    /// The shard.
    #[schema(example = "db-node-1")]
    pub node_id: String,
}

/// A session and what it shows of its user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    /// Names the session; opens nothing.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015")]
    pub session_id: SessionId,
    /// Whose it is.
    #[schema(value_type = String, format = Uuid, example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub user_id: UserId,
    /// The user's login name.
    #[schema(example = "ada")]
    pub login_name: String,
    /// What the user may do.
    #[schema(value_type = Vec<Permission>, example = json!(["read", "write"]))]
    pub permissions: Permissions,
    /// The user's preferences.
    #[schema(value_type = PreferencesSchema)]
    pub preferences: Preferences,
    /// The session itself.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// When and where a session was made, and when it ends.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionTimes {
    /// When it was made.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub created_at: Timestamp,
    /// When it ends if it is not used before.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T13:00:00Z")]
    pub idle_expires_at: Timestamp,
    /// When it ends at the latest.
    #[schema(value_type = String, format = DateTime, example = "2026-12-22T12:00:00Z")]
    pub expires_at: Timestamp,
    /// The address that it was made from.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    /// What the client called itself.
    #[schema(example = "curl/8.5.0")]
    pub user_agent: Option<String>,
}

/// One of a user's sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionListItem {
    /// Names the session; opens nothing.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015")]
    pub session_id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When and where it was made, and when it ends.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// A login's result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuedSession)]
pub struct IssuedView {
    /// Opens the session; shown this once. Send it as `Authorization: Bearer <token>`. Absent if it came in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "sym_AZONXnsqfEGfDjxdihsvYJc1bq0mC1cWQxYc1b0kJm8hQ2Yl9d4uXwqk0v3n1y2E")]
    pub token: Option<String>,
    /// The session.
    pub session: SessionView,
    /// The user.
    pub user: UserView,
}

impl UserView {
    /// A user, and where it lives.
    pub fn new(shards: &Shards, user: User) -> Result<Self, StoreError> {
        let placed = shards.locate_user(user.user_id)?;
        Ok(Self::placed(user, placed.partition()))
    }

    /// A user that lives there.
    pub fn placed(user: User, partition: Partition<'_>) -> Self {
        Self {
            user_id: user.user_id,
            login_name: user.login_name,
            profile: user.profile,
            preferences: user.preferences,
            permissions: user.permissions,
            suspended: user.suspended,
            partition: PartitionView::new(partition),
            version: user.version,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl PartitionView {
    /// A partition as text.
    pub fn new(partition: Partition<'_>) -> Self {
        Self { partition_id: partition.partition_id.to_string(), node_id: partition.node_id.to_owned() }
    }
}

impl SessionView {
    /// A live session.
    pub fn new(live: LiveSession) -> Self {
        Self {
            session_id: live.session.session_id,
            user_id: live.session.user_id,
            login_name: live.user.login_name,
            permissions: live.user.permissions,
            preferences: live.user.preferences,
            times: SessionTimes::new(live.session),
        }
    }
}

impl SessionTimes {
    fn new(session: StoredSession) -> Self {
        Self {
            created_at: session.created_at,
            idle_expires_at: session.idle_expires_at,
            expires_at: session.expires_at,
            address: session.client.address,
            user_agent: session.client.user_agent,
        }
    }
}

impl SessionListItem {
    /// One of several sessions; `current` is the one that asks.
    pub fn new(session: StoredSession, current: Option<SessionId>) -> Self {
        Self {
            session_id: session.session_id,
            current: current == Some(session.session_id),
            times: SessionTimes::new(session),
        }
    }
}

impl IssuedView {
    /// A session just made.
    pub fn new(shards: &Shards, issued: crate::users::IssuedSession) -> Result<Self, StoreError> {
        Ok(Self {
            token: Some(issued.token.reveal()),
            session: SessionView::new(issued.session),
            user: UserView::new(shards, issued.user)?,
        })
    }
}
