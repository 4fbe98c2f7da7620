//! Deletions of users.

use super::{
    NAME, USER,
    stage::Stage,
    steps::{FATES, Fate, Step},
};
use crate::support::Service;

#[tokio::test]
async fn a_deletion_killed_at_the_users_row_ends_the_sessions_and_can_be_repeated() {
    let stage = Stage::new().await;
    for fate in FATES {
        let (user, name) = stage.user_on(USER, NAME).await;
        let token = stage.service.login(&name).await;
        let delete = |service: &Service| service.delete("/v1/users/me").bearer(&token);
        stage.crash_at(delete, &[&[Step::User(USER)]], fate).await.expect("the request reaches the step");
        assert_eq!(stage.service.session_status(&token).await, 401, "{fate:?}");
        stage.age_revocations();
        if fate == Fate::Lost {
            assert_eq!(stage.answers_to(&name).await, Some(user));
            let token = stage.service.login(&name).await;
            assert_eq!(stage.service.delete("/v1/users/me").bearer(&token).send().await.status, 204);
        } else {
            assert_eq!(stage.answers_to(&name).await, None);
            stage.age_claims();
        }
        stage.assert_free(&name).await;
    }
}

#[tokio::test]
async fn a_deletion_killed_at_the_release_of_its_name_has_deleted_the_user() {
    let stage = Stage::new().await;
    for fate in FATES {
        let (_, name) = stage.user_on(USER, NAME).await;
        let token = stage.service.login(&name).await;
        let delete = |service: &Service| service.delete("/v1/users/me").bearer(&token);
        let steps: &[&[Step]] = &[&[Step::User(USER)], &[Step::Claim(NAME)]];
        stage.crash_at(delete, steps, fate).await.expect("the request reaches the step");
        assert_eq!(stage.service.session_status(&token).await, 401, "{fate:?}");
        assert_eq!(stage.answers_to(&name).await, None);
        stage.age_claims();
        stage.assert_free(&name).await;
    }
}
