//! Sessions and what they show of their user, as text.
//!
//! A session is `GENERATION IDLE_EXPIRES_AT EXPIRES_AT CREATED_AT DIGEST ADDRESS USER_AGENT`, times in Unix milliseconds, and
//! its user `GENERATION VERSION SNAPSHOT`: scripts compare and replace what is in front, and leave the rest as it is.

use crate::{
    clock::Timestamp,
    model::{Client, StoredSession, TokenDigest, UserId, UserSnapshot},
};

/// Why a text can't be read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What stands for an address that is not known.
const UNKNOWN: &str = "-";

/// What never changes of a session, and comes behind its generation, idle end and end.
pub fn encode_rest(session: &StoredSession) -> String {
    let digest = const_hex::encode(session.digest.as_bytes());
    let address = session.client.address.as_deref().unwrap_or(UNKNOWN);
    let user_agent = session.client.user_agent.as_deref().unwrap_or_default();
    format!("{} {digest} {address} {user_agent}", session.created_at.millis())
}

/// A session and the generation that it was made under.
///
/// # Errors
/// Of text that none of this wrote.
pub fn decode(user_id: UserId, text: &str) -> Result<(&str, StoredSession), Failure> {
    let mut fields = text.splitn(7, ' ');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}"));
    let time = |text: &str| text.parse().map(Timestamp::from_millis);
    let generation = field("generation")?;
    let (idle_ends, ends, created) = (field("idle end")?, field("end")?, field("creation")?);
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

/// A session that is alive by its user's generation, and its user; both as they are stored.
///
/// # Errors
/// Of texts that none of this wrote.
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
