//! Text format of sessions and user snapshots.
//!
//! A session is `GENERATION IDLE_EXPIRES_AT EXPIRES_AT CREATED_AT DIGEST ADDRESS USER_AGENT`, with times in Unix milliseconds.
//! A user is `GENERATION VERSION SNAPSHOT`. Scripts compare and replace the leading fields and copy the rest unchanged.

use crate::{
    clock::Timestamp,
    model::{Client, StoredSession, TokenDigest, UserId, UserSnapshot},
};

/// Reason why a text can't be decoded.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Placeholder for an unknown address.
const UNKNOWN: &str = "-";

/// Encodes the immutable fields of a session, which follow its generation, idle expiry and absolute expiry.
pub fn encode_rest(session: &StoredSession) -> String {
    let digest = const_hex::encode(session.digest.as_bytes());
    let address = session.client.address.as_deref().unwrap_or(UNKNOWN);
    let user_agent = session.client.user_agent.as_deref().unwrap_or_default();
    format!("{} {digest} {address} {user_agent}", session.created_at.millis())
}

/// Decodes a session and the generation under which it was created.
///
/// # Errors
/// Fails for text in another format.
pub fn decode(user_id: UserId, text: &str) -> Result<(&str, StoredSession), Failure> {
    let mut fields = text.splitn(7, ' ');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}"));
    let time = |text: &str| text.parse().map(Timestamp::from_millis);
    let generation = field("generation")?;
    let (idle_ends, ends, created) = (field("idle expiry")?, field("expiry")?, field("creation time")?);
    let (digest, address, user_agent) = (field("digest")?, field("address")?, field("user agent")?);
    let mut bytes = [0; 32];
    const_hex::decode_to_slice(digest, &mut bytes)?;
    let digest = TokenDigest::from_store(&bytes)?;
    let known = |text: &str, unknown| (text != unknown).then(|| text.to_owned());
    let session = StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at: time(created)?,
        idle_expires_at: time(idle_ends)?,
        expires_at: time(ends)?,
        client: Client { address: known(address, UNKNOWN), user_agent: known(user_agent, "") },
    };
    Ok((generation, session))
}

fn decode_snapshot(text: &str) -> Result<UserSnapshot, Failure> {
    let (version, document) = text.split_once(' ').ok_or("no version")?;
    let mut snapshot: UserSnapshot = serde_json::from_str(document)?;
    snapshot.version = version.parse()?;
    Ok(snapshot)
}

/// Decodes a session and the snapshot of its user from their stored texts. Returns `None` if the session's generation is not
/// the user's.
///
/// # Errors
/// Fails for text in another format.
pub fn decode_live(
    user_id: UserId,
    [user, session]: [&str; 2],
) -> Result<Option<(StoredSession, UserSnapshot)>, Failure> {
    let (generation, session) = decode(user_id, session)?;
    let (current, snapshot) = user.split_once(' ').unwrap_or((user, ""));
    if generation != current {
        return Ok(None);
    }
    Ok(Some((session, decode_snapshot(snapshot)?)))
}
