//! A change that is in a user's row, and that sessions do not show, as publishing it failed: whoever reads the row mends that.

use serde_json::{Value, json};

use super::{harness::Service, names::on_every_shard, real_stores::TOKEN};
use crate::servers::redis::{Redis, RedisPair};

/// What a change leaves whose publishing failed.
const CHANGE: &str =
    r#"UPDATE users SET preferences = '{"theme":"dark"}', version = version + 1 WHERE login_name = 'ada'"#;

async fn shown(service: &Service, token: &str) -> Value {
    let reply = service.get("/v1/session").bearer(token).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["preferences"].clone()
}

#[tokio::test]
async fn a_row_that_is_newer_than_the_session_shows_is_shown_once_it_is_read() {
    let service = Service::with(&[("SYMBOLON_OPERATOR_TOKEN", TOKEN)]).await;
    let user_id = service.register("ada").await;
    let admin_id = service.register("eve").await;
    let path = format!("/v1/operator/users/{admin_id}/permissions");
    service.put(&path, json!({"permissions": ["read", "admin"]})).bearer(TOKEN).send().await;
    let (token, admin) = (service.login("ada").await, service.login("eve").await);
    let by_id = format!("/v1/users/{user_id}");
    for (path, reader) in [
        ("/v1/users/me", token.as_str()),
        ("/v1/users/me/preferences", &token),
        ("/v1/users/me/export", &token),
        ("/v1/operator/users?login_name=ada", TOKEN),
        (&by_id, &admin),
    ] {
        let reset = service.patch("/v1/users/me/preferences", json!({"theme": "light"})).bearer(&token).send().await;
        assert_eq!(reset.status, 200, "{}", reset.text);
        assert_eq!(on_every_shard(&service, CHANGE).await, 1);
        assert_eq!(shown(&service, &token).await, json!({"theme": "light"}), "before {path}");
        assert_eq!(service.get(path).bearer(reader).send().await.status, 200);
        assert_eq!(shown(&service, &token).await, json!({"theme": "dark"}), "after {path}");
    }
}

#[tokio::test]
async fn a_read_succeeds_whether_or_not_what_it_found_can_be_published() {
    let pair = RedisPair::start();
    let redis = pair.url();
    let service = Service::with(&[
        ("SYMBOLON_REDIS_URL", &redis),
        ("SYMBOLON_REDIS_WAIT_REPLICAS", "1"),
        ("SYMBOLON_OPERATOR_TOKEN", TOKEN),
    ])
    .await;
    let token = service.member("ada").await;
    pair.replica.pause();
    for path in ["/v1/users/me", "/v1/users/me/preferences", "/v1/users/me/export"] {
        assert_eq!(on_every_shard(&service, CHANGE).await, 1);
        assert_eq!(service.get(path).bearer(&token).send().await.status, 200, "{path}");
    }
    let lookup = service.get("/v1/operator/users?login_name=ada").bearer(TOKEN).send().await;
    assert_eq!(lookup.status, 200, "{}", lookup.text);
}

#[tokio::test]
async fn reading_what_the_session_shows_already_publishes_nothing() {
    let redis = Redis::start();
    let service = Service::with(&[("SYMBOLON_REDIS_URL", &redis.url())]).await;
    let token = service.member("ada").await;
    // Only what writes a user's key asks for its time to live.
    let has_published = || redis.command(&["info", "commandstats"]).contains("cmdstat_pttl");
    assert!(has_published(), "a login does");
    redis.command(&["config", "resetstat"]);
    for path in ["/v1/users/me", "/v1/users/me/preferences", "/v1/users/me/export"] {
        assert_eq!(service.get(path).bearer(&token).send().await.status, 200, "{path}");
    }
    assert!(!has_published());
}
