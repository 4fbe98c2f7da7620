//! A change that is not published, because Redis crashes before.

use serde_json::json;

use super::{NAME, USER, stage::Stage, steps::Step};
use crate::support::until;

#[tokio::test]
async fn reading_an_unpublished_change_publishes_it() {
    let mut stage = Stage::new().await;
    let (_, name) = stage.user_on(USER, NAME).await;
    let token = stage.service.login(&name).await;
    let held = stage.hold(&[Step::User(USER)]).await;
    let change = stage.service.patch("/v1/users/me/preferences", json!({"theme": "dark"})).bearer(&token);
    let change = tokio::spawn(change.try_send());
    stage.waiting(&held, || false).await.expect("the request reaches the row");
    stage.redis().kill();
    drop(held);
    change.await.expect("no panic").expect("an answer").problem(503, "unavailable");
    stage.redis().start_again();
    let shown = async || stage.service.get("/v1/session").bearer(&token).send().await;
    until("sessions are read again", async || shown().await.status == 200).await;
    assert_eq!(shown().await.json()["preferences"], json!({}), "it was published");
    let read = stage.service.get("/v1/users/me/preferences").bearer(&token).send().await;
    assert_eq!(read.json(), json!({"theme": "dark"}));
    assert_eq!(shown().await.json()["preferences"], json!({"theme": "dark"}));
}
