//! Preferences: merge patches, versions and conditional requests.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, Service};

const PATH: &str = "/v1/users/me/preferences";

#[tokio::test]
async fn a_patch_merges_replaces_and_removes() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let patch = async |body: Value| service.patch(PATH, body).bearer(&token).send().await;
    assert_eq!(patch(json!({"theme": "light", "editor": {"tabs": 4, "wrap": true}})).await.status, 200);
    let merged = patch(json!({"theme": "dark", "editor": {"tabs": null, "font": []}})).await;
    assert_eq!(merged.json(), json!({"theme": "dark", "editor": {"wrap": true, "font": []}}));
    assert_eq!(service.get(PATH).bearer(&token).send().await.json(), merged.json());
}

#[tokio::test]
async fn a_change_is_visible_in_every_session_on_every_instance() {
    let first = Service::start().await;
    let second = first.another().await;
    let (one, other) = (first.register_and_login("ada").await, first.login("ada").await);
    first.patch(PATH, json!({"theme": "dark"})).bearer(&one).send().await;
    for service in [&first, &second] {
        let session = service.get("/v1/session").bearer(&other).send().await.json();
        assert_eq!(session["preferences"], json!({"theme": "dark"}));
    }
}

#[tokio::test]
async fn concurrent_patches_from_two_instances_are_all_applied() {
    let first = Service::start().await;
    let second = first.another().await;
    let token = first.register_and_login("ada").await;
    let before = first.get("/v1/users/me").bearer(&token).send().await.json()["version"].as_i64().expect("a version");
    let patches = (0..100).map(|field| {
        let service = if field % 2 == 0 { &first } else { &second };
        service.patch(PATH, json!({format!("field-{field}"): field})).bearer(&token).send()
    });
    let replies = join_all(patches).await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{:?}",
        replies.iter().map(|reply| reply.status).collect::<Vec<_>>()
    );
    let document = first.get(PATH).bearer(&token).send().await;
    let expected: serde_json::Map<String, Value> =
        (0..100).map(|field| (format!("field-{field}"), json!(field))).collect();
    assert_eq!(document.json(), Value::Object(expected));
    let version: i64 = document.header("etag").trim_matches('"').parse().expect("a version");
    assert!(version >= before + 100, "{before}, then {version}");
    let session = second.get("/v1/session").bearer(&token).send().await.json();
    assert_eq!(session["preferences"], document.json());
}

#[tokio::test]
async fn a_change_of_another_version_is_refused() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let patch = async |tag: &str, body: Value| -> Reply {
        service.patch(PATH, body).bearer(&token).header("if-match", tag).send().await
    };
    let first = service.get(PATH).bearer(&token).send().await.header("etag").to_owned();
    let changed = patch(&first, json!({"a": 1})).await;
    let second = changed.header("etag").to_owned();
    let number = |tag: &str| tag.trim_matches('"').parse::<i64>().expect("a version");
    assert!(changed.status == 200 && number(&second) > number(&first), "{first}, then {second}");
    assert_eq!(patch(&first, json!({"a": 2})).await.problem(412, "precondition-failed"), ["If-Match"]);
    assert_eq!(patch(&format!("\"9\", {second}"), json!({"a": 3})).await.status, 200);
    let last = patch("*", json!({"a": 4})).await;
    assert_eq!(last.status, 200);
    assert_eq!(patch(&format!("W/{}", last.header("etag")), json!({"a": 5})).await.status, 412);
    for malformed in ["4", "\"4", "\"4\" \"5\"", "*, \"4\"", "w/\"4\"", "\"a b\""] {
        let reply = patch(malformed, json!({"a": 6})).await;
        assert_eq!(reply.problem(400, "malformed-request"), ["If-Match"], "{malformed}");
    }
}

#[tokio::test]
async fn invalid_values_are_reported_before_a_stale_version() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for (path, body) in [
        (PATH, json!({"a": "\u{0}"})),
        ("/v1/users/me", json!({"login_name": "a b"})),
        ("/v1/users/me", json!({"profile": {"email": "nowhere"}})),
    ] {
        let stale = service.patch(path, body).bearer(&token).header("if-match", "\"7\"").send().await;
        stale.problem(422, "invalid-value");
    }
}

#[tokio::test]
async fn a_read_of_the_known_version_has_no_body() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for path in [PATH, "/v1/users/me"] {
        let tag = service.get(path).bearer(&token).send().await.header("etag").to_owned();
        let same = service.get(path).bearer(&token).header("if-none-match", &tag).send().await;
        assert_eq!((same.status.as_u16(), same.text.as_str(), same.header("etag")), (304, "", tag.as_str()));
        let other = service.get(path).bearer(&token).header("if-none-match", "\"7\"").send().await;
        assert_eq!(other.status, 200);
        let malformed = service.get(path).bearer(&token).header("if-none-match", "7").send().await;
        assert_eq!(malformed.problem(400, "malformed-request"), ["If-None-Match"]);
    }
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_the_version() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let patch = async || service.patch(PATH, json!({"a": 1})).bearer(&token).send().await.header("etag").to_owned();
    let changed = patch().await;
    for _ in 0..3 {
        assert_eq!(patch().await, changed);
    }
}

#[tokio::test]
async fn both_patch_content_types_are_accepted() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for content_type in ["application/json", "application/merge-patch+json", "Application/JSON; charset=utf-8"] {
        let request = service.request(reqwest::Method::PATCH, PATH).bearer(&token).raw(content_type, r#"{"a": 1}"#);
        assert_eq!(request.send().await.status, 200, "{content_type}");
    }
}

#[tokio::test]
async fn numbers_and_strings_are_returned_unchanged() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let text = r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":0.1,"d":1e-7,"e":"é漢🙂\n\"","f":[],"g":{},"h":[null]}"#;
    let request = service.request(reqwest::Method::PATCH, PATH).bearer(&token).raw("application/json", text);
    assert_eq!(request.send().await.text, text);
    assert_eq!(service.get(PATH).bearer(&token).send().await.text, text);
}
