//! Requests with invalid bodies, paths and parameters.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{OPERATOR_TOKEN, Reply, Service, registration};

/// Sends a body to the registration endpoint, which accepts every kind of value.
async fn register_raw(service: &Service, body: impl Into<reqwest::Body>) -> Reply {
    service.request(Method::POST, "/v1/users").raw("application/json", body).send().await
}

#[tokio::test]
async fn invalid_json_is_malformed() {
    let service = Service::start().await;
    let mut deep = registration("ada").to_string();
    deep.insert_str(deep.len() - 1, &format!(r#","preferences":{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)));
    let bad_utf8 = [br#"{"login_name": ""#.as_slice(), &[0xff, 0xfe], br#""}"#].concat();
    let huge_number = registration("ada").to_string().replacen('{', r#"{"preferences":{"n":1e999},"#, 1);
    for body in
        [b"".to_vec(), b"{".to_vec(), b"nope".to_vec(), b"{} {}".to_vec(), deep.into(), bad_utf8, huge_number.into()]
    {
        register_raw(&service, body).await.problem(400, "malformed-request");
    }
}

#[tokio::test]
async fn a_body_of_the_wrong_shape_names_the_field() {
    let service = Service::start().await;
    let with = |field: &str, value: Value| {
        let mut body = registration("ada");
        body[field] = value;
        body.to_string()
    };
    let without = |field: &str| {
        let mut body = registration("ada");
        body.as_object_mut().expect("an object").remove(field);
        body.to_string()
    };
    let repeated = |text: &str| registration("ada").to_string().replacen('{', &format!("{{{text},"), 1);
    for (body, field) in [
        ("[]".to_owned(), ""),
        ("\"ada\"".to_owned(), ""),
        (with("login_name", json!(7)), "login_name"),
        (with("password", json!(["x"])), "password"),
        (with("profile", json!(["Ada", "ada@example.com"])), "profile"),
        (with("profile", json!({"name": "Ada"})), "profile.email"),
        (with("profile", json!({"name": "Ada", "email": "a@b", "age": 36})), "profile.age"),
        (with("preferences", json!([1])), "preferences"),
        (with("preferences", Value::Null), "preferences"),
        (with("admin", json!(true)), "admin"),
        (without("password"), "password"),
        (repeated(r#""login_name":"eve""#), "login_name"),
        (repeated(r#""preferences":{"a":{"b":1,"b":2}}"#), "preferences.a.b"),
    ] {
        let reply = register_raw(&service, body.clone()).await;
        assert_eq!(reply.problem(400, "malformed-request"), [field], "{body}");
    }
}

#[tokio::test]
async fn invalid_values_name_every_field() {
    let service = Service::start().await;
    let body = json!({
        "login_name": "a b", "password": "short",
        "profile": {"name": "\u{0}", "email": "nowhere"},
        "preferences": {"a": {"b": "\u{0}"}, "n": 1},
    });
    let reply = service.post("/v1/users", body).send().await;
    let fields = reply.problem(422, "invalid-value");
    assert_eq!(fields, ["login_name", "password", "profile.name", "profile.email", "preferences.a.b"]);
    let huge =
        registration("ada").to_string().replacen('{', r#"{"preferences":{"n":123456789012345678901234567890},"#, 1);
    assert_eq!(register_raw(&service, huge).await.problem(422, "invalid-value"), ["preferences.n"]);
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let service = Service::start().await;
    let mut body = registration("ada");
    body["preferences"] = json!({"a": "x".repeat(70_000)});
    service.post("/v1/users", body).send().await.problem(413, "payload-too-large");
}

#[tokio::test]
async fn repeated_patches_cannot_exceed_the_preferences_limit() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let patch = |field: &str| {
        service.patch("/v1/users/me/preferences", json!({field: "x".repeat(40_000)})).bearer(&token).send()
    };
    assert_eq!(patch("a").await.status, 200);
    assert_eq!(patch("b").await.problem(422, "invalid-value"), ["preferences"]);
    let document = service.get("/v1/users/me/preferences").bearer(&token).send().await.json();
    assert_eq!(document.as_object().expect("an object").len(), 1);
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let service = Service::start().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", ""] {
        let request = service.request(Method::POST, "/v1/login").raw(content_type, "{}");
        assert_eq!(request.send().await.problem(415, "unsupported-media-type"), ["Content-Type"], "{content_type}");
    }
    service.request(Method::POST, "/v1/login").send().await.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn unknown_paths_and_methods_have_different_problems() {
    let service = Service::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/users/me/nothing", "/docs/nothing"] {
        service.get(path).send().await.problem(404, "not-found");
    }
    let reply = service.get("/v1/login").send().await;
    reply.problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), "POST");
}

#[tokio::test]
async fn invalid_path_parameters_are_malformed() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    for path in ["/v1/users/%ff", "/v1/users/01938d5e7b2a7c419f0e3c5d8a1b2f60", "/v1/sessions/x", "/v1/sessions/%00"] {
        let method = if path.contains("users") { Method::GET } else { Method::DELETE };
        service.request(method, path).bearer(&token).send().await.problem(400, "malformed-request");
    }
}

#[tokio::test]
async fn query_parameters_are_validated() {
    let service = Service::start().await;
    for (path, status, field) in [
        ("/users", 400, "login_name"),
        ("/users?login_name=a&login_name=b", 400, "login_name"),
        ("/users?login_name=a&x=1", 400, "x"),
        ("/resources?window=soon", 422, "window"),
        ("/resources?window=25h", 422, "window"),
        ("/resources?window=1h30m", 422, "window"),
        ("/resources?window=05m", 422, "window"),
        ("/resources?window=1day", 422, "window"),
        ("/resources/history?window=25h", 422, "window"),
        ("/resources/history?points=0", 422, "points"),
        ("/resources/history?points=1001", 422, "points"),
        ("/resources/history?points=%2B5", 422, "points"),
        ("/resources/history?points=05", 422, "points"),
        ("/resources/history?points=", 422, "points"),
        ("/resources/history?since=1", 400, "since"),
    ] {
        let reply = service.operator(Method::GET, path).send().await;
        let slug = if status == 400 { "malformed-request" } else { "invalid-value" };
        assert_eq!(reply.problem(status, slug), [field], "{path}");
    }
}

/// The largest problem that an invalid request may cause.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

#[tokio::test]
async fn a_problem_repeats_little_of_the_request() {
    let service = Service::start().await;
    let long = "k".repeat(32_000);
    let with = |preferences: &str| {
        let body = registration("ada").to_string();
        format!(r#"{},"preferences":{preferences}}}"#, &body[..body.len() - 1])
    };
    let numbers = |count: usize| vec!["1e99"; count].join(",");
    let bodies = [
        (422, with(&format!(r#"{{"{long}":[{}]}}"#, numbers(6_200)))),
        (422, with(&format!(r#"{{"{}":[{}]}}"#, r"\u0001".repeat(5_000), numbers(6_200)))),
        (400, with(&format!(r#"{{"{long}":{{"a":1,"a":2}}}}"#))),
        (400, format!(r#"{{"{long}":1}}"#)),
        (400, registration("ada").to_string().replacen("profile", &long, 1)),
    ];
    for (status, body) in bodies {
        assert!(body.len() <= 64 * 1024, "{}", body.len());
        let reply = register_raw(&service, body).await;
        let slug = if status == 422 { "invalid-value" } else { "malformed-request" };
        let fields = reply.problem(status, slug);
        assert!(reply.text.len() <= MAX_PROBLEM_BYTES, "{} bytes", reply.text.len());
        assert!(!fields.is_empty() && fields.len() <= 20, "{}", fields.len());
        assert!(fields.iter().all(|field| field.chars().count() <= 200));
    }
    let reply = service.get(&format!("/v1/operator/users?{}=1", "k".repeat(10_000))).bearer(OPERATOR_TOKEN);
    let reply = reply.send().await;
    assert!(reply.problem(400, "malformed-request")[0].ends_with('…'));
    assert!(reply.text.len() < 1024, "{}", reply.text);
}
