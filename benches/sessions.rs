//! What a session's token and its encoding cost beside the hash in the one and beside JSON for the other.

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use sha2::{Digest, Sha256};
use symbolon::{clock::Timestamp, model::{Token, Client, StoredSession, UserSnapshot, Permissions, Preferences, UserId}, shared_store::redis::codec};

fn tokens(c: &mut Criterion) {
    let mut group = c.benchmark_group("token");
    let user_id = UserId::generate();
    let text = Token::for_session(user_id).reveal();
    let secret = [7_u8; 32];
    group.bench_function("bare SHA-256 of 32 bytes", |b| b.iter(|| Sha256::digest(black_box(secret))));
    group.bench_function("make and show", |b| b.iter(|| Token::for_session(black_box(user_id)).reveal()));
    group.bench_function("read and digest", |b| {
        b.iter(|| Token::parse_session(black_box(&text)).map(|token| token.digest()));
    });
    group.finish();
}

fn session() -> StoredSession {
    let (user_id, now) = (UserId::generate(), Timestamp::now());
    let digest = Token::for_session(user_id).digest();
    StoredSession {
        session_id: digest.session_id(),
        user_id,
        digest,
        created_at: now,
        idle_expires_at: now + Duration::from_secs(3600),
        expires_at: now + Duration::from_secs(86_400),
        client: Client {
            address: Some(Ipv4Addr::new(192, 0, 2, 7).to_string()),
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned()),
        },
    }
}

fn snapshot() -> UserSnapshot {
    let preferences = json!({"theme": "dark", "language": "en", "editor": {"tabs": 4}});
    UserSnapshot {
        version: 3,
        login_name: "ada".to_owned(),
        permissions: Permissions::default(),
        preferences: preferences.as_object().map(Preferences::from).unwrap_or_default(),
    }
}

/// As Redis keeps it.
fn text_of(session: &StoredSession) -> String {
    let [idle_end, end] = [session.idle_expires_at, session.expires_at].map(Timestamp::millis);
    format!("7 {idle_end} {end} {}", codec::encode_rest(session))
}

/// The same session as JSON, as services put together by hand keep it.
fn as_json(session: &StoredSession) -> serde_json::Value {
    json!({
        "digest": session.digest.as_bytes(),
        "created_at": session.created_at,
        "idle_expires_at": session.idle_expires_at,
        "expires_at": session.expires_at,
        "address": session.client.address,
        "user_agent": session.client.user_agent,
    })
}

fn encodings(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    let (session, snapshot) = (session(), snapshot());
    group.bench_function("write", |b| b.iter(|| text_of(black_box(&session))));
    group.bench_function("write as JSON", |b| b.iter(|| as_json(black_box(&session)).to_string()));
    let text = text_of(&session);
    let user = format!("7 3 {}", serde_json::to_string(&snapshot).expect("JSON"));
    let texts = [user.as_str(), text.as_str()];
    let now = session.created_at;
    group.bench_function("read, with its user", |b| {
        b.iter(|| codec::decode_live(session.user_id, black_box(texts), now).is_ok_and(|live| live.is_some()));
    });
    let json = as_json(&session).to_string();
    let document =
        json!({"login_name": "ada", "permissions": ["read", "write"], "preferences": snapshot.preferences}).to_string();
    group.bench_function("read, with its user, as JSON", |b| {
        b.iter(|| {
            let session: serde_json::Value = serde_json::from_str(black_box(&json)).expect("JSON");
            let user: serde_json::Value = serde_json::from_str(black_box(&document)).expect("JSON");
            (session, user)
        });
    });
    group.finish();
}

criterion_group!(benches, tokens, encodings);
criterion_main!(benches);
