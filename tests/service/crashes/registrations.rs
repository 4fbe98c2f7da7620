//! Registrations.

use super::{
    INSERT_USER, NAME, killed_registration,
    stage::Stage,
    steps::{FATES, Fate, Step},
};

#[tokio::test]
async fn a_registration_killed_at_its_claim_leaves_the_name_usable() {
    let stage = Stage::new().await;
    for fate in FATES {
        let name = killed_registration(&stage, &[&[Step::Insert(NAME)]], fate).await;
        assert_eq!(stage.answers_to(&name).await, None);
        if fate == Fate::Committed {
            stage.assert_pending(&name).await;
            stage.age_claims();
        }
        stage.assert_free(&name).await;
    }
}

#[tokio::test]
async fn a_registration_killed_before_its_users_row_leaves_the_name_usable() {
    let stage = Stage::new().await;
    let name = killed_registration(&stage, &[&[Step::Insert(NAME)], INSERT_USER], Fate::Lost).await;
    assert_eq!(stage.answers_to(&name).await, None);
    stage.assert_pending(&name).await;
    stage.age_claims();
    stage.assert_free(&name).await;
}

#[tokio::test]
async fn a_registration_killed_after_sending_its_users_row_is_complete() {
    let stage = Stage::new().await;
    let name = killed_registration(&stage, &[&[Step::Insert(NAME)], INSERT_USER], Fate::Committed).await;
    let user = stage.answers_to(&name).await;
    assert!(user.is_some(), "the row is there, and its user can't log in");
    stage.age_claims();
    stage.assert_refused(&name).await;
    assert_eq!(stage.answers_to(&name).await, user);
}

#[tokio::test]
async fn a_registration_killed_at_its_confirmation_is_complete() {
    let stage = Stage::new().await;
    for fate in FATES {
        let steps: &[&[Step]] = &[&[Step::Insert(NAME)], INSERT_USER, &[Step::Claim(NAME)]];
        let name = killed_registration(&stage, steps, fate).await;
        let user = stage.answers_to(&name).await;
        assert!(user.is_some(), "{fate:?}");
        stage.age_claims();
        stage.assert_refused(&name).await;
        assert_eq!(stage.answers_to(&name).await, user);
    }
}
