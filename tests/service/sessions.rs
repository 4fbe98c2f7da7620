//! Sessions: logins, logouts, expiry and limits.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{PASSWORD, Service, until};

#[tokio::test]
async fn a_login_opens_a_session_of_its_user() {
    let service = Service::start().await;
    let user_id = service.register("ada").await;
    let login = service.try_login("ADA", PASSWORD).await;
    assert_eq!(login.status, 200);
    let (token, body) = (login.string("token"), login.json());
    assert!(token.starts_with("sym_") && token.len() == 68);
    assert_eq!(body["user"]["user_id"], user_id);
    let session = service.get("/v1/session").bearer(&token).send().await;
    assert_eq!(session.status, 200);
    assert_eq!(session.header("cache-control"), "no-store");
    let session = session.json();
    assert_eq!(session["user_id"], user_id);
    assert_eq!(session["session_id"], body["session"]["session_id"]);
    assert_eq!(session["login_name"], "ada");
    assert_eq!(session["permissions"], json!(["read", "write"]));
    assert!(!token.contains(session["session_id"].as_str().expect("an id")));
}

#[tokio::test]
async fn wrong_password_unknown_name_and_impossible_name_get_the_same_answer() {
    let service = Service::start().await;
    service.register("ada").await;
    let wrong = service.try_login("ada", "wrong password").await;
    assert_eq!(wrong.problem(401, "invalid-credentials"), [""; 0]);
    for name in ["unknown", "un known", "", "a\u{200b}"] {
        let other = service.try_login(name, "wrong password").await;
        assert_eq!((other.status, &other.text), (wrong.status, &wrong.text), "{name:?}");
    }
}

#[tokio::test]
async fn a_logout_ends_the_session_on_every_instance() {
    let first = Service::start().await;
    let second = first.another().await;
    let token = first.register_and_login("ada").await;
    assert_eq!(second.session_status(&token).await, 200);
    let logout = first.log_out(&token).await;
    assert_eq!((logout.status.as_u16(), logout.text.as_str()), (204, ""));
    assert_eq!(second.session_status(&token).await, 401);
    assert_eq!(first.session_status(&token).await, 401);
    first.log_out(&token).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_singly_or_all_together() {
    let service = Service::start().await;
    let tokens = [service.register_and_login("ada").await, service.login("ada").await, service.login("ada").await];
    let listed = service.get("/v1/sessions").bearer(&tokens[1]).send().await.json();
    let sessions = listed["sessions"].as_array().expect("a list");
    assert_eq!(sessions.iter().map(|session| session["current"] == true).collect::<Vec<_>>(), [false, true, false]);
    let first = sessions[0]["session_id"].as_str().expect("an id");
    let ended = service.delete(&format!("/v1/sessions/{first}")).bearer(&tokens[1]).send().await;
    assert_eq!(ended.status, 204);
    assert_eq!(service.session_status(&tokens[0]).await, 401);
    service.delete(&format!("/v1/sessions/{first}")).bearer(&tokens[1]).send().await.problem(404, "not-found");
    assert_eq!(service.delete("/v1/sessions").bearer(&tokens[2]).send().await.status, 204);
    for token in &tokens {
        assert_eq!(service.session_status(token).await, 401);
    }
}

#[tokio::test]
async fn a_session_of_another_user_cannot_be_ended() {
    let service = Service::start().await;
    let (ada, eve) = (service.register_and_login("ada").await, service.register_and_login("eve").await);
    let session = service.get("/v1/session").bearer(&ada).send().await.json();
    let path = format!("/v1/sessions/{}", session["session_id"].as_str().expect("an id"));
    service.delete(&path).bearer(&eve).send().await.problem(404, "not-found");
    assert_eq!(service.session_status(&ada).await, 200);
}

#[tokio::test]
async fn an_unused_session_ends_and_a_used_one_lives_on() {
    let service = Service::with(&[("SYMBOLON_SESSION_IDLE_TIMEOUT", "2s")]).await;
    let (used, idle) = (service.register_and_login("ada").await, service.login("ada").await);
    until("the unused session ends", async || {
        assert_eq!(service.session_status(&used).await, 200);
        let listed = service.get("/v1/sessions").bearer(&used).send().await.json();
        listed["sessions"].as_array().expect("a list").len() == 1
    })
    .await;
    assert_eq!(service.session_status(&idle).await, 401);
    assert_eq!(service.session_status(&used).await, 200);
}

#[tokio::test]
async fn a_used_session_ends_after_its_lifetime() {
    let service = Service::with(&[("SYMBOLON_SESSION_IDLE_TIMEOUT", "2s"), ("SYMBOLON_SESSION_LIFETIME", "3s")]).await;
    service.register("ada").await;
    let begun = Instant::now();
    let token = service.login("ada").await;
    until("the session ends", async || service.session_status(&token).await == 401).await;
    let took = begun.elapsed();
    // Times are stored in whole milliseconds.
    assert!(took >= Duration::from_millis(2900), "it ended after {took:?}");
}

#[tokio::test]
async fn a_session_beyond_the_limit_replaces_the_oldest() {
    let service = Service::with(&[("SYMBOLON_SESSION_LIMIT", "2")]).await;
    let tokens = [service.register_and_login("ada").await, service.login("ada").await, service.login("ada").await];
    let mut alive = Vec::new();
    for token in &tokens {
        alive.push(service.session_status(token).await);
    }
    assert_eq!(alive, [401, 200, 200]);
}

#[tokio::test]
async fn invalid_tokens_are_refused() {
    let service = Service::start().await;
    let token = service.register_and_login("ada").await;
    let flipped = format!("{}{}", &token[..67], if token.ends_with('A') { 'B' } else { 'A' });
    for wrong in ["", "x", "sym_", &flipped, &token[..67], &format!("{token}x"), &token.replace("sym_", "symr_")] {
        let reply = service.get("/v1/session").bearer(wrong).send().await;
        reply.problem(401, "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"symbolon\"");
    }
    service.get("/v1/session").send().await.problem(401, "unauthenticated");
    service.get("/v1/session").header("authorization", "Basic YTpi").send().await.problem(401, "unauthenticated");
    let lower = service.get("/v1/session").header("authorization", &format!("bearer {token}")).send().await;
    assert_eq!(lower.status, 200);
}

#[tokio::test]
async fn too_many_wrong_passwords_are_refused_with_the_time_to_wait() {
    let service = Service::with(&[("SYMBOLON_THROTTLE_NAME_ADDRESS", "3/1h")]).await;
    service.register("ada").await;
    for _ in 0..5 {
        assert_eq!(service.try_login("ada", PASSWORD).await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(service.try_login("ada", "wrong password").await.status, 401);
    }
    let refused = service.try_login("ada", PASSWORD).await;
    refused.problem(429, "too-many-attempts");
    assert!((1190..=1200).contains(&refused.retry_after()), "{refused:?}");
    assert_eq!(service.try_login("unknown", "wrong password").await.status, 401);
}

#[tokio::test]
async fn a_logout_during_concurrent_changes_holds() {
    let first = Service::start().await;
    let second = first.another().await;
    first.register("ada").await;
    for round in 0..10 {
        let token = first.login("ada").await;
        let changes = (0..8).map(|change| {
            let service = if change % 2 == 0 { &first } else { &second };
            service
                .patch("/v1/users/me/preferences", json!({format!("{round}-{change}"): change}))
                .bearer(&token)
                .send()
        });
        let logout = second.log_out(&token);
        let (changed, logout) = futures_util::future::join(futures_util::future::join_all(changes), logout).await;
        assert_eq!(logout.status, 204);
        for reply in changed.iter().filter(|reply| reply.status != 200) {
            reply.problem(401, "unauthenticated");
        }
        assert_eq!(first.session_status(&token).await, 401);
        assert_eq!(second.session_status(&token).await, 401);
    }
}
