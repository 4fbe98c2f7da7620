//! Changes that end sessions, killed before the second step of their revocation.

use serde_json::{Value, json};

use super::{
    NAME, USER,
    stage::Stage,
    steps::{Fate, Step},
};
use crate::support::{NEW_PASSWORD, PASSWORD, Reply, Request, Service, servers::redis::Redis, until};

fn change() -> Value {
    json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD})
}

async fn repeat(stage: &Stage, token: &str) -> Reply {
    stage.service.put("/v1/users/me/password", change()).bearer(token).send().await
}

/// Asserts that a revocation is pending, and that a login learns of it only with the right password.
async fn assert_pending(stage: &Stage, name: &str) {
    let refused = stage.service.try_login(name, PASSWORD).await;
    refused.problem(503, "revocation-pending");
    assert!(refused.retry_after() > 0);
    stage.service.try_login(name, "another password").await.problem(401, "invalid-credentials");
}

#[tokio::test]
async fn a_password_change_killed_before_its_second_step_leaves_no_session_of_the_old_password() {
    let stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let (token, other) = (stage.service.login(&name).await, stage.service.login(&name).await);
    let request = |service: &Service| service.put("/v1/users/me/password", change()).bearer(&token);
    let orphan = stage.kill_at(request, &[&[Step::User(USER)]]).await.expect("the request reaches the step");
    assert_pending(&stage, &name).await;
    stage.settle(orphan, Fate::Committed).await;
    assert_eq!(stage.service.session_status(&other).await, 401);
    // The change was not acknowledged, so the session that requested it repeats it.
    assert_eq!(repeat(&stage, &token).await.status, 204);
    assert_eq!(stage.service.session_status(&token).await, 200);
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
    // The change is complete, so the old password is a wrong one.
    repeat(&stage, &token).await.problem(403, "wrong-password");
}

#[tokio::test]
async fn a_password_change_killed_before_its_commit_leaves_the_old_password() {
    let stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = stage.service.login(&name).await;
    let request = |service: &Service| service.put("/v1/users/me/password", change()).bearer(&token);
    stage.crash_at(request, &[&[Step::User(USER)]], Fate::Lost).await.expect("the request reaches the step");
    assert_pending(&stage, &name).await;
    stage.age_revocations();
    assert_eq!(stage.service.try_login(&name, PASSWORD).await.status, 200);
    assert_eq!(repeat(&stage, &token).await.status, 204);
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_suspension_killed_before_its_second_step_leaves_no_session() {
    let stage = Stage::new().await;
    let (user, name) = stage.user_on(USER, NAME).await;
    let suspend = |service: &Service| service.suspension(&user, true);
    let orphan = stage.kill_at(suspend, &[&[Step::User(USER)]]).await.expect("the request reaches the step");
    assert_pending(&stage, &name).await;
    stage.settle(orphan, Fate::Committed).await;
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.suspension(&user, true).send().await.status, 204, "it cannot be repeated");
}

/// Changes a password while `break_redis` makes Redis fail after the commit; `restore` ends that once the instance has given
/// up. Asserts that a login with the old password between commit and failure leaves no session. Returns the user's token.
async fn change_without_redis(
    stage: &mut Stage,
    name: &str,
    break_redis: fn(&mut Redis),
    restore: fn(&mut Redis),
) -> String {
    let token = stage.service.login(name).await;
    let held = stage.hold(&[Step::User(USER)]).await;
    let request: Request = stage.service.put("/v1/users/me/password", change()).bearer(&token);
    let request = tokio::spawn(request.try_send());
    stage.waiting(&held, || false).await.expect("the request reaches the row");
    let between = stage.service.try_login(name, PASSWORD).await;
    break_redis(stage.redis());
    drop(held);
    // The instance retries the end of the sessions, and gives up.
    let reply = request.await.expect("no panic").expect("an answer");
    restore(stage.redis());
    reply.problem(503, "unavailable");
    until("sessions are read again", async || stage.service.session_status(&token).await == 200).await;
    if between.status == 200 {
        let old = between.string("token");
        assert_eq!(stage.service.session_status(&old).await, 401, "a session of the old password survives");
    }
    between.problem(503, "revocation-pending");
    token
}

#[tokio::test]
async fn no_session_of_the_old_password_survives_a_redis_crash_after_the_commit() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = change_without_redis(&mut stage, &name, Redis::kill, Redis::start_again).await;
    assert_eq!(repeat(&stage, &token).await.status, 204, "it cannot be repeated");
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn no_session_of_the_old_password_is_made_while_redis_is_paused() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    change_without_redis(&mut stage, &name, |redis| redis.pause(), |redis| redis.resume()).await;
    // Redis may have executed commands late.
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
}
