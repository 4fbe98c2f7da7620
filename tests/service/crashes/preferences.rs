//! A change that can't be published, as Redis is gone by then.

use serde_json::json;

use super::{NAME, USER, held::Step, stage::Stage};
use crate::service::harness::until;

#[tokio::test]
async fn a_change_that_was_not_published_is_shown_once_it_is_read() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = stage.service.login(&name).await;
    let held = stage.hold(&[Step::User(USER)]).await;
    let change = stage.service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token);
    let change = tokio::spawn(change.try_send());
    stage.waiting(&held, || false).await.expect("it comes to the row");
    stage.redis().kill();
    drop(held);
    change.await.expect("no panic").expect("an answer").problem(503, "unavailable");
    stage.redis().start_again();
    let shown = async || stage.service.get("/v1/session").bearer(&token).send().await;
    until("the session is known", async || shown().await.status == 200).await;
    assert_eq!(shown().await.json()["preferences"], json!({}), "it was not published");
    let read = stage.service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(read.json(), json!({"theme": "dark"}));
    assert_eq!(shown().await.json()["preferences"], json!({"theme": "dark"}));
}
