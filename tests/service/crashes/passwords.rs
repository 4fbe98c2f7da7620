//! Changes that end sessions, left between the shard's commit and the second step of their revocation.

use serde_json::{Value, json};

use super::{
    NAME, USER,
    held::{Fate, Step},
    stage::Stage,
};
use crate::{
    servers::redis::Redis,
    service::harness::{PASSWORD, Reply, Request, Service, until},
};

const NEW_PASSWORD: &str = "staple battery horse";

fn change() -> Value {
    json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD})
}

async fn repeat(stage: &Stage, token: &str) -> Reply {
    stage.service.put("/v1/users/me/password", change()).bearer(token).send().await
}

/// Logs in while a revocation is pending: only who knows the password is told so.
async fn assert_pending(stage: &Stage, name: &str) {
    let refused = stage.service.try_login(name, PASSWORD).await;
    refused.problem(503, "revocation-pending");
    assert!(refused.header("retry-after").parse::<u64>().expect("seconds") > 0);
    stage.service.try_login(name, "another password").await.problem(401, "invalid-credentials");
}

#[tokio::test]
async fn a_password_change_killed_before_its_second_step_leaves_no_session_of_the_old_password() {
    let stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let (token, other) = (stage.service.login(&name).await, stage.service.login(&name).await);
    let request = |service: &Service| service.put("/v1/users/me/password", change()).bearer(&token);
    let orphan = stage.kill_at(request, &[&[Step::User(USER)]]).await.expect("it comes to that step");
    assert_pending(&stage, &name).await;
    stage.settle(orphan, Fate::Done).await;
    assert_eq!(stage.service.session_status(&other).await, 401);
    // It has not been acknowledged, so it is repeated: by the session that asked.
    assert_eq!(repeat(&stage, &token).await.status, 204);
    assert_eq!(stage.service.session_status(&token).await, 200);
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
    // Now that all is through, the old password is just a wrong one.
    repeat(&stage, &token).await.problem(403, "wrong-password");
}

#[tokio::test]
async fn a_password_change_killed_before_its_commit_leaves_the_old_password() {
    let stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = stage.service.login(&name).await;
    let request = |service: &Service| service.put("/v1/users/me/password", change()).bearer(&token);
    stage.crash_at(request, &[&[Step::User(USER)]], Fate::Lost).await.expect("it comes to that step");
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
    let suspend = |service: &Service| stage.suspend(service, &user);
    let orphan = stage.kill_at(suspend, &[&[Step::User(USER)]]).await.expect("it comes to that step");
    assert_pending(&stage, &name).await;
    stage.settle(orphan, Fate::Done).await;
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.suspend(&stage.service, &user).send().await.status, 204, "it can be repeated");
}

/// Changes a password while `strike` takes Redis away after the commit, until the instance has given up and `mend` brings it
/// back. The user has logged in with the old password in between, unless that is refused.
async fn change_without_redis(stage: &mut Stage, name: &str, strike: fn(&mut Redis), mend: fn(&mut Redis)) -> String {
    let token = stage.service.login(name).await;
    let held = stage.hold(&[Step::User(USER)]).await;
    let request: Request = stage.service.put("/v1/users/me/password", change()).bearer(&token);
    let request = tokio::spawn(request.try_send());
    stage.waiting(&held, || false).await.expect("it comes to the row");
    let between = stage.service.try_login(name, PASSWORD).await;
    strike(stage.redis());
    drop(held);
    // It goes on trying to end the sessions, and gives up.
    let reply = request.await.expect("no panic").expect("an answer");
    mend(stage.redis());
    reply.problem(503, "unavailable");
    until("the session is known", async || stage.service.session_status(&token).await == 200).await;
    if between.status == 200 {
        let old = between.json()["token"].as_str().expect("a token").to_owned();
        assert_eq!(stage.service.session_status(&old).await, 401, "the old password's session lives on");
    }
    between.problem(503, "revocation-pending");
    token
}

#[tokio::test]
async fn without_redis_after_the_commit_no_session_of_the_old_password_is_left() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = change_without_redis(&mut stage, &name, Redis::kill, Redis::start_again).await;
    assert_eq!(repeat(&stage, &token).await.status, 204, "it can be repeated");
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
}

#[tokio::test]
async fn while_redis_stands_still_after_the_commit_no_session_of_the_old_password_is_made() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    change_without_redis(&mut stage, &name, |redis| redis.pause(), |redis| redis.resume()).await;
    // What was sent to it may have been done late.
    stage.age_revocations();
    stage.service.try_login(&name, PASSWORD).await.problem(401, "invalid-credentials");
    assert_eq!(stage.service.try_login(&name, NEW_PASSWORD).await.status, 200);
}
