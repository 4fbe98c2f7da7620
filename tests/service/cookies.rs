//! Sessions in cookies, and protection from requests of other sites.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{NEW_PASSWORD, PASSWORD, Reply, Request, Service};

const ORIGIN: &str = "https://login.example.com";

/// An instance with a public origin, and the user ada.
async fn service() -> Service {
    let service = Service::with(&[("SYMBOLON_PUBLIC_ORIGIN", ORIGIN)]).await;
    service.register("ada").await;
    service
}

/// A login that asks for a cookie.
fn login(service: &Service) -> Request {
    service.post("/v1/login", json!({"login_name": "ada", "password": PASSWORD, "cookie": true}))
}

/// The cookie that a response sets, as a browser sends it back.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie");
    set.split(';').next().expect("a cookie").to_owned()
}

/// Logs in and returns the cookie.
async fn logged_in(service: &Service) -> String {
    let reply = login(service).header("origin", ORIGIN).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    cookie(&reply)
}

#[tokio::test]
async fn a_cookie_login_hides_the_token_from_scripts() {
    let service = service().await;
    let reply = login(&service).header("origin", ORIGIN).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["token"], Value::Null);
    let set = reply.header("set-cookie");
    assert!(set.starts_with("__Host-symbolon=sym_"), "{set}");
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Domain"), "{set}");
    let token = &cookie(&reply)["__Host-symbolon=".len()..];
    assert!(!reply.text.contains(token));
    let session = service.get("/v1/session").header("cookie", &cookie(&reply)).send().await;
    assert_eq!((session.status.as_u16(), &session.json()["login_name"]), (200, &json!("ada")));
}

#[tokio::test]
async fn a_change_by_cookie_needs_the_public_origin() {
    let service = service().await;
    let cookie = logged_in(&service).await;
    let (origin, site) = ("origin", "sec-fetch-site");
    let cases: [(&[(&str, &str)], bool); 10] = [
        (&[(origin, ORIGIN)], true),
        (&[(site, "same-origin")], true),
        (&[(origin, ORIGIN), (site, "same-origin")], true),
        (&[], false),
        (&[(origin, "https://evil.example")], false),
        (&[(origin, "null")], false),
        (&[(origin, "http://login.example.com")], false),
        (&[(site, "same-site")], false),
        (&[(site, "none")], false),
        (&[(origin, ORIGIN), (site, "cross-site")], false),
    ];
    let changes = [
        (Method::PATCH, "/v1/users/me/preferences", json!({"theme": "dark"})),
        (Method::PATCH, "/v1/users/me", json!({"profile": {"name": "Eve"}})),
        (Method::PUT, "/v1/users/me/password", json!({"current_password": "x", "new_password": NEW_PASSWORD})),
        (Method::POST, "/v1/logout", Value::Null),
        (Method::DELETE, "/v1/sessions", Value::Null),
        (Method::DELETE, "/v1/users/me", Value::Null),
    ];
    for (headers, passes) in cases {
        for (method, path, body) in &changes {
            if passes && *path != "/v1/users/me/preferences" {
                continue;
            }
            let mut request = service.request(method.clone(), path).header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = if body.is_null() { request } else { request.json(body) };
            let reply = request.send().await;
            if passes {
                assert_eq!(reply.status, 200, "{headers:?} {}", reply.text);
            } else {
                reply.problem(403, "cross-site");
            }
        }
    }
    assert_eq!(service.get("/v1/session").header("cookie", &cookie).send().await.status, 200, "the session has ended");
}

#[tokio::test]
async fn a_login_from_another_site_is_refused() {
    let service = service().await;
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("x", "y")]
    {
        let reply = login(&service).header(name, value).send().await;
        reply.problem(403, "cross-site");
        assert!(reply.headers.get("set-cookie").is_none());
    }
}

#[tokio::test]
async fn a_read_by_cookie_needs_no_origin_and_grants_no_cors_access() {
    let service = service().await;
    let cookie = logged_in(&service).await;
    let reply =
        service.get("/v1/users/me").header("cookie", &cookie).header("origin", "https://evil.example").send().await;
    assert_eq!(reply.status, 200);
    assert!(reply.headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_bearer_token_wins_over_a_cookie() {
    let service = service().await;
    let cookie = logged_in(&service).await;
    let eve = service.register_and_login("eve").await;
    let reply = service.get("/v1/session").bearer(&eve).header("cookie", &cookie).send().await;
    assert_eq!(reply.json()["login_name"], "eve");
    let patched = service.patch("/v1/users/me/preferences", json!({"a": 1})).bearer(&eve).header("cookie", &cookie);
    assert_eq!(patched.send().await.status, 200, "a bearer token needs an origin");
    service
        .get("/v1/session")
        .bearer("sym_wrong")
        .header("cookie", &cookie)
        .send()
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_logout_removes_the_cookie() {
    let service = service().await;
    let cookie = logged_in(&service).await;
    let reply =
        service.request(Method::POST, "/v1/logout").header("cookie", &cookie).header("origin", ORIGIN).send().await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
    assert!(
        reply.header("set-cookie").starts_with("__Host-symbolon=;") && reply.header("set-cookie").contains("Max-Age=0")
    );
    service.get("/v1/session").header("cookie", &cookie).send().await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn cookies_need_a_configured_public_origin() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let reply = login(&service).header("origin", ORIGIN).send().await;
    assert_eq!(reply.problem(422, "invalid-value"), ["cookie"]);
    let by_cookie = service.get("/v1/session").header("cookie", &format!("__Host-symbolon={token}")).send().await;
    by_cookie.problem(401, "unauthenticated");
}

#[tokio::test]
async fn operator_changes_by_cookie_need_the_public_origin() {
    let service = service().await;
    let user_id = service.register("root").await;
    service.set_permissions(&user_id, &["read", "write", "admin"]).await;
    let login = json!({"login_name": "root", "password": PASSWORD, "cookie": true});
    let cookie = cookie(&service.post("/v1/login", login).header("origin", ORIGIN).send().await);
    assert_eq!(service.get("/v1/operator/stats").header("cookie", &cookie).send().await.status, 200);
    let suspend = || {
        let path = format!("/v1/operator/users/{user_id}/suspended");
        service.put(&path, json!({"suspended": false})).header("cookie", &cookie)
    };
    suspend().send().await.problem(403, "cross-site");
    assert_eq!(suspend().header("origin", ORIGIN).send().await.status, 204);
}
