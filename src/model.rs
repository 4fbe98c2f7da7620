//! Domain types that all layers share. They do no I/O and import nothing from the layers above.

mod load;
pub(crate) mod login_name;
mod network;
mod password_hash;
mod preferences;
mod session;
mod token;
mod user;
mod user_id;
pub mod version;
mod violation;

pub use load::{ByClass, Load, LoadClass};
pub use login_name::{LoginName, LoginNameError, MAX_LOGIN_NAME_CHARS};
pub use network::Network;
pub use password_hash::PasswordHash;
pub use preferences::Preferences;
pub use session::{Client, Generation, StoredSession, UserSnapshot};
pub use token::{InvalidSessionId, SessionId, Token, TokenDigest};
pub use user::{PasswordReset, Permission, Permissions, Profile, User};
pub use user_id::{InvalidUserId, UserId};
pub(crate) use violation::MAX_FIELD_CHARS;
pub use violation::Violation;
