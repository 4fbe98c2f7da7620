//! Users and sessions as they appear in responses.

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

/// A user account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    /// Id of the user, a UUIDv7.
    #[schema(value_type = String, format = Uuid, example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub user_id: UserId,
    /// Login name in canonical form.
    #[schema(value_type = String, example = "ada")]
    pub login_name: LoginName,
    /// Name and e-mail address.
    pub profile: Profile,
    /// Preferences of the user.
    #[schema(value_type = PreferencesSchema)]
    pub preferences: Preferences,
    /// Permissions of the user.
    #[schema(value_type = Vec<Permission>, example = json!(["read", "write"]))]
    pub permissions: Permissions,
    /// Whether the user is suspended and can't log in.
    pub suspended: bool,
    /// Partition and shard that hold the user's data.
    pub partition: PartitionView,
    /// Version of the user, also sent as `ETag`. Every change raises it, to at least the current milliseconds since 1970.
    #[schema(example = 1763812800000_i64)]
    pub version: i64,
    /// Time of registration.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub updated_at: Timestamp,
}

/// The schema of a preferences document.
pub enum PreferencesSchema {}

/// The schema of a value in a preferences document.
enum PreferenceSchema {}

/// Pattern of member names and strings: no null characters.
const TEXT_PATTERN: &str = "^[^\\x00]*$";

/// Returns the schema of an object with values of [`PreferenceSchema`].
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
            .description(Some("A JSON object with content chosen by the client, up to 64 KiB and 32 levels deep."))
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
        const MAX_EXACT_INTEGER: i64 = 1 << 53;
        let number = |type_| ObjectBuilder::new().schema_type(type_);
        AnyOfBuilder::new()
            .description(Some("Any JSON value. Strings must not contain null characters, and numbers must be representable without loss."))
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(text())
            .item(number(Type::Integer).minimum(Some(i64::MIN)).maximum(Some(u64::MAX)))
            .item(number(Type::Number).exclusive_minimum(Some(-MAX_EXACT_INTEGER)).exclusive_maximum(Some(MAX_EXACT_INTEGER)))
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

/// Placement of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Partition)]
pub struct PartitionView {
    /// Id of the partition of the key space.
    #[schema(example = "consistent_db-node-1_42")]
    pub partition_id: String,
    /// Id of the shard.
    #[schema(example = "db-node-1")]
    pub node_id: String,
}

/// A session, with data of its user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    /// Public id of the session. It does not authenticate requests.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015")]
    pub session_id: SessionId,
    /// Id of the session's user.
    #[schema(value_type = String, format = Uuid, example = "01938d5e-7b2a-7c41-9f0e-3c5d8a1b2f60")]
    pub user_id: UserId,
    /// Login name of the user.
    #[schema(example = "ada")]
    pub login_name: String,
    /// Permissions of the user.
    #[schema(value_type = Vec<Permission>, example = json!(["read", "write"]))]
    pub permissions: Permissions,
    /// Preferences of the user.
    #[schema(value_type = PreferencesSchema)]
    pub preferences: Preferences,
    /// Creation and expiry of the session.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// Creation and expiry of a session.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionTimes {
    /// Time of creation.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T12:00:00Z")]
    pub created_at: Timestamp,
    /// Time when the session expires unless it is used before.
    #[schema(value_type = String, format = DateTime, example = "2026-11-22T13:00:00Z")]
    pub idle_expires_at: Timestamp,
    /// Time when the session expires at the latest.
    #[schema(value_type = String, format = DateTime, example = "2026-12-22T12:00:00Z")]
    pub expires_at: Timestamp,
    /// Client address at creation; null if unknown.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    /// `User-Agent` header at creation; null if there was none.
    #[schema(example = "curl/8.5.0")]
    pub user_agent: Option<String>,
}

/// A session in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionListItem {
    /// Public id of the session. It does not authenticate requests.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015")]
    pub session_id: SessionId,
    /// Whether it is the session of this request.
    pub current: bool,
    /// Creation and expiry of the session.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// A new session with its token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuedSession)]
pub struct IssuedView {
    /// Session token, sent as `Authorization: Bearer <token>`. It can't be retrieved again. Absent if it was set as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "sym_AZONXnsqfEGfDjxdihsvYJc1bq0mC1cWQxYc1b0kJm8hQ2Yl9d4uXwqk0v3n1y2E")]
    pub token: Option<String>,
    /// The new session.
    pub session: SessionView,
    /// The user.
    pub user: UserView,
}

impl UserView {
    /// Looks up the user's partition.
    ///
    /// # Errors
    /// If the topology is not known yet.
    pub fn new(shards: &Shards, user: User) -> Result<Self, StoreError> {
        let placed = shards.locate_user(user.user_id)?;
        Ok(Self::placed(user, placed.partition()))
    }

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
    pub fn new(partition: Partition<'_>) -> Self {
        Self { partition_id: partition.partition_id.to_string(), node_id: partition.node_id.to_owned() }
    }
}

impl SessionView {
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
    /// `current` is the session of the request.
    pub fn new(session: StoredSession, current: Option<SessionId>) -> Self {
        Self {
            session_id: session.session_id,
            current: current == Some(session.session_id),
            times: SessionTimes::new(session),
        }
    }
}

impl IssuedView {
    pub fn new(shards: &Shards, issued: crate::users::IssuedSession) -> Result<Self, StoreError> {
        Ok(Self {
            token: Some(issued.token.reveal()),
            session: SessionView::new(issued.session),
            user: UserView::new(shards, issued.user)?,
        })
    }
}
